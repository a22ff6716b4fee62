// The two window partitions of SST: tokens by window of the grid, and by windows shifted by half their size.
#pragma once

#include "scan_sort.h"

namespace perception {

struct WindowGrid {
    std::int64_t size[3];    // z y x, cells of the map
    std::int64_t window[3];  // z y x, cells of a window
    std::int64_t batch_size;

    // A whole window in the first partition, half of one in the shifted; none along z where a window spans the height.
    PERCEPTION_HD std::int64_t shift(int axis, bool shifted) const {
        if (axis == 0 && window[0] >= size[0]) return 0;
        return shifted ? window[axis] / 2 : window[axis];
    }
    // Windows along an axis, counted from 0 to the last cell's window.
    PERCEPTION_HD std::int64_t count(int axis, bool shifted) const {
        return (size[axis] - 1 + shift(axis, shifted)) / window[axis] + 1;
    }
    PERCEPTION_HD std::int64_t windows(bool shifted) const {
        return batch_size * count(0, shifted) * count(1, shifted) * count(2, shifted);
    }
};

struct Partition {
    std::int64_t* order;     // [tokens] tokens by window, ascending inside one
    std::int64_t* offsets;   // [capacity+1]; windows that hold a token, then empty ones
    std::int32_t* position;  // [tokens,3] z y x inside the window, tokens in their own order
    std::int64_t capacity;   // min(tokens, windows of the grid)
};

PERCEPTION_HD inline bool in_grid(const WindowGrid& grid, const std::int32_t* coords) {
    return coords[0] >= 0 && coords[0] < grid.batch_size && coords[1] >= 0 && coords[1] < grid.size[0] && coords[2] >= 0 &&
           coords[2] < grid.size[1] && coords[3] >= 0 && coords[3] < grid.size[2];
}

// Sort key of a token (b, z, y, x): the index of its window, floor((coordinate + shift) / window) along each axis.
// Writes the position inside the window, (coordinate + shift) mod window.
PERCEPTION_HD inline std::uint64_t window_key(const WindowGrid& grid, const std::int32_t* coords, bool shifted,
                                              std::int32_t* position) {
    std::int64_t key = coords[0];
    for (int axis = 0; axis < 3; ++axis) {
        const std::int64_t moved = coords[1 + axis] + grid.shift(axis, shifted);
        const std::int64_t window = moved / grid.window[axis];
        position[axis] = static_cast<std::int32_t>(moved - window * grid.window[axis]);
        key = key * grid.count(axis, shifted) + window;
    }
    return static_cast<std::uint64_t>(key);
}

// coords [tokens,4] b z y x. A token outside the grid lands in no window: it comes last in the order, past the last offset, with
// position 0. `outside` [1] counts them; on CUDA, where reading a count means waiting, nobody does.
std::size_t window_partition_workspace_bytes_cpu(std::int64_t tokens, int threads);
Status window_partition_cpu(const std::int32_t* coords, std::int64_t tokens, const WindowGrid& grid,
                            const Partition& unshifted, const Partition& shifted, std::int64_t* outside, void* workspace,
                            std::size_t workspace_bytes, int threads);

std::size_t window_partition_workspace_bytes_cuda(std::int64_t tokens, const WindowGrid& grid);
Status window_partition_cuda(const std::int32_t* coords, std::int64_t tokens, const WindowGrid& grid,
                             const Partition& unshifted, const Partition& shifted, void* workspace,
                             std::size_t workspace_bytes, Stream stream);

}  // namespace perception
