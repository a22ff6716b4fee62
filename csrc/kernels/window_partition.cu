#include "window_partition.h"

#include <algorithm>

#include "cuda_platform.h"

namespace perception {
namespace {

constexpr int kThreads = 256;

struct Scratch {
    std::uint64_t* packed[2];  // [tokens] of each partition
    std::uint64_t* spare;      // [tokens]
    std::int64_t* counts;      // [2] windows that hold a token
    void* group;
    std::size_t group_bytes;
};

Scratch layout_scratch(Workspace& workspace, std::int64_t tokens, const WindowGrid& grid) {
    const std::size_t group_bytes = std::max(group_workspace_bytes_cuda(tokens, key_layout(tokens, grid.windows(false))),
                                             group_workspace_bytes_cuda(tokens, key_layout(tokens, grid.windows(true))));
    return {{workspace.take<std::uint64_t>(tokens), workspace.take<std::uint64_t>(tokens)},
            workspace.take<std::uint64_t>(tokens), workspace.take<std::int64_t>(2),
            workspace.take<std::byte>(static_cast<std::int64_t>(group_bytes)), group_bytes};
}

struct Keys {
    std::uint64_t* packed;   // [tokens]
    std::int32_t* position;  // [tokens,3]
    int index_bits;
};

__global__ void __launch_bounds__(kThreads) find_windows(const std::int32_t* __restrict__ coords,  // [tokens,4]
                                                         std::int64_t tokens, WindowGrid grid, Keys unshifted,
                                                         Keys shifted) {
    const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (i >= tokens) return;
    const std::int32_t token[4] = {coords[4 * i], coords[4 * i + 1], coords[4 * i + 2], coords[4 * i + 3]};
    const bool inside = in_grid(grid, token);
    for (int p = 0; p < 2; ++p) {
        const Keys& keys = p == 0 ? unshifted : shifted;
        std::int32_t position[3] = {0, 0, 0};
        const std::uint64_t key =
            inside ? window_key(grid, token, p == 1, position) : static_cast<std::uint64_t>(grid.windows(p == 1));
        keys.packed[i] = pack_key(key, i, keys.index_bits);
        for (int axis = 0; axis < 3; ++axis) keys.position[3 * i + axis] = position[axis];
    }
}

// Offsets of the empty windows at the end, blockIdx.y says of which partition.
__global__ void __launch_bounds__(kThreads) fill_empty(const std::int64_t* __restrict__ counts,  // [2]
                                                       std::int64_t* unshifted, std::int64_t unshifted_capacity,
                                                       std::int64_t* shifted, std::int64_t shifted_capacity) {
    std::int64_t* const offsets = blockIdx.y == 0 ? unshifted : shifted;
    const std::int64_t capacity = blockIdx.y == 0 ? unshifted_capacity : shifted_capacity;
    const std::int64_t count = counts[blockIdx.y];
    const std::int64_t window = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (window > count && window <= capacity) offsets[window] = offsets[count];
}

}  // namespace

std::size_t window_partition_workspace_bytes_cuda(std::int64_t tokens, const WindowGrid& grid) {
    Workspace workspace;
    layout_scratch(workspace, tokens, grid);
    return workspace.bytes();
}

Status window_partition_cuda(const std::int32_t* coords, std::int64_t tokens, const WindowGrid& grid,
                             const Partition& unshifted, const Partition& shifted, void* workspace,
                             std::size_t workspace_bytes, Stream stream) {
    const Partition* const partitions[2] = {&unshifted, &shifted};
    const KeyLayout layouts[2] = {key_layout(tokens, grid.windows(false)), key_layout(tokens, grid.windows(true))};
    if (tokens < 0 || !layouts[0].fits() || !layouts[1].fits()) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const Scratch scratch = layout_scratch(memory, tokens, grid);
    if (!memory.fits()) return Status::workspace_too_small;

    Status status = launch(find_windows, blocks_for(tokens, kThreads), kThreads, 0, stream, coords, tokens, grid,
                           Keys{scratch.packed[0], unshifted.position, layouts[0].index_bits},
                           Keys{scratch.packed[1], shifted.position, layouts[1].index_bits});
    for (int p = 0; p < 2 && status == Status::ok; ++p) {
        const Partition& to = *partitions[p];
        const Runs runs{static_cast<std::uint64_t>(grid.windows(p == 1)), to.capacity, to.order, to.offsets, nullptr,
                        nullptr, scratch.counts + p};
        status = group_cuda(scratch.packed[p], scratch.spare, tokens, layouts[p], runs, scratch.group, scratch.group_bytes,
                            stream);
    }
    if (status != Status::ok) return status;
    const std::int64_t offsets = std::max(unshifted.capacity, shifted.capacity) + 1;
    return launch(fill_empty, dim3(blocks_for(offsets, kThreads), 2), kThreads, 0, stream, scratch.counts, unshifted.offsets,
                  unshifted.capacity, shifted.offsets, shifted.capacity);
}

}  // namespace perception
