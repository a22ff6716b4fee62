// Non-maximum suppression of axis-aligned boxes, as in torchvision and mmcv.
#pragma once

#include "suppression.h"

namespace perception {

// IoU of x1 y1 x2 y2 boxes whose sides are x2 - x1 + offset. Areas are given: they are the same in every comparison.
template <typename T>
PERCEPTION_HD inline T aligned_iou(T ax1, T ay1, T ax2, T ay2, T area_a, T bx1, T by1, T bx2, T by2, T area_b, T offset) {
    const T width = (ax2 < bx2 ? ax2 : bx2) - (ax1 > bx1 ? ax1 : bx1) + offset;
    const T height = (ay2 < by2 ? ay2 : by2) - (ay1 > by1 ? ay1 : by1) + offset;
    const T shared = width > 0 && height > 0 ? width * height : T{0};
    return shared / (area_a + area_b - shared);
}

template <typename T>
PERCEPTION_HD inline T aligned_area(const T* box, T offset) {
    return (box[2] - box[0] + offset) * (box[3] - box[1] + offset);
}

// kept [count]: indices in descending score, equal scores in ascending index; kept_count [1]. Boxes [count,4] x1 y1 x2 y2. A box
// is suppressed by a kept one with IoU > threshold. offset is 0, or 1 where x2 and y2 are the last pixels inside.
std::size_t nms_workspace_bytes_cpu(std::int64_t count, std::size_t value_bytes);
template <typename T>
Status nms_cpu(const T* boxes, const T* scores, std::int64_t count, T threshold, T offset, std::int64_t* kept,
               std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes);

std::size_t nms_workspace_bytes_cuda(std::int64_t count);
template <typename T>
Status nms_cuda(const T* boxes, const T* scores, std::int64_t count, T threshold, T offset, std::int64_t* kept,
                std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes, Stream stream);

}  // namespace perception
