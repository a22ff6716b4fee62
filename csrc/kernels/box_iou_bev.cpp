#include "box_iou_bev.h"

namespace perception {

std::size_t box_iou_bev_workspace_bytes(std::int64_t count_a, std::int64_t count_b, std::size_t value_bytes) {
    static_assert(sizeof(BevBox<float>) == 6 * sizeof(float));
    Workspace workspace;
    workspace.take<std::byte>(6 * count_a * static_cast<std::int64_t>(value_bytes));
    workspace.take<std::byte>(6 * count_b * static_cast<std::int64_t>(value_bytes));
    return workspace.bytes();
}

template <typename T>
Status box_iou_bev_cpu(const T* a, std::int64_t count_a, const T* b, std::int64_t count_b, BevOverlap kind, T* out,
                       void* workspace, std::size_t workspace_bytes, int threads) {
    Workspace memory(workspace, workspace_bytes);
    auto* const boxes_a = memory.take<BevBox<T>>(count_a);
    auto* const boxes_b = memory.take<BevBox<T>>(count_b);
    if (!memory.fits()) return Status::workspace_too_small;
    for (std::int64_t i = 0; i < count_a; ++i) boxes_a[i] = make_bev_box(a + 5 * i);
    for (std::int64_t j = 0; j < count_b; ++j) boxes_b[j] = make_bev_box(b + 5 * j);
#pragma omp parallel for schedule(dynamic, 8) num_threads(threads)
    for (std::int64_t i = 0; i < count_a; ++i) {
        for (std::int64_t j = 0; j < count_b; ++j) {
            out[i * count_b + j] = overlap_of(boxes_a[i], boxes_b[j], kind);
        }
    }
    return Status::ok;
}

template Status box_iou_bev_cpu(const float*, std::int64_t, const float*, std::int64_t, BevOverlap, float*, void*,
                                std::size_t, int);
template Status box_iou_bev_cpu(const double*, std::int64_t, const double*, std::int64_t, BevOverlap, double*, void*,
                                std::size_t, int);

}  // namespace perception
