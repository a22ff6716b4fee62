#include "segment_reduce.h"

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

Reduction parse(c10::string_view reduce) {
    if (reduce == "sum") return Reduction::sum;
    if (reduce == "mean") return Reduction::mean;
    TORCH_CHECK_VALUE(reduce == "max", "segment_reduce: reduce must be sum, mean or max, got ", reduce);
    return Reduction::max;
}

Segments make_segments(const Tensor& order, const Tensor& offsets) {
    return {binding::read<int64_t>(order), binding::read<int64_t>(offsets), offsets.size(0) - 1, order.size(0)};
}

void check_groups(const Tensor& values, const Tensor& order, const Tensor& offsets) {
    TORCH_CHECK(order.dim() == 1 && order.scalar_type() == at::kLong && order.device() == values.device(),
                "segment_reduce: order must be [P] int64 on the device of values");
    TORCH_CHECK(offsets.dim() == 1 && offsets.size(0) >= 1 && offsets.scalar_type() == at::kLong &&
                    offsets.device() == values.device(),
                "segment_reduce: offsets must be [V+1] int64 on the device of values");
}

Tensor segment_reduce(const Tensor& values, const Tensor& order, const Tensor& offsets, c10::string_view reduce) {
    TORCH_CHECK(values.dim() == 2 && values.size(0) == order.size(0), "segment_reduce: values must be [P,C], order [P]");
    check_groups(values, order, offsets);
    const Reduction reduction = parse(reduce);
    const c10::DeviceGuard guard(values.device());
    const Tensor v = values.contiguous(), by = order.contiguous(), at_rows = offsets.contiguous();
    const Segments segments = make_segments(by, at_rows);
    const Tensor out = at::empty({segments.count, v.size(1)}, v.options());
    binding::with_float_type(v.scalar_type(), "segment_reduce", [&](auto zero) {
        using T = decltype(zero);
        if (v.is_cpu()) {
            binding::check(segment_reduce_cpu(binding::read<T>(v), v.size(1), segments, reduction, binding::write<T>(out),
                                              binding::threads()),
                           "segment_reduce");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (v.is_cuda()) {
            binding::check(segment_reduce_cuda(binding::read<T>(v), v.size(1), segments, reduction, binding::write<T>(out),
                                               binding::stream()),
                           "segment_reduce");
        }
#endif
    });
    return out;
}

Tensor segment_reduce_backward(const Tensor& grad, const Tensor& order, const Tensor& offsets, c10::string_view reduce,
                               const std::optional<Tensor>& values, const std::optional<Tensor>& out) {
    check_groups(grad, order, offsets);
    const Reduction reduction = parse(reduce);
    TORCH_CHECK(reduction != Reduction::max || (values.has_value() && out.has_value()),
                "segment_reduce_backward: the gradient of a maximum needs values and out");
    TORCH_CHECK(grad.dim() == 2 && grad.size(0) == offsets.size(0) - 1, "segment_reduce_backward: grad must be [V,C]");
    const c10::DeviceGuard guard(grad.device());
    const Tensor g = grad.contiguous(), by = order.contiguous(), at_rows = offsets.contiguous();
    const Tensor v = values.has_value() ? values->contiguous() : g, best = out.has_value() ? out->contiguous() : g;
    const Segments segments = make_segments(by, at_rows);
    const Tensor grad_values = at::empty({segments.rows, g.size(1)}, g.options());
    binding::with_float_type(g.scalar_type(), "segment_reduce_backward", [&](auto zero) {
        using T = decltype(zero);
        if (g.is_cpu()) {
            binding::check(segment_reduce_backward_cpu(binding::read<T>(g), binding::read<T>(v), binding::read<T>(best),
                                                       g.size(1), segments, reduction, binding::write<T>(grad_values),
                                                       binding::threads()),
                           "segment_reduce_backward");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (g.is_cuda()) {
            binding::check(segment_reduce_backward_cuda(binding::read<T>(g), binding::read<T>(v), binding::read<T>(best),
                                                        g.size(1), segments, reduction, binding::write<T>(grad_values),
                                                        binding::stream()),
                           "segment_reduce_backward");
        }
#endif
    });
    return grad_values;
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("segment_reduce(Tensor values, Tensor order, Tensor offsets, str reduce) -> Tensor");
    m.def("segment_reduce_backward(Tensor grad, Tensor order, Tensor offsets, str reduce, Tensor? values, Tensor? out) -> "
          "Tensor");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) {
    m.impl("segment_reduce", segment_reduce);
    m.impl("segment_reduce_backward", segment_reduce_backward);
}
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) {
    m.impl("segment_reduce", segment_reduce);
    m.impl("segment_reduce_backward", segment_reduce_backward);
}
#endif

}  // namespace
}  // namespace perception
