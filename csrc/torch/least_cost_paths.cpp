#include "least_cost_paths.h"

#include <ATen/ops/empty.h>

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> least_cost_paths(const Tensor& costs, const Tensor& sources) {
    TORCH_CHECK_VALUE(costs.dim() == 4 && costs.size(1) == kPathEdges, "least_cost_paths: costs must be [B,4,H,W], got ",
                      costs.sizes());
    TORCH_CHECK_VALUE(costs.scalar_type() == at::kFloat || costs.scalar_type() == at::kDouble,
                      "least_cost_paths: costs must be float32 or float64, got ", costs.scalar_type());
    TORCH_CHECK_VALUE(sources.dim() == 2 && sources.size(1) == 3 && sources.scalar_type() == at::kLong,
                      "least_cost_paths: sources must be [S,3] int64, got ", sources.sizes(), " ", sources.scalar_type());
    TORCH_CHECK_VALUE(sources.device() == costs.device(), "least_cost_paths: costs are on ", costs.device(),
                      " and sources on ", sources.device());
    const c10::DeviceGuard guard(costs.device());
    const Tensor values = costs.contiguous(), rows = sources.contiguous();
    const int64_t images = costs.size(0), height = costs.size(2), width = costs.size(3);
    const Tensor distance = at::empty({images, height, width}, values.options().requires_grad(false));
    const Tensor nearest = at::empty({images, height, width}, rows.options().dtype(at::kInt));
    const auto work = [&](auto zero) {
        using T = decltype(zero);
        if (costs.is_cpu()) {
            const int threads = binding::threads();
            const std::size_t bytes = least_cost_paths_workspace_bytes_cpu(images, height, width, threads);
            const Tensor memory = binding::workspace(bytes, costs);
            binding::check(least_cost_paths_cpu(binding::read<T>(values), binding::read<int64_t>(rows), rows.size(0), images,
                                                height, width, binding::write<T>(distance), binding::write<int32_t>(nearest),
                                                memory.mutable_data_ptr(), bytes, threads),
                           "least_cost_paths");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (costs.is_cuda()) {
            const std::size_t bytes = least_cost_paths_workspace_bytes_cuda(images, height, width, sizeof(T));
            const Tensor memory = binding::workspace(bytes, costs);
            binding::check(least_cost_paths_cuda(binding::read<T>(values), binding::read<int64_t>(rows), rows.size(0), images,
                                                 height, width, binding::write<T>(distance),
                                                 binding::write<int32_t>(nearest), memory.mutable_data_ptr(), bytes,
                                                 binding::stream()),
                           "least_cost_paths");
        }
#endif
    };
    if (costs.scalar_type() == at::kFloat) {
        work(float{});
    } else {
        work(double{});
    }
    return {distance, nearest};
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("least_cost_paths(Tensor costs, Tensor sources) -> (Tensor distance, Tensor nearest)");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) { m.impl("least_cost_paths", least_cost_paths); }
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) { m.impl("least_cost_paths", least_cost_paths); }
#endif

}  // namespace
}  // namespace perception
