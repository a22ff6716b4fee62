#include "voxelize.h"

#include <algorithm>

namespace perception {
namespace {

constexpr std::int64_t kBlock = 256;  // points whose keys are computed together

struct Scratch {
    std::uint64_t* packed;  // [count]
    std::uint64_t* spare;   // [count]
    std::uint64_t* keys;    // [capacity] key of each voxel
    void* group;
    std::size_t group_bytes;
};

Scratch layout_scratch(Workspace& workspace, std::int64_t count, const VoxelGrid& grid, int threads) {
    const std::size_t group_bytes = group_workspace_bytes_cpu(count, threads);
    return {workspace.take<std::uint64_t>(count), workspace.take<std::uint64_t>(count),
            workspace.take<std::uint64_t>(std::min(count, grid.cells())),
            workspace.take<std::byte>(static_cast<std::int64_t>(group_bytes)), group_bytes};
}

}  // namespace

std::size_t voxelize_workspace_bytes_cpu(std::int64_t count, const VoxelGrid& grid, int threads) {
    Workspace workspace;
    layout_scratch(workspace, count, grid, threads);
    return workspace.bytes();
}

Status voxelize_cpu(const float* points, std::int64_t row_stride, const std::int64_t* batch, std::int64_t count,
                    const VoxelGrid& grid, const VoxelOutput& output, void* workspace, std::size_t workspace_bytes,
                    int threads) {
    const KeyLayout layout = key_layout(count, grid.cells());
    if (count < 0 || !layout.fits()) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const Scratch scratch = layout_scratch(memory, count, grid, threads);
    if (!memory.fits()) return Status::workspace_too_small;

    std::int64_t not_finite = 0, outside_batch = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : not_finite, outside_batch)
    for (std::int64_t begin = 0; begin < count; begin += kBlock) {
        const int size = static_cast<int>(std::min(kBlock, count - begin));
        const VoxelGrid own = grid;  // that no store changes: the compiler sees it
        std::int32_t cells[3][kBlock], usable[kBlock];
        std::fill(usable, usable + size, 1);
        for (int axis = 0; axis < 3; ++axis) {
            float values[kBlock];
            for (int i = 0; i < size; ++i) values[i] = points[(begin + i) * row_stride + axis];
#pragma omp simd
            for (int i = 0; i < size; ++i) {
                cells[axis][i] = axis_cell(own, axis, values[i]);
                usable[i] = is_finite(values[i]) ? usable[i] : 0;
            }
        }
        std::int64_t unusable = 0, strangers = 0;
        const std::uint64_t outside = static_cast<std::uint64_t>(own.cells());
        std::uint64_t* const packed = scratch.packed + begin;
#pragma omp simd reduction(+ : unusable, strangers)
        for (int i = 0; i < size; ++i) {
            const std::int64_t sample = batch[begin + i];
            const bool stranger = (sample < 0) | (sample >= own.batch_size);
            unusable += 1 - usable[i];
            strangers += stranger ? 1 : 0;
            const std::uint64_t key = cell_key(own, stranger ? 0 : sample, cells[0][i], cells[1][i], cells[2][i]);
            packed[i] = pack_key(stranger | (usable[i] == 0) ? outside : key, begin + i, layout.index_bits);
        }
        not_finite += unusable;
        outside_batch += strangers;
    }
    output.counts[VoxelCount::not_finite] = not_finite;
    output.counts[VoxelCount::outside_batch] = outside_batch;

    const Runs runs{static_cast<std::uint64_t>(grid.cells()), std::min(output.capacity, std::min(count, grid.cells())),
                    output.order, output.offsets, scratch.keys, output.point_voxel, output.counts + VoxelCount::voxels};
    const Status grouped = group_cpu(scratch.packed, scratch.spare, count, layout, runs, scratch.group,
                                     scratch.group_bytes, threads);
    if (grouped != Status::ok) return grouped;
    const std::int64_t voxels = output.counts[VoxelCount::voxels];
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t v = 0; v < voxels; ++v) write_coords(grid, scratch.keys[v], output.coords + 4 * v);
    return Status::ok;
}

}  // namespace perception
