// Tokens into a dense bird's-eye-view map, and back. Values are only moved, so T is an unsigned integer of their width:
// uint16_t, uint32_t or uint64_t.
#pragma once

#include "platform.h"

namespace perception {

struct BevGrid {
    std::int64_t size[3];  // z y x, cells
    std::int64_t batch_size;

    PERCEPTION_HD std::int64_t cells() const { return size[0] * size[1] * size[2]; }
};

// Where channel 0 of the token at (b, z, y, x) lies in a map [B, C*Z, Y, X] whose channel c of height z is c*Z + z; channel c lies
// c * cells() further. -1 outside the grid.
PERCEPTION_HD inline std::int64_t bev_position(const BevGrid& grid, std::int64_t channels, const std::int32_t* coords) {
    const std::int64_t b = coords[0], z = coords[1], y = coords[2], x = coords[3];
    const bool inside = b >= 0 && b < grid.batch_size && z >= 0 && z < grid.size[0] && y >= 0 && y < grid.size[1] && x >= 0 &&
                        x < grid.size[2];
    return inside ? b * channels * grid.cells() + (z * grid.size[1] + y) * grid.size[2] + x : -1;
}

// features [tokens, channels], coords [tokens,4] b z y x, each cell at most once -> bev [B, C*Z, Y, X], zero where no token is.
// A token outside the grid is left out and counted in `outside` [1]; on CUDA, where reading a count means waiting, nobody counts.
template <typename T>
std::size_t sparse_to_bev_workspace_bytes_cpu(std::int64_t tokens, std::int64_t channels);
template <typename T>
Status sparse_to_bev_cpu(const T* features, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                         const BevGrid& grid, T* bev, std::int64_t* outside, void* workspace, std::size_t workspace_bytes,
                         int threads);
std::size_t sparse_to_bev_workspace_bytes_cuda(const BevGrid& grid);
template <typename T>
Status sparse_to_bev_cuda(const T* features, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                          const BevGrid& grid, T* bev, void* workspace, std::size_t workspace_bytes, Stream stream);

// grad_bev [B, C*Z, Y, X] -> grad_features [tokens, channels], zero for a token outside the grid.
template <typename T>
Status sparse_to_bev_backward_cpu(const T* grad_bev, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                                  const BevGrid& grid, T* grad_features, int threads);
template <typename T>
Status sparse_to_bev_backward_cuda(const T* grad_bev, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                                   const BevGrid& grid, T* grad_features, Stream stream);

}  // namespace perception
