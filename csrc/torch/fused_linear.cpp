#include "fused_linear.h"

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

const float* values_of(const std::optional<Tensor>& tensor) {
    return tensor.has_value() ? binding::read<float>(*tensor) : nullptr;
}

Tensor fused_linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, bool gelu,
                    const std::optional<Tensor>& residual, const std::optional<Tensor>& norm_weight,
                    const std::optional<Tensor>& norm_bias, double norm_eps) {
    TORCH_CHECK_VALUE(x.dim() == 2 && weight.dim() == 2 && weight.size(1) == x.size(1),
                      "fused_linear: x must be [R,I] and weight [O,I], got ", x.sizes(), " and ", weight.sizes());
    const LinearShape shape{x.size(0), x.size(1), weight.size(0)};
    const auto checked = [&](const std::optional<Tensor>& tensor, at::IntArrayRef sizes, const char* name) {
        if (!tensor.has_value()) return std::optional<Tensor>();
        TORCH_CHECK_VALUE(tensor->sizes() == sizes && tensor->scalar_type() == at::kFloat && tensor->is_cpu(),
                          "fused_linear: ", name, " must be ", sizes, " float32, got ", tensor->sizes(), " ",
                          tensor->scalar_type());
        return std::optional<Tensor>(tensor->contiguous());
    };
    TORCH_CHECK_VALUE(norm_weight.has_value() == norm_bias.has_value(),
                      "fused_linear: norm_weight and norm_bias come together");
    const Tensor w = *checked(weight, {shape.outputs, shape.inputs}, "weight");
    const auto b = checked(bias, {shape.outputs}, "bias");
    const auto added = checked(residual, {shape.rows, shape.outputs}, "residual");
    const auto scale = checked(norm_weight, {shape.outputs}, "norm_weight");
    const auto shift = checked(norm_bias, {shape.outputs}, "norm_bias");
    const Tensor rows = shape.inputs <= 1 || x.stride(1) == 1 ? x : x.contiguous();
    TORCH_CHECK_VALUE(rows.scalar_type() == at::kFloat, "fused_linear: x must be float32, got ", rows.scalar_type());
    const Tensor out = at::empty({shape.rows, shape.outputs}, x.options());
    const std::size_t bytes = fused_linear_workspace_bytes_cpu(shape);
    const Tensor memory = binding::workspace(bytes, x);
    const LinearSteps steps{values_of(b),     gelu,           values_of(added),
                            values_of(scale), values_of(shift), static_cast<float>(norm_eps)};
    binding::check(fused_linear_cpu(binding::read<float>(rows), rows.stride(0), binding::read<float>(w), shape, steps,
                                    binding::write<float>(out), memory.mutable_data_ptr(), bytes, binding::threads()),
                   "fused_linear");
    return out;
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("fused_linear(Tensor x, Tensor weight, Tensor? bias, bool gelu, Tensor? residual, Tensor? norm_weight, "
          "Tensor? norm_bias, float norm_eps) -> Tensor");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) { m.impl("fused_linear", fused_linear); }

}  // namespace
}  // namespace perception
