#include "window_partition.h"

#include <algorithm>

namespace perception {
namespace {

struct Scratch {
    std::uint64_t* packed[2];  // [tokens] of each partition
    std::uint64_t* spare;      // [tokens]
    void* group;
    std::size_t group_bytes;
};

Scratch layout_scratch(Workspace& workspace, std::int64_t tokens, int threads) {
    const std::size_t group_bytes = group_workspace_bytes_cpu(tokens, threads);
    return {{workspace.take<std::uint64_t>(tokens), workspace.take<std::uint64_t>(tokens)},
            workspace.take<std::uint64_t>(tokens),
            workspace.take<std::byte>(static_cast<std::int64_t>(group_bytes)), group_bytes};
}

}  // namespace

std::size_t window_partition_workspace_bytes_cpu(std::int64_t tokens, int threads) {
    Workspace workspace;
    layout_scratch(workspace, tokens, threads);
    return workspace.bytes();
}

Status window_partition_cpu(const std::int32_t* coords, std::int64_t tokens, const WindowGrid& grid,
                            const Partition& unshifted, const Partition& shifted, std::int64_t* outside, void* workspace,
                            std::size_t workspace_bytes, int threads) {
    const Partition* const partitions[2] = {&unshifted, &shifted};
    const KeyLayout layouts[2] = {key_layout(tokens, grid.windows(false)), key_layout(tokens, grid.windows(true))};
    if (tokens < 0 || !layouts[0].fits() || !layouts[1].fits()) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const Scratch scratch = layout_scratch(memory, tokens, threads);
    if (!memory.fits()) return Status::workspace_too_small;

    std::int64_t outside_count = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : outside_count)
    for (std::int64_t i = 0; i < tokens; ++i) {
        const bool inside = in_grid(grid, coords + 4 * i);
        outside_count += !inside;
        for (int p = 0; p < 2; ++p) {
            std::int32_t* position = partitions[p]->position + 3 * i;
            std::uint64_t key = static_cast<std::uint64_t>(grid.windows(p == 1));
            if (inside) {
                key = window_key(grid, coords + 4 * i, p == 1, position);
            } else {
                position[0] = position[1] = position[2] = 0;
            }
            scratch.packed[p][i] = pack_key(key, i, layouts[p].index_bits);
        }
    }
    *outside = outside_count;

    for (int p = 0; p < 2; ++p) {
        const Partition& to = *partitions[p];
        std::int64_t count = 0;
        const Runs runs{static_cast<std::uint64_t>(grid.windows(p == 1)), to.capacity, to.order, to.offsets, nullptr,
                        nullptr, &count};
        const Status grouped = group_cpu(scratch.packed[p], scratch.spare, tokens, layouts[p], runs, scratch.group,
                                         scratch.group_bytes, threads);
        if (grouped != Status::ok) return grouped;
        std::fill(to.offsets + count, to.offsets + to.capacity + 1, to.offsets[count]);
    }
    return Status::ok;
}

}  // namespace perception
