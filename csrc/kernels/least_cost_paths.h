// Least cost paths from many sources over the pixels of images: how far every pixel is, and from which source.
#pragma once

#include "platform.h"

namespace perception {

// An edge joins a pixel with its neighbour to the right, below, below to the right and below to the left: costs
// [images,4,height,width] has them in this order, each at the upper (for the first the left) end. Both ways cost the same.
constexpr int kPathEdges = 4;
constexpr int kPathRows[kPathEdges] = {0, 1, 1, 1}, kPathColumns[kPathEdges] = {1, 0, 1, -1};

// Of equal distances the source of lower index is nearer, so that the result is the same in any order of work.
template <typename T>
PERCEPTION_HD inline bool nearer(T distance, std::int32_t source, T than_distance, std::int32_t than_source) {
    return distance < than_distance || (distance == than_distance && source < than_source);
}

// distance [images,height,width], infinite where no source is reached, and nearest, the row in `sources` [count,3] (image,
// row, column), -1 there. Sources outside are left out. Costs that are negative or not a number are no way, as infinite ones.
std::size_t least_cost_paths_workspace_bytes_cpu(std::int64_t images, std::int64_t height, std::int64_t width,
                                                 int threads);
template <typename T>
Status least_cost_paths_cpu(const T* costs, const std::int64_t* sources, std::int64_t count, std::int64_t images,
                            std::int64_t height, std::int64_t width, T* distance, std::int32_t* nearest, void* workspace,
                            std::size_t workspace_bytes, int threads);

std::size_t least_cost_paths_workspace_bytes_cuda(std::int64_t images, std::int64_t height, std::int64_t width,
                                                  std::size_t value_bytes);
template <typename T>
Status least_cost_paths_cuda(const T* costs, const std::int64_t* sources, std::int64_t count, std::int64_t images,
                             std::int64_t height, std::int64_t width, T* distance, std::int32_t* nearest, void* workspace,
                             std::size_t workspace_bytes, Stream stream);

}  // namespace perception
