// Rotated boxes prepared on the GPU, which box_iou_bev and nms_bev share.
#pragma once

#include "box_iou_bev.h"
#include "cuda_platform.h"

namespace perception {

namespace detail {

template <typename T>
__global__ void __launch_bounds__(256) prepare_bev_boxes(const T* __restrict__ rows,  // [count,5]
                                                         std::int64_t count,
                                                         BevBox<T>* __restrict__ boxes) {  // [count]
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index < count) boxes[index] = make_bev_box(rows + 5 * index);
}

}  // namespace detail

template <typename T>
Status make_bev_boxes_cuda(const T* rows, std::int64_t count, BevBox<T>* boxes, Stream stream) {
    return launch(detail::prepare_bev_boxes<T>, blocks_for(count, 256), 256, 0, stream, rows, count, boxes);
}

}  // namespace perception
