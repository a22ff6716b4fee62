#include "points_in_boxes.h"

#include "cuda_platform.h"

namespace perception {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 8;  // points per block of points_in_boxes_all; a warp takes 32 boxes of one

template <typename T>
__global__ void __launch_bounds__(kThreads) prepare_boxes(const T* __restrict__ rows,  // [count,7]
                                                          std::int64_t count,
                                                          UprightBox<T>* __restrict__ boxes) {  // [count]
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index < count) boxes[index] = make_upright_box(rows + 7 * index);
}

// A thread per point. All threads read the same box at a time: one load serves a warp.
template <typename T>
__global__ void __launch_bounds__(kThreads) find_first(const T* __restrict__ points,  // [point_count,3]
                                                       std::int64_t point_count,
                                                       const UprightBox<T>* __restrict__ boxes,  // [box_count]
                                                       std::int64_t box_count,
                                                       std::int64_t* __restrict__ first) {  // [point_count]
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index >= point_count) return;
    const T x = points[3 * index], y = points[3 * index + 1], z = points[3 * index + 2];
    std::int64_t box = 0;
    while (box < box_count && !boxes[box].contains(x, y, z)) ++box;
    first[index] = box < box_count ? box : -1;
}

template <typename T>
__global__ void __launch_bounds__(kRows * kWarp) test_all(const T* __restrict__ points,  // [point_count,3]
                                                          std::int64_t point_count,
                                                          const UprightBox<T>* __restrict__ boxes,  // [box_count]
                                                          std::int64_t box_count,
                                                          bool* __restrict__ inside) {  // [point_count,box_count]
    const std::int64_t index = std::int64_t{blockIdx.x} * kRows + threadIdx.y;
    const std::int64_t box = std::int64_t{blockIdx.y} * kWarp + threadIdx.x;
    if (index >= point_count || box >= box_count) return;
    const T* point = points + 3 * index;
    inside[index * box_count + box] = boxes[box].contains(point[0], point[1], point[2]);
}

// Prepares the boxes in the workspace.
template <typename T>
Status prepare(const T* rows, std::int64_t count, void* workspace, std::size_t workspace_bytes, Stream stream,
               UprightBox<T>*& boxes) {
    Workspace memory(workspace, workspace_bytes);
    boxes = memory.take<UprightBox<T>>(count);
    if (!memory.fits()) return Status::workspace_too_small;
    return launch(prepare_boxes<T>, blocks_for(count, kThreads), kThreads, 0, stream, rows, count, boxes);
}

}  // namespace

template <typename T>
Status points_in_boxes_cuda(const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count,
                            std::int64_t* first, void* workspace, std::size_t workspace_bytes, Stream stream) {
    UprightBox<T>* prepared = nullptr;
    const Status status = prepare(boxes, box_count, workspace, workspace_bytes, stream, prepared);
    if (status != Status::ok) return status;
    return launch(find_first<T>, blocks_for(point_count, kThreads), kThreads, 0, stream, points, point_count, prepared,
                  box_count, first);
}

template <typename T>
Status points_in_boxes_all_cuda(const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count,
                                bool* inside, void* workspace, std::size_t workspace_bytes, Stream stream) {
    UprightBox<T>* prepared = nullptr;
    const Status status = prepare(boxes, box_count, workspace, workspace_bytes, stream, prepared);
    if (status != Status::ok) return status;
    return launch(test_all<T>, dim3(blocks_for(point_count, kRows), blocks_for(box_count, kWarp)), dim3(kWarp, kRows), 0,
                  stream, points, point_count, prepared, box_count, inside);
}

#define PERCEPTION_INSTANTIATE(T)                                                                                      \
    template Status points_in_boxes_cuda(const T*, std::int64_t, const T*, std::int64_t, std::int64_t*, void*,         \
                                         std::size_t, Stream);                                                         \
    template Status points_in_boxes_all_cuda(const T*, std::int64_t, const T*, std::int64_t, bool*, void*, std::size_t, \
                                             Stream);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)

}  // namespace perception
