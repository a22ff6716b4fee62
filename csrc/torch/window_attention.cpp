#include "window_attention.h"

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

// [T,heads,D] with the heads and channels of a token beside each other; tokens may be any distance apart.
Tensor token_rows(const Tensor& tensor) {
    const bool packed = (tensor.size(2) <= 1 || tensor.stride(2) == 1) &&
                        (tensor.size(1) <= 1 || tensor.stride(1) == tensor.size(2));
    return packed ? tensor : tensor.contiguous();
}

at::ScalarType precise(const Tensor& q) { return q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

// The arguments that both passes share, checked and laid out as the kernels read them.
struct Inputs {
    Tensor q, k, v, order, offsets, temperature;
    AttentionShape shape;
    double scale;

    Inputs(const Tensor& q_, const Tensor& k_, const Tensor& v_, const Tensor& order_, const Tensor& offsets_, double scale_,
           const std::optional<Tensor>& temperature_)
        : scale(scale_) {
        TORCH_CHECK_VALUE(q_.dim() == 3 && k_.sizes() == q_.sizes() && v_.sizes() == q_.sizes(),
                          "window_attention: q, k and v must be [T,heads,D], got ", q_.sizes(), ", ", k_.sizes(), ", ",
                          v_.sizes());
        TORCH_CHECK_VALUE(k_.scalar_type() == q_.scalar_type() && v_.scalar_type() == q_.scalar_type(),
                          "window_attention: q, k and v must be of one type, got ", q_.scalar_type(), ", ",
                          k_.scalar_type(), ", ", v_.scalar_type());
        TORCH_CHECK_VALUE(order_.dim() == 1 && order_.size(0) == q_.size(0) && order_.scalar_type() == at::kLong,
                          "window_attention: order must be [T] int64, got ", order_.sizes(), " ", order_.scalar_type());
        TORCH_CHECK_VALUE(offsets_.dim() == 1 && offsets_.size(0) >= 1 && offsets_.scalar_type() == at::kLong,
                          "window_attention: offsets must be [W+1] int64, got ", offsets_.sizes(), " ",
                          offsets_.scalar_type());
        TORCH_CHECK_VALUE(!temperature_.has_value() || (temperature_->dim() == 1 && temperature_->size(0) == q_.size(1) &&
                                                        temperature_->scalar_type() == precise(q_)),
                          "window_attention: temperature must be [heads] ", precise(q_));
        for (const Tensor& other : {k_, v_, order_, offsets_, temperature_.value_or(q_)}) {
            TORCH_CHECK_VALUE(other.device() == q_.device(), "window_attention: tensors are on ", q_.device(), " and ",
                              other.device());
        }
        q = token_rows(q_), k = token_rows(k_), v = token_rows(v_);
        order = order_.contiguous(), offsets = offsets_.contiguous();
        if (temperature_.has_value()) temperature = temperature_->contiguous();
        shape = {q.size(0), offsets.size(0) - 1, q.size(1), q.size(2)};
    }

    template <typename T>
    AttentionInput<T> input() const {
        using A = Accumulate<T>;
        return {binding::read<T>(q), binding::read<T>(k),     binding::read<T>(v),
                q.stride(0),         k.stride(0),             v.stride(0),
                static_cast<A>(scale), temperature.defined() ? binding::read<A>(temperature) : nullptr};
    }
    AttentionWindows windows() const { return {binding::read<int64_t>(order), binding::read<int64_t>(offsets)}; }
};

void check_windows_status(Status status) {
    TORCH_CHECK_VALUE(status != Status::bad_argument,
                      "window_attention: order must hold each of 0..T-1 once, and offsets ascend from 0 to at most T");
    binding::check(status, "window_attention");
}

std::tuple<Tensor, Tensor> window_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& order,
                                            const Tensor& offsets, double scale, const std::optional<Tensor>& temperature) {
    const Inputs in(q, k, v, order, offsets, scale, temperature);
    const c10::DeviceGuard guard(q.device());
    const Tensor out = at::empty(q.sizes(), q.options());
    const Tensor log_sum = at::empty({in.shape.tokens, in.shape.heads}, q.options().dtype(precise(q)));
    binding::with_float_type(q.scalar_type(), "window_attention", [&](auto zero) {
        using T = decltype(zero);
        using A = Accumulate<T>;
        if (q.is_cpu()) {
            const std::size_t bytes = window_attention_workspace_bytes_cpu<T>(in.shape, binding::threads());
            const Tensor memory = binding::workspace(bytes, q);
            check_windows_status(window_attention_cpu(in.input<T>(), in.windows(), in.shape, binding::write<T>(out),
                                                      binding::write<A>(log_sum), memory.mutable_data_ptr(), bytes,
                                                      binding::threads()));
        }
#ifdef PERCEPTION_WITH_CUDA
        if (q.is_cuda()) {
            check_windows_status(window_attention_cuda(in.input<T>(), in.windows(), in.shape, binding::write<T>(out),
                                                       binding::write<A>(log_sum), binding::stream()));
        }
#endif
    });
    return {out, log_sum};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> window_attention_backward(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& log_sum,
    const Tensor& order, const Tensor& offsets, double scale, const std::optional<Tensor>& temperature) {
    const Inputs in(q, k, v, order, offsets, scale, temperature);
    for (const Tensor& like : {grad_out, out}) {
        TORCH_CHECK_VALUE(like.sizes() == q.sizes() && like.scalar_type() == q.scalar_type() && like.device() == q.device(),
                          "window_attention_backward: grad_out and out must be like q");
    }
    TORCH_CHECK_VALUE(log_sum.sizes() == q.sizes().slice(0, 2) && log_sum.scalar_type() == precise(q) &&
                          log_sum.device() == q.device(),
                      "window_attention_backward: log_sum must be [T,heads] ", precise(q));
    const c10::DeviceGuard guard(q.device());
    const Tensor grad = grad_out.contiguous(), result = out.contiguous(), sums = log_sum.contiguous();
    const Tensor grad_q = at::empty(q.sizes(), q.options()), grad_k = at::empty(q.sizes(), q.options()),
                 grad_v = at::empty(q.sizes(), q.options());
    const Tensor grad_temperature =
        at::empty({temperature.has_value() ? in.shape.heads : 0}, q.options().dtype(precise(q)));
    binding::with_float_type(q.scalar_type(), "window_attention_backward", [&](auto zero) {
        using T = decltype(zero);
        using A = Accumulate<T>;
        const AttentionGradient<T> gradient{binding::write<T>(grad_q), binding::write<T>(grad_k), binding::write<T>(grad_v),
                                            temperature.has_value() ? binding::write<A>(grad_temperature) : nullptr};
        if (q.is_cpu()) {
            const std::size_t bytes = window_attention_workspace_bytes_cpu<T>(in.shape, binding::threads());
            const Tensor memory = binding::workspace(bytes, q);
            check_windows_status(window_attention_backward_cpu(in.input<T>(), in.windows(), in.shape, binding::read<T>(grad),
                                                               binding::read<T>(result), binding::read<A>(sums), gradient,
                                                               memory.mutable_data_ptr(), bytes, binding::threads()));
        }
#ifdef PERCEPTION_WITH_CUDA
        if (q.is_cuda()) {
            check_windows_status(window_attention_backward_cuda(in.input<T>(), in.windows(), in.shape, binding::read<T>(grad),
                                                                binding::read<T>(result), binding::read<A>(sums), gradient,
                                                                binding::stream()));
        }
#endif
    });
    return {grad_q, grad_k, grad_v, grad_temperature};
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("window_attention(Tensor q, Tensor k, Tensor v, Tensor order, Tensor offsets, float scale, "
          "Tensor? temperature) -> (Tensor out, Tensor log_sum)");
    m.def("window_attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor log_sum, "
          "Tensor order, Tensor offsets, float scale, Tensor? temperature) -> "
          "(Tensor grad_q, Tensor grad_k, Tensor grad_v, Tensor grad_temperature)");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) {
    m.impl("window_attention", window_attention);
    m.impl("window_attention_backward", window_attention_backward);
}
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) {
    m.impl("window_attention", window_attention);
    m.impl("window_attention_backward", window_attention_backward);
}
#endif

}  // namespace
}  // namespace perception
