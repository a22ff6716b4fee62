// Inputs of bev_pool with a plain twin, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include <functional>

#include "bev_pool.h"
#include "testing.h"

namespace testing {

struct PoolInput {
    const char* name;
    perception::PoolShape shape;
    std::int64_t channels;
    std::vector<std::int64_t> cell;  // [points]
};

inline std::vector<PoolInput> pool_inputs(int cells) {
    using perception::PoolShape;
    const auto build = [](const char* name, PoolShape shape, std::int64_t channels, const std::function<int(int)>& cell_of) {
        PoolInput input{name, shape, channels, std::vector<std::int64_t>(static_cast<std::size_t>(shape.points()))};
        for (std::size_t i = 0; i < input.cell.size(); ++i) input.cell[i] = cell_of(static_cast<int>(i));
        return input;
    };
    Random random(2);
    return {
        build("no views", {0, 3, 2, 2, 10}, 4, [](int) { return 0; }),
        build("one point", {1, 1, 1, 1, 5}, 3, [](int) { return 4; }),
        build("all outside", {2, 3, 2, 5, 7}, 9, [](int i) { return i % 2 == 0 ? -1 : 7; }),
        build("all in one cell", {2, 11, 9, 13, 600}, 33, [](int) { return 321; }),
        build("in the last cell", {1, 5, 7, 3, 4000}, 8, [](int) { return 3999; }),
        build("scattered", {3, 7, 8, 11, cells}, 80, [&](int) { return random.integer(cells + 40) - 20; }),
        build("cells of many sizes, wide rows", {1, 11, 8, 9, 90}, 264,
              [](int i) { return i < 300 ? 17 : i < 500 ? 18 + i % 50 : i < 640 ? 88 : 90 - (i & 1); }),
        build("runs, odd width", {2, 9, 5, 12, 300}, 37, [&](int i) { return i / 7 % 150 + random.integer(3); }),
    };
}

// The index and what it points into, exactly as large as promised.
struct PoolIndexBuffers {
    std::vector<std::int32_t> point, pixel, offsets, cell;
    explicit PoolIndexBuffers(const PoolInput& input)
        : point(garbage<std::int32_t>(input.shape.points())),
          pixel(garbage<std::int32_t>(input.shape.points())),
          offsets(garbage<std::int32_t>(input.shape.cells + 1)),
          cell(garbage<std::int32_t>(input.shape.points())) {}
    perception::PoolIndexOutput output() { return {point.data(), pixel.data(), offsets.data(), cell.data()}; }
    perception::PoolIndex index() const { return {point.data(), pixel.data(), offsets.data(), cell.data()}; }
    bool operator==(const PoolIndexBuffers&) const = default;
};

inline PoolIndexBuffers expected_index(const PoolInput& input) {
    PoolIndexBuffers expected(input);
    std::int32_t filled = 0;
    const std::int64_t image = input.shape.height * input.shape.width;
    for (std::int64_t c = 0; c <= input.shape.cells; ++c) {
        expected.offsets[static_cast<std::size_t>(c)] = filled;
        for (std::int64_t i = 0; i < input.shape.points(); ++i) {
            const std::int64_t of_point = input.cell[static_cast<std::size_t>(i)];
            const bool inside = of_point >= 0 && of_point < input.shape.cells;
            if (inside ? of_point != c : c != input.shape.cells) continue;
            const std::int64_t view = i / (input.shape.bins * image);
            expected.point[static_cast<std::size_t>(filled)] = static_cast<std::int32_t>(i);
            expected.pixel[static_cast<std::size_t>(filled)] = static_cast<std::int32_t>(view * image + i % image);
            expected.cell[static_cast<std::size_t>(i)] = inside ? static_cast<std::int32_t>(of_point) : -1;
            ++filled;
        }
    }
    return expected;
}

struct PoolResult {
    std::vector<double> out, grad_features, grad_depth;
};

inline PoolResult expected_pool(const PoolInput& input, const std::vector<double>& features, const std::vector<double>& depth,
                                const std::vector<double>& grad) {
    const auto channels = static_cast<std::size_t>(input.channels);
    PoolResult expected{std::vector<double>(static_cast<std::size_t>(input.shape.cells) * channels),
                        std::vector<double>(features.size()), std::vector<double>(depth.size())};
    const std::int64_t image = input.shape.height * input.shape.width;
    for (std::size_t i = 0; i < depth.size(); ++i) {
        if (input.cell[i] < 0 || input.cell[i] >= input.shape.cells) continue;
        const auto point = static_cast<std::int64_t>(i);
        const auto pixel = static_cast<std::size_t>(point / (input.shape.bins * image) * image + point % image) * channels;
        const auto cell = static_cast<std::size_t>(input.cell[i]) * channels;
        for (std::size_t c = 0; c < channels; ++c) {
            expected.out[cell + c] += depth[i] * features[pixel + c];
            expected.grad_features[pixel + c] += depth[i] * grad[cell + c];
            expected.grad_depth[i] += features[pixel + c] * grad[cell + c];
        }
    }
    return expected;
}

// Checks forward(features, depth, index, shape, channels, out) and backward(grad, features, depth, cell, shape, channels,
// grad_features, grad_depth) on every input.
template <typename T, typename Forward, typename Backward>
void check_bev_pool(int cells, const Forward& forward, const Backward& backward) {
    for (const PoolInput& input : pool_inputs(cells)) {
        Random random(4);
        const PoolIndexBuffers index = expected_index(input);
        const auto features = narrow_all<T>(random.normals(input.shape.pixels() * input.channels));
        const auto depth = narrow_all<T>(random.normals(input.shape.points()));
        const auto grad = narrow_all<T>(random.normals(input.shape.cells * input.channels));
        auto out = garbage<T>(input.shape.cells * input.channels);
        auto grad_features = garbage<T>(static_cast<std::int64_t>(features.size()));
        auto grad_depth = garbage<T>(static_cast<std::int64_t>(depth.size()));
        const bool ok = forward(features.data(), depth.data(), index.index(), input.shape, input.channels, out.data()) ==
                            perception::Status::ok &&
                        backward(grad.data(), features.data(), depth.data(), index.cell.data(), input.shape, input.channels,
                                 grad_features.data(), grad_depth.data()) == perception::Status::ok;
        if (!ok) report(__FILE__, __LINE__, input.name);
        // Sums are held in float or double: they are off by roundings of the largest partial sum, about 60.
        const double cancelled = (std::is_same_v<T, double> ? 1e-14 : 1e-6) * 60 + tiny<T>;
        const PoolResult expected = expected_pool(input, widen_all(features), widen_all(depth), widen_all(grad));
        CHECK_CLOSE(widen_all(out), expected.out, rounding<T>, cancelled);
        CHECK_CLOSE(widen_all(grad_features), expected.grad_features, rounding<T>, cancelled);
        CHECK_CLOSE(widen_all(grad_depth), expected.grad_depth, rounding<T>, cancelled);
    }
}

}  // namespace testing
