#include "nms.h"

#include "suppression.cuh"

namespace perception {
namespace {

template <typename T>
struct AlignedBox {
    T x1, y1, x2, y2, area;
};

template <typename T>
struct AlignedBoxes {
    const T* rows;  // [count,4]
    T threshold, offset;

    __device__ AlignedBox<T> load(std::int64_t index) const {
        const T* box = rows + 4 * index;
        return {box[0], box[1], box[2], box[3], aligned_area(box, offset)};
    }
    __device__ bool suppresses(const AlignedBox<T>& kept, const AlignedBox<T>& candidate) const {
        return aligned_iou(kept.x1, kept.y1, kept.x2, kept.y2, kept.area, candidate.x1, candidate.y1, candidate.x2,
                           candidate.y2, candidate.area, offset) > threshold;
    }
};

}  // namespace

std::size_t nms_workspace_bytes_cuda(std::int64_t count) {
    Workspace workspace;
    SuppressionScratch(workspace, count);
    return workspace.bytes();
}

template <typename T>
Status nms_cuda(const T* boxes, const T* scores, std::int64_t count, T threshold, T offset, std::int64_t* kept,
                std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes, Stream stream) {
    Workspace memory(workspace, workspace_bytes);
    const SuppressionScratch scratch(memory, count);
    if (!memory.fits()) return Status::workspace_too_small;
    return suppress_cuda(scores, count, AlignedBoxes<T>{boxes, threshold, offset}, scratch, kept, kept_count, stream);
}

template Status nms_cuda(const float*, const float*, std::int64_t, float, float, std::int64_t*, std::int64_t*, void*,
                         std::size_t, Stream);
template Status nms_cuda(const double*, const double*, std::int64_t, double, double, std::int64_t*, std::int64_t*, void*,
                         std::size_t, Stream);

}  // namespace perception
