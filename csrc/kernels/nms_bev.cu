#include "nms_bev.h"

#include "box_iou_bev.cuh"
#include "suppression.cuh"

namespace perception {
namespace {

template <typename T>
struct RotatedBoxes {
    const BevBox<T>* boxes;  // [count]
    T threshold;

    __device__ BevBox<T> load(std::int64_t index) const { return boxes[index]; }
    __device__ bool suppresses(const BevBox<T>& kept, const BevBox<T>& candidate) const {
        return iou_of(kept, candidate) > threshold;
    }
};

template <typename T>
struct Centre {
    T x, y;
};

template <typename T>
struct Centres {
    const T* rows;  // [count,2]
    T squared_radius;

    __device__ Centre<T> load(std::int64_t index) const { return {rows[2 * index], rows[2 * index + 1]}; }
    __device__ bool suppresses(const Centre<T>& kept, const Centre<T>& candidate) const {
        const T dx = kept.x - candidate.x, dy = kept.y - candidate.y;
        return dx * dx + dy * dy <= squared_radius;
    }
};

template <typename T>
struct RotatedScratch {
    BevBox<T>* boxes;  // [count]
    SuppressionScratch suppression;

    RotatedScratch(Workspace& workspace, std::int64_t count)
        : boxes(workspace.take<BevBox<T>>(count)), suppression(workspace, count) {}
};

}  // namespace

std::size_t nms_bev_workspace_bytes_cuda(std::int64_t count, std::size_t value_bytes) {
    Workspace workspace;
    if (value_bytes == sizeof(double)) {
        RotatedScratch<double>(workspace, count);
    } else {
        RotatedScratch<float>(workspace, count);
    }
    return workspace.bytes();
}

template <typename T>
Status nms_bev_cuda(const T* boxes, const T* scores, std::int64_t count, T threshold, std::int64_t* kept,
                    std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes, Stream stream) {
    Workspace memory(workspace, workspace_bytes);
    const RotatedScratch<T> scratch(memory, count);
    if (!memory.fits()) return Status::workspace_too_small;
    const Status status = make_bev_boxes_cuda(boxes, count, scratch.boxes, stream);
    if (status != Status::ok) return status;
    return suppress_cuda(scores, count, RotatedBoxes<T>{scratch.boxes, threshold}, scratch.suppression, kept, kept_count,
                         stream);
}

std::size_t circle_nms_workspace_bytes_cuda(std::int64_t count) {
    Workspace workspace;
    SuppressionScratch(workspace, count);
    return workspace.bytes();
}

template <typename T>
Status circle_nms_cuda(const T* centres, const T* scores, std::int64_t count, T radius, std::int64_t* kept,
                       std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes, Stream stream) {
    Workspace memory(workspace, workspace_bytes);
    const SuppressionScratch scratch(memory, count);
    if (!memory.fits()) return Status::workspace_too_small;
    return suppress_cuda(scores, count, Centres<T>{centres, radius * radius}, scratch, kept, kept_count, stream);
}

#define PERCEPTION_INSTANTIATE(T)                                                                                        \
    template Status nms_bev_cuda(const T*, const T*, std::int64_t, T, std::int64_t*, std::int64_t*, void*, std::size_t,  \
                                 Stream);                                                                                \
    template Status circle_nms_cuda(const T*, const T*, std::int64_t, T, std::int64_t*, std::int64_t*, void*,            \
                                    std::size_t, Stream);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)

}  // namespace perception
