#include "points_in_boxes.h"

#include "box_binding.h"

namespace perception {
namespace {

using at::Tensor;

void check_input(const Tensor& points, const Tensor& boxes) {
    TORCH_CHECK_VALUE(points.dim() == 2 && points.size(1) == 3, "points_in_boxes: points must be [P,3], got ",
                      points.sizes());
    TORCH_CHECK_VALUE(boxes.dim() == 2 && boxes.size(1) == 7,
                      "points_in_boxes: boxes must be [K,7] x y z (gravity centre) l w h yaw, got ", boxes.sizes());
    TORCH_CHECK_VALUE(points.scalar_type() == boxes.scalar_type() && points.device() == boxes.device(),
                      "points_in_boxes: points and boxes must be of one type and on one device");
}

Tensor points_in_boxes(const Tensor& points, const Tensor& boxes) {
    check_input(points, boxes);
    const c10::DeviceGuard guard(points.device());
    const Tensor p = points.contiguous(), k = boxes.contiguous();
    const Tensor first = at::empty({p.size(0)}, p.options().dtype(at::kLong));
    const std::size_t bytes = points_in_boxes_workspace_bytes(k.size(0), k.element_size());
    const Tensor memory = binding::workspace(bytes, k);
    with_box_type(points.scalar_type(), "points_in_boxes", [&](auto zero) {
        using T = decltype(zero);
        if (p.is_cpu()) {
            binding::check(points_in_boxes_cpu(binding::read<T>(p), p.size(0), binding::read<T>(k), k.size(0),
                                               binding::write<int64_t>(first), memory.mutable_data_ptr(), bytes,
                                               binding::threads()),
                           "points_in_boxes");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (p.is_cuda()) {
            binding::check(points_in_boxes_cuda(binding::read<T>(p), p.size(0), binding::read<T>(k), k.size(0),
                                                binding::write<int64_t>(first), memory.mutable_data_ptr(), bytes,
                                                binding::stream()),
                           "points_in_boxes");
        }
#endif
    });
    return first;
}

Tensor points_in_boxes_all(const Tensor& points, const Tensor& boxes) {
    check_input(points, boxes);
    const c10::DeviceGuard guard(points.device());
    const Tensor p = points.contiguous(), k = boxes.contiguous();
    const Tensor inside = at::empty({p.size(0), k.size(0)}, p.options().dtype(at::kBool));
    const std::size_t bytes = points_in_boxes_workspace_bytes(k.size(0), k.element_size());
    const Tensor memory = binding::workspace(bytes, k);
    with_box_type(points.scalar_type(), "points_in_boxes_all", [&](auto zero) {
        using T = decltype(zero);
        if (p.is_cpu()) {
            binding::check(points_in_boxes_all_cpu(binding::read<T>(p), p.size(0), binding::read<T>(k), k.size(0),
                                                   binding::write<bool>(inside), memory.mutable_data_ptr(), bytes,
                                                   binding::threads()),
                           "points_in_boxes_all");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (p.is_cuda()) {
            binding::check(points_in_boxes_all_cuda(binding::read<T>(p), p.size(0), binding::read<T>(k), k.size(0),
                                                    binding::write<bool>(inside), memory.mutable_data_ptr(), bytes,
                                                    binding::stream()),
                           "points_in_boxes_all");
        }
#endif
    });
    return inside;
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("points_in_boxes(Tensor points, Tensor boxes) -> Tensor");
    m.def("points_in_boxes_all(Tensor points, Tensor boxes) -> Tensor");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) {
    m.impl("points_in_boxes", points_in_boxes);
    m.impl("points_in_boxes_all", points_in_boxes_all);
}
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) {
    m.impl("points_in_boxes", points_in_boxes);
    m.impl("points_in_boxes_all", points_in_boxes_all);
}
#endif

}  // namespace
}  // namespace perception
