// Non-maximum suppression in the bird's-eye view: rotated boxes by IoU, or centres by distance.
#pragma once

#include "box_iou_bev.h"
#include "suppression.h"

namespace perception {

// kept [count]: indices in descending score, equal scores in ascending index; kept_count [1]. Boxes [count,5] x y l w yaw.
// A box is suppressed by a kept one with IoU > threshold.
std::size_t nms_bev_workspace_bytes_cpu(std::int64_t count, std::size_t value_bytes);
template <typename T>
Status nms_bev_cpu(const T* boxes, const T* scores, std::int64_t count, T threshold, std::int64_t* kept,
                   std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes);

std::size_t nms_bev_workspace_bytes_cuda(std::int64_t count, std::size_t value_bytes);
template <typename T>
Status nms_bev_cuda(const T* boxes, const T* scores, std::int64_t count, T threshold, std::int64_t* kept,
                    std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes, Stream stream);

// Centres [count,2] (m); suppressed by a kept centre at a distance <= radius (CenterPoint's circle NMS).
std::size_t circle_nms_workspace_bytes_cpu(std::int64_t count, std::size_t value_bytes);
template <typename T>
Status circle_nms_cpu(const T* centres, const T* scores, std::int64_t count, T radius, std::int64_t* kept,
                      std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes);

std::size_t circle_nms_workspace_bytes_cuda(std::int64_t count);
template <typename T>
Status circle_nms_cuda(const T* centres, const T* scores, std::int64_t count, T radius, std::int64_t* kept,
                       std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes, Stream stream);

}  // namespace perception
