#include "nms.h"

namespace perception {
namespace {

constexpr std::int64_t kBlock = 64;  // kept boxes that are compared with together

template <typename T>
struct KeptBoxes {
    const T* rows;
    T threshold, offset;
    T *x1, *y1, *x2, *y2, *area;
    std::int64_t size = 0;

    bool suppresses(std::int64_t index) const {
        const T* box = rows + 4 * index;
        const T box_area = aligned_area(box, offset);
        for (std::int64_t first = 0; first < size; first += kBlock) {
            const std::int64_t end = std::min(first + kBlock, size);
            bool over = false;
#pragma omp simd reduction(| : over)
            for (std::int64_t i = first; i < end; ++i) {
                over |= aligned_iou(x1[i], y1[i], x2[i], y2[i], area[i], box[0], box[1], box[2], box[3], box_area, offset) >
                        threshold;
            }
            if (over) return true;
        }
        return false;
    }

    void add(std::int64_t index) {
        const T* box = rows + 4 * index;
        x1[size] = box[0];
        y1[size] = box[1];
        x2[size] = box[2];
        y2[size] = box[3];
        area[size++] = aligned_area(box, offset);
    }
};

}  // namespace

std::size_t nms_workspace_bytes_cpu(std::int64_t count, std::size_t value_bytes) {
    Workspace workspace;
    workspace.take<std::int64_t>(count);
    for (int column = 0; column < 5; ++column) workspace.take<std::byte>(count * static_cast<std::int64_t>(value_bytes));
    return workspace.bytes();
}

template <typename T>
Status nms_cpu(const T* boxes, const T* scores, std::int64_t count, T threshold, T offset, std::int64_t* kept,
               std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes) {
    Workspace memory(workspace, workspace_bytes);
    auto* const order = memory.take<std::int64_t>(count);
    T* columns[5];
    for (T*& column : columns) column = memory.take<T>(count);
    if (!memory.fits()) return Status::workspace_too_small;
    KeptBoxes<T> set{boxes, threshold, offset, columns[0], columns[1], columns[2], columns[3], columns[4]};
    *kept_count = suppress(scores, count, set, order, kept);
    return Status::ok;
}

template Status nms_cpu(const float*, const float*, std::int64_t, float, float, std::int64_t*, std::int64_t*, void*,
                        std::size_t);
template Status nms_cpu(const double*, const double*, std::int64_t, double, double, std::int64_t*, std::int64_t*, void*,
                        std::size_t);

}  // namespace perception
