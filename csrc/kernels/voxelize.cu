#include "voxelize.h"

#include <algorithm>

#include "cuda_platform.h"

namespace perception {
namespace {

constexpr int kThreads = 256;

struct Scratch {
    std::uint64_t* packed;  // [count]
    std::uint64_t* spare;   // [count]
    std::uint64_t* keys;    // [capacity] key of each voxel
    void* group;
    std::size_t group_bytes;
};

Scratch layout_scratch(Workspace& workspace, std::int64_t count, const VoxelGrid& grid) {
    const std::size_t group_bytes = group_workspace_bytes_cuda(count, key_layout(count, grid.cells()));
    return {workspace.take<std::uint64_t>(count), workspace.take<std::uint64_t>(count),
            workspace.take<std::uint64_t>(std::min(count, grid.cells())),
            workspace.take<std::byte>(static_cast<std::int64_t>(group_bytes)), group_bytes};
}

__global__ void __launch_bounds__(kThreads) find_cells(const float* __restrict__ points,  // [count,3]
                                                       std::int64_t row_stride,
                                                       const std::int64_t* __restrict__ batch,  // [count]
                                                       std::int64_t count, VoxelGrid grid, int index_bits,
                                                       std::uint64_t* __restrict__ packed,  // [count]
                                                       unsigned long long* __restrict__ not_finite,
                                                       unsigned long long* __restrict__ outside_batch) {
    const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    bool finite = true, in_batch = true;
    if (i < count) {
        const float x = points[i * row_stride], y = points[i * row_stride + 1], z = points[i * row_stride + 2];
        const std::int64_t b = batch[i];
        finite = is_finite(x) && is_finite(y) && is_finite(z);
        in_batch = b >= 0 && b < grid.batch_size;
        const std::uint64_t key =
            finite && in_batch ? voxel_key(grid, b, x, y, z) : static_cast<std::uint64_t>(grid.cells());
        packed[i] = pack_key(key, i, index_bits);
    }
    const int wrong = __syncthreads_count(!finite), lost = __syncthreads_count(!in_batch);
    if (threadIdx.x == 0 && wrong > 0) atomicAdd(not_finite, static_cast<unsigned long long>(wrong));
    if (threadIdx.x == 0 && lost > 0) atomicAdd(outside_batch, static_cast<unsigned long long>(lost));
}

__global__ void __launch_bounds__(kThreads) write_voxels(const std::uint64_t* __restrict__ keys,    // [voxels]
                                                         const std::int64_t* __restrict__ voxels,  // [1]
                                                         VoxelGrid grid, std::int32_t* __restrict__ coords) {
    const std::int64_t v = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (v >= *voxels) return;
    std::int32_t row[4];
    write_coords(grid, keys[v], row);
    reinterpret_cast<int4*>(coords)[v] = make_int4(row[0], row[1], row[2], row[3]);
}

}  // namespace

std::size_t voxelize_workspace_bytes_cuda(std::int64_t count, const VoxelGrid& grid) {
    Workspace workspace;
    layout_scratch(workspace, count, grid);
    return workspace.bytes();
}

Status voxelize_cuda(const float* points, std::int64_t row_stride, const std::int64_t* batch, std::int64_t count,
                     const VoxelGrid& grid, const VoxelOutput& output, void* workspace, std::size_t workspace_bytes,
                     Stream stream) {
    const KeyLayout layout = key_layout(count, grid.cells());
    if (count < 0 || !layout.fits()) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const Scratch scratch = layout_scratch(memory, count, grid);
    if (!memory.fits()) return Status::workspace_too_small;

    const auto counter = [&](int kind) { return reinterpret_cast<unsigned long long*>(output.counts + kind); };
    Status status = fill_bytes(output.counts, 0, VoxelCount::kinds * sizeof(std::int64_t), stream);
    if (status == Status::ok) {
        status = launch(find_cells, blocks_for(count, kThreads), kThreads, 0, stream, points, row_stride, batch, count, grid,
                        layout.index_bits, scratch.packed, counter(VoxelCount::not_finite),
                        counter(VoxelCount::outside_batch));
    }
    const std::int64_t capacity = std::min(output.capacity, std::min(count, grid.cells()));
    const Runs runs{static_cast<std::uint64_t>(grid.cells()), capacity, output.order, output.offsets, scratch.keys,
                    output.point_voxel, output.counts + VoxelCount::voxels};
    if (status == Status::ok) {
        status = group_cuda(scratch.packed, scratch.spare, count, layout, runs, scratch.group, scratch.group_bytes, stream);
    }
    if (status != Status::ok) return status;
    return launch(write_voxels, blocks_for(capacity, kThreads), kThreads, 0, stream, scratch.keys,
                  output.counts + VoxelCount::voxels, grid, output.coords);
}

}  // namespace perception
