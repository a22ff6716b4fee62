// Inputs of sparse_to_bev with a plain twin, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include <array>
#include <set>

#include "sparse_to_bev.h"
#include "testing.h"

namespace testing {

struct BevInput {
    const char* name;
    std::vector<std::int32_t> coords;  // [tokens,4] b z y x
    std::int64_t channels;
    perception::BevGrid grid;
    std::int64_t outside;
    std::int64_t tokens() const { return static_cast<std::int64_t>(coords.size() / 4); }
    std::int64_t map_size() const { return grid.batch_size * channels * grid.cells(); }
};

inline std::vector<BevInput> bev_inputs() {
    Random random(11);
    const auto scattered = [&](const char* name, int count, std::int64_t channels, perception::BevGrid grid) {
        std::set<std::array<std::int32_t, 4>> cells;
        while (static_cast<int>(cells.size()) < count) {
            // The last sample stays empty.
            cells.insert({random.integer(static_cast<int>(grid.batch_size) - 1), random.integer(static_cast<int>(grid.size[0])),
                          random.integer(static_cast<int>(grid.size[1])), random.integer(static_cast<int>(grid.size[2]))});
        }
        BevInput input{name, {}, channels, grid, 0};
        for (const auto& cell : cells) input.coords.insert(input.coords.end(), cell.begin(), cell.end());
        return input;
    };
    return {{"no tokens", {}, 3, {{1, 4, 5}, 1}, 0},
            {"one token", {1, 1, 3, 4}, 1, {{2, 4, 5}, 2}, 0},
            {"no channels", {0, 0, 3, 4}, 0, {{2, 4, 5}, 1}, 0},
            {"outside", {0, 0, 4, 0, -1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, -1, 2, 0, 0, 0}, 7, {{2, 4, 5}, 2}, 4},
            scattered("scattered", 700, 37, {{3, 31, 29}, 3}),
            scattered("every cell", 2 * 6 * 7, 64, {{2, 6, 7}, 2}),
            scattered("rows of vectors", 300, 40, {{1, 24, 28}, 3}),
            scattered("rows of vectors, several heights", 150, 136, {{3, 8, 16}, 2})};
}

// Checks forward(features, coords, tokens, channels, grid, bev, outside) and backward(grad_bev, coords, tokens, channels, grid,
// grad_features) on every input: values are moved, so the results are exact. `counts` tells whether `outside` is written.
template <typename T, typename Forward, typename Backward>
void check_sparse_to_bev(const Forward& forward, const Backward& backward) {
    for (const BevInput& input : bev_inputs()) {
        Random random(1);
        std::vector<T> features(static_cast<std::size_t>(input.tokens() * input.channels));
        std::vector<T> grad(static_cast<std::size_t>(input.map_size()));
        for (T& value : features) value = static_cast<T>(random.integer(60000) + 1);
        for (T& value : grad) value = static_cast<T>(random.integer(60000) + 1);
        std::vector<T> expected(grad.size(), 0), expected_grad(features.size(), 0);
        for (std::int64_t token = 0; token < input.tokens(); ++token) {
            const std::int32_t* coords = input.coords.data() + 4 * token;
            bool inside = coords[0] >= 0 && coords[0] < input.grid.batch_size;
            for (int axis = 0; axis < 3; ++axis) {
                inside = inside && coords[axis + 1] >= 0 && coords[axis + 1] < input.grid.size[axis];
            }
            for (std::int64_t c = 0; inside && c < input.channels; ++c) {
                const std::int64_t plane = (coords[0] * input.channels + c) * input.grid.size[0] + coords[1];
                const auto cell =
                    static_cast<std::size_t>((plane * input.grid.size[1] + coords[2]) * input.grid.size[2] + coords[3]);
                const auto value = static_cast<std::size_t>(token * input.channels + c);
                expected[cell] = features[value];
                expected_grad[value] = grad[cell];
            }
        }
        auto bev = garbage<T>(input.map_size());
        auto grad_features = garbage<T>(input.tokens() * input.channels);
        std::int64_t outside = input.outside;
        const bool ok = forward(features.data(), input.coords.data(), input.tokens(), input.channels, input.grid, bev.data(),
                                &outside) == perception::Status::ok &&
                        backward(grad.data(), input.coords.data(), input.tokens(), input.channels, input.grid,
                                 grad_features.data()) == perception::Status::ok;
        if (!ok || bev != expected || grad_features != expected_grad || outside != input.outside) {
            report(__FILE__, __LINE__, input.name);
        }
    }
}

}  // namespace testing
