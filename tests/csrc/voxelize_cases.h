// Inputs of voxelize with a plain twin, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "testing.h"
#include "voxelize.h"

namespace testing {

struct VoxelInput {
    const char* name;
    std::vector<std::array<float, 3>> points;
    std::vector<std::int64_t> batch;
    perception::VoxelGrid grid;
};

struct VoxelResult {
    std::vector<std::int32_t> coords;
    std::vector<std::int64_t> point_voxel, order, offsets;
    std::int64_t voxels, not_finite, outside_batch;
    bool operator==(const VoxelResult&) const = default;
};

// What voxelize promises, by an ordered map from cell to points.
inline VoxelResult expected_voxels(const VoxelInput& input) {
    VoxelResult result{{}, std::vector<std::int64_t>(input.points.size(), -1), {}, {0}, 0, 0, 0};
    std::map<std::array<std::int64_t, 4>, std::vector<std::int64_t>> cells;
    std::vector<std::int64_t> nowhere;
    for (std::size_t i = 0; i < input.points.size(); ++i) {
        bool finite = true, inside = true;
        std::array<std::int64_t, 4> cell{input.batch[i], 0, 0, 0};
        for (int axis = 0; axis < 3; ++axis) {
            const float value = input.points[i][static_cast<std::size_t>(axis)];
            finite = finite && std::isfinite(value);
            const double index = std::floor((value - input.grid.min[axis]) / input.grid.cell[axis]);
            inside = inside && index >= 0.0 && index < static_cast<double>(input.grid.size[axis]);
            if (inside) cell[static_cast<std::size_t>(3 - axis)] = static_cast<std::int64_t>(index);
        }
        const bool in_batch = input.batch[i] >= 0 && input.batch[i] < input.grid.batch_size;
        result.not_finite += !finite;
        result.outside_batch += !in_batch;
        (finite && inside && in_batch ? cells[cell] : nowhere).push_back(static_cast<std::int64_t>(i));
    }
    for (const auto& [cell, points] : cells) {
        for (const std::int64_t part : cell) result.coords.push_back(static_cast<std::int32_t>(part));
        for (const std::int64_t point : points) {
            result.point_voxel[static_cast<std::size_t>(point)] = result.voxels;
            result.order.push_back(point);
        }
        result.offsets.push_back(static_cast<std::int64_t>(result.order.size()));
        ++result.voxels;
    }
    result.order.insert(result.order.end(), nowhere.begin(), nowhere.end());
    return result;
}

inline std::vector<VoxelInput> voxel_inputs(int large) {
    const perception::VoxelGrid pillars{{-51.2f, -51.2f, -5.0f}, {0.32f, 0.32f, 8.0f}, {320, 320, 1}, 3};
    const perception::VoxelGrid cubes{{-3.0f, -2.0f, -1.0f}, {0.5f, 0.25f, 0.1f}, {13, 7, 21}, 2};
    const auto scattered = [](const char* name, int count, perception::VoxelGrid grid, std::vector<std::int64_t> samples) {
        Random random(static_cast<std::uint32_t>(count));
        VoxelInput input{name, {}, {}, grid};
        for (int i = 0; i < count; ++i) {
            std::array<float, 3> point;
            for (int axis = 0; axis < 3; ++axis) {
                const float span = static_cast<float>(grid.size[axis]) * grid.cell[axis];
                point[static_cast<std::size_t>(axis)] = grid.min[axis] + random.uniform(-0.05f, 1.05f) * span;
            }
            input.points.push_back(point);
            input.batch.push_back(samples[static_cast<std::size_t>(random.integer(static_cast<int>(samples.size())))]);
        }
        return input;
    };

    std::vector<VoxelInput> inputs;
    inputs.push_back({"no points", {}, {}, pillars});
    inputs.push_back({"one point", {{1.0f, 2.0f, -1.0f}}, {1}, pillars});
    inputs.push_back({"one point outside", {{100.0f, 2.0f, -1.0f}}, {1}, pillars});
    inputs.push_back({"one cell", std::vector<std::array<float, 3>>(1000, {0.1f, 0.1f, 0.0f}), {}, pillars});
    inputs.back().batch.assign(1000, 2);
    inputs.push_back(scattered("pillars, sample 1 empty", large, pillars, {0, 2}));
    inputs.push_back(scattered("cubes", 997, cubes, {0, 1}));
    inputs.push_back(scattered("many points in few cubes", large + 1, cubes, {0, 1}));

    VoxelInput borders{"borders", {}, {}, cubes};
    for (int i = -1; i <= 14; ++i) {
        const float border = -3.0f + 0.5f * static_cast<float>(i);
        for (const float x : {std::nextafterf(border, -100.0f), border, std::nextafterf(border, 100.0f)}) {
            borders.points.push_back({x, -2.0f, 1.05f});
            borders.batch.push_back(0);
        }
    }
    borders.points.push_back({-0.0f, -1e-30f, 1e-30f});
    borders.batch.push_back(1);
    inputs.push_back(borders);

    constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    VoxelInput bad = scattered("not finite, outside the batch, huge", 300, cubes, {-1, 0, 1, 2, 1LL << 40});
    bad.points[3][0] = nan;
    bad.points[4][1] = infinity;
    bad.points[5][2] = -infinity;
    bad.points[6] = {3e38f, -3e38f, 1e20f};
    inputs.push_back(bad);
    return inputs;
}

// The arrays that the kernel writes, exactly as large as promised, filled with garbage; and its points in rows of `stride`.
struct VoxelBuffers {
    std::vector<float> points;
    std::vector<std::int32_t> coords;
    std::vector<std::int64_t> point_voxel, order, offsets, counts;
    perception::VoxelOutput output;

    VoxelBuffers(const VoxelInput& input, std::int64_t stride) {
        const auto count = static_cast<std::int64_t>(input.points.size());
        const std::int64_t capacity = std::min(count, input.grid.cells());
        points = garbage<float>(count == 0 ? 0 : (count - 1) * stride + 3);
        for (std::int64_t i = 0; i < count; ++i) {
            std::copy_n(input.points[static_cast<std::size_t>(i)].begin(), 3, points.begin() + i * stride);
        }
        coords = garbage<std::int32_t>(capacity * 4);
        point_voxel = garbage<std::int64_t>(count);
        order = garbage<std::int64_t>(count);
        offsets = garbage<std::int64_t>(capacity + 1);
        counts = garbage<std::int64_t>(perception::VoxelCount::kinds);
        output = {coords.data(), point_voxel.data(), order.data(), offsets.data(), counts.data(), capacity};
    }

    VoxelResult result() const {
        using perception::VoxelCount;
        const std::int64_t voxels = counts[VoxelCount::voxels];
        return {{coords.begin(), coords.begin() + 4 * voxels},
                point_voxel,
                order,
                {offsets.begin(), offsets.begin() + voxels + 1},
                voxels,
                counts[VoxelCount::not_finite],
                counts[VoxelCount::outside_batch]};
    }
};

}  // namespace testing
