#include "box_iou_bev.h"

#include "box_binding.h"

namespace perception {
namespace {

using at::Tensor;

void check_boxes(const Tensor& boxes, const char* name) {
    TORCH_CHECK_VALUE(boxes.dim() == 2 && boxes.size(1) == 5, "box_iou_bev: ", name, " must be [K,5] x y l w yaw, got ",
                      boxes.sizes());
}

Tensor box_iou_bev(const Tensor& a, const Tensor& b, bool area) {
    check_boxes(a, "a");
    check_boxes(b, "b");
    TORCH_CHECK_VALUE(a.scalar_type() == b.scalar_type() && a.device() == b.device(),
                      "box_iou_bev: a and b must be of one type and on one device");
    const c10::DeviceGuard guard(a.device());
    const Tensor rows_a = a.contiguous(), rows_b = b.contiguous();
    const Tensor out = at::empty({a.size(0), b.size(0)}, rows_a.options());
    const BevOverlap kind = area ? BevOverlap::area : BevOverlap::iou;
    const std::size_t bytes = box_iou_bev_workspace_bytes(a.size(0), b.size(0), a.element_size());
    const Tensor memory = binding::workspace(bytes, a);
    with_box_type(a.scalar_type(), "box_iou_bev", [&](auto zero) {
        using T = decltype(zero);
        if (a.is_cpu()) {
            binding::check(box_iou_bev_cpu(binding::read<T>(rows_a), a.size(0), binding::read<T>(rows_b), b.size(0), kind,
                                           binding::write<T>(out), memory.mutable_data_ptr(), bytes, binding::threads()),
                           "box_iou_bev");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (a.is_cuda()) {
            binding::check(box_iou_bev_cuda(binding::read<T>(rows_a), a.size(0), binding::read<T>(rows_b), b.size(0), kind,
                                            binding::write<T>(out), memory.mutable_data_ptr(), bytes, binding::stream()),
                           "box_iou_bev");
        }
#endif
    });
    return out;
}

TORCH_LIBRARY_FRAGMENT(perception, m) { m.def("box_iou_bev(Tensor a, Tensor b, bool area) -> Tensor"); }
TORCH_LIBRARY_IMPL(perception, CPU, m) { m.impl("box_iou_bev", box_iou_bev); }
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) { m.impl("box_iou_bev", box_iou_bev); }
#endif

}  // namespace
}  // namespace perception
