// Dynamic voxelization: the cell of every point, and the points of every occupied cell. No point is dropped.
#pragma once

#include <cmath>

#include "scan_sort.h"

namespace perception {

struct VoxelGrid {
    float min[3];           // x y z (m)
    float cell[3];          // x y z (m)
    std::int64_t size[3];   // x y z, cells
    std::int64_t batch_size;

    PERCEPTION_HD std::int64_t cells_per_sample() const { return size[0] * size[1] * size[2]; }
    PERCEPTION_HD std::int64_t cells() const { return batch_size * cells_per_sample(); }
};

// Room for every point in a voxel of its own: V is at most min(points, cells).
struct VoxelOutput {
    std::int32_t* coords;       // [capacity,4] b z y x, sorted
    std::int64_t* point_voxel;  // [points], -1 outside the range
    std::int64_t* order;        // [points]
    std::int64_t* offsets;      // [capacity+1]
    std::int64_t* counts;       // [VoxelCount::kinds]
    std::int64_t capacity;
};

struct VoxelCount {
    enum : int { voxels = 0, not_finite = 1, outside_batch = 2, kinds = 3 };
};

PERCEPTION_HD inline bool is_finite(float value) {
    return (std::bit_cast<std::uint32_t>(value) & 0x7f800000u) != 0x7f800000u;
}

// Cell along one axis, floor((value - min) / cell); -1 outside 0..size-1. In the operations that compilers turn into vector
// instructions, which std::floor is not: limited to -1..size (NaN becomes -1), truncated, one less where that went up.
PERCEPTION_HD inline std::int32_t axis_cell(const VoxelGrid& grid, int axis, float value) {
    const float index = (value - grid.min[axis]) / grid.cell[axis], size = static_cast<float>(grid.size[axis]);
    const float above = index > -1.0f ? index : -1.0f, limited = above < size ? above : size;
    const std::int32_t truncated = static_cast<std::int32_t>(limited);
    const std::int32_t cell = truncated - (static_cast<float>(truncated) > limited ? 1 : 0);
    return cell < static_cast<std::int32_t>(grid.size[axis]) ? cell : -1;
}

// Sort key of a cell: its index in (b, z, y, x) order; cells() outside the range.
PERCEPTION_HD inline std::uint64_t cell_key(const VoxelGrid& grid, std::int64_t batch, std::int32_t cx, std::int32_t cy,
                                            std::int32_t cz) {
    const std::int64_t key = ((batch * grid.size[2] + cz) * grid.size[1] + cy) * grid.size[0] + cx;
    return static_cast<std::uint64_t>((cx | cy | cz) < 0 ? grid.cells() : key);
}

PERCEPTION_HD inline std::uint64_t voxel_key(const VoxelGrid& grid, std::int64_t batch, float x, float y, float z) {
    return cell_key(grid, batch, axis_cell(grid, 0, x), axis_cell(grid, 1, y), axis_cell(grid, 2, z));
}

// The coordinates (b, z, y, x) of a key.
PERCEPTION_HD inline void write_coords(const VoxelGrid& grid, std::uint64_t key, std::int32_t* coords) {
    for (int axis = 0; axis < 3; ++axis) {
        const std::uint64_t size = static_cast<std::uint64_t>(grid.size[axis]);
        coords[3 - axis] = static_cast<std::int32_t>(key % size);
        key /= size;
    }
    coords[0] = static_cast<std::int32_t>(key);
}

// points [count,3] x y z (m), consecutive in a row, rows `row_stride` elements apart; batch [count], 0..batch_size-1.
// A point that is not finite or whose batch index is outside is counted in `counts` and lands in no voxel.
std::size_t voxelize_workspace_bytes_cpu(std::int64_t count, const VoxelGrid& grid, int threads);
Status voxelize_cpu(const float* points, std::int64_t row_stride, const std::int64_t* batch, std::int64_t count,
                    const VoxelGrid& grid, const VoxelOutput& output, void* workspace, std::size_t workspace_bytes,
                    int threads);

std::size_t voxelize_workspace_bytes_cuda(std::int64_t count, const VoxelGrid& grid);
Status voxelize_cuda(const float* points, std::int64_t row_stride, const std::int64_t* batch, std::int64_t count,
                     const VoxelGrid& grid, const VoxelOutput& output, void* workspace, std::size_t workspace_bytes,
                     Stream stream);

}  // namespace perception
