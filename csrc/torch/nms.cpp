#include "nms.h"

#include "box_binding.h"

namespace perception {
namespace {

using at::Tensor;

Tensor nms(const Tensor& boxes, const Tensor& scores, double threshold, int64_t offset) {
    check_suppression(boxes, scores, 4, "nms");
    TORCH_CHECK_VALUE(offset == 0 || offset == 1, "nms: offset must be 0 or 1, got ", offset);
    const c10::DeviceGuard guard(boxes.device());
    const Tensor rows = boxes.contiguous(), values = scores.contiguous();
    const KeptIndices kept(rows);
    with_box_type(boxes.scalar_type(), "nms", [&](auto zero) {
        using T = decltype(zero);
        const int64_t count = rows.size(0);
        if (boxes.is_cpu()) {
            const std::size_t bytes = nms_workspace_bytes_cpu(count, sizeof(T));
            const Tensor memory = binding::workspace(bytes, boxes);
            binding::check(nms_cpu(binding::read<T>(rows), binding::read<T>(values), count, static_cast<T>(threshold),
                                   static_cast<T>(offset), kept.indices_out(), kept.count_out(), memory.mutable_data_ptr(),
                                   bytes),
                           "nms");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (boxes.is_cuda()) {
            const std::size_t bytes = nms_workspace_bytes_cuda(count);
            const Tensor memory = binding::workspace(bytes, boxes);
            binding::check(nms_cuda(binding::read<T>(rows), binding::read<T>(values), count, static_cast<T>(threshold),
                                    static_cast<T>(offset), kept.indices_out(), kept.count_out(), memory.mutable_data_ptr(),
                                    bytes, binding::stream()),
                           "nms");
        }
#endif
    });
    return kept.result();
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("nms(Tensor boxes, Tensor scores, float iou_threshold, int offset) -> Tensor");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) { m.impl("nms", nms); }
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) { m.impl("nms", nms); }
#endif

}  // namespace
}  // namespace perception
