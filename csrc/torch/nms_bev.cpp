#include "nms_bev.h"

#include "box_binding.h"

namespace perception {
namespace {

using at::Tensor;

Tensor nms_bev(const Tensor& boxes, const Tensor& scores, double threshold) {
    TORCH_CHECK_VALUE(threshold >= 0, "nms_bev: iou_threshold is ", threshold, "; it must not be negative");
    check_suppression(boxes, scores, 5, "nms_bev");
    const c10::DeviceGuard guard(boxes.device());
    const Tensor rows = boxes.contiguous(), values = scores.contiguous();
    const KeptIndices kept(rows);
    with_box_type(boxes.scalar_type(), "nms_bev", [&](auto zero) {
        using T = decltype(zero);
        const int64_t count = rows.size(0);
        if (boxes.is_cpu()) {
            const std::size_t bytes = nms_bev_workspace_bytes_cpu(count, sizeof(T));
            const Tensor memory = binding::workspace(bytes, boxes);
            binding::check(nms_bev_cpu(binding::read<T>(rows), binding::read<T>(values), count, static_cast<T>(threshold),
                                       kept.indices_out(), kept.count_out(), memory.mutable_data_ptr(), bytes),
                           "nms_bev");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (boxes.is_cuda()) {
            const std::size_t bytes = nms_bev_workspace_bytes_cuda(count, sizeof(T));
            const Tensor memory = binding::workspace(bytes, boxes);
            binding::check(nms_bev_cuda(binding::read<T>(rows), binding::read<T>(values), count, static_cast<T>(threshold),
                                        kept.indices_out(), kept.count_out(), memory.mutable_data_ptr(), bytes,
                                        binding::stream()),
                           "nms_bev");
        }
#endif
    });
    return kept.result();
}

Tensor circle_nms(const Tensor& centres, const Tensor& scores, double radius_m) {
    check_suppression(centres, scores, 2, "circle_nms");
    TORCH_CHECK_VALUE(radius_m >= 0, "circle_nms: radius_m must not be negative, got ", radius_m);
    const c10::DeviceGuard guard(centres.device());
    const Tensor rows = centres.contiguous(), values = scores.contiguous();
    const KeptIndices kept(rows);
    with_box_type(centres.scalar_type(), "circle_nms", [&](auto zero) {
        using T = decltype(zero);
        const int64_t count = rows.size(0);
        if (centres.is_cpu()) {
            const std::size_t bytes = circle_nms_workspace_bytes_cpu(count, sizeof(T));
            const Tensor memory = binding::workspace(bytes, centres);
            binding::check(circle_nms_cpu(binding::read<T>(rows), binding::read<T>(values), count, static_cast<T>(radius_m),
                                          kept.indices_out(), kept.count_out(), memory.mutable_data_ptr(), bytes),
                           "circle_nms");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (centres.is_cuda()) {
            const std::size_t bytes = circle_nms_workspace_bytes_cuda(count);
            const Tensor memory = binding::workspace(bytes, centres);
            binding::check(circle_nms_cuda(binding::read<T>(rows), binding::read<T>(values), count,
                                           static_cast<T>(radius_m), kept.indices_out(), kept.count_out(),
                                           memory.mutable_data_ptr(), bytes, binding::stream()),
                           "circle_nms");
        }
#endif
    });
    return kept.result();
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("nms_bev(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor");
    m.def("circle_nms(Tensor centres, Tensor scores, float radius_m) -> Tensor");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) {
    m.impl("nms_bev", nms_bev);
    m.impl("circle_nms", circle_nms);
}
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) {
    m.impl("nms_bev", nms_bev);
    m.impl("circle_nms", circle_nms);
}
#endif

}  // namespace
}  // namespace perception
