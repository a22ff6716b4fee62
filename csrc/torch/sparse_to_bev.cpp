#include "sparse_to_bev.h"

#include <algorithm>

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

BevGrid make_grid(int64_t batch_size, at::IntArrayRef size) {
    TORCH_CHECK_VALUE(size.size() == 3, "sparse_to_bev: grid takes three numbers (Z, Y, X)");
    BevGrid grid{.batch_size = batch_size};
    std::copy(size.begin(), size.end(), grid.size);
    return grid;
}

void check_coords(const Tensor& coords, const Tensor& values) {
    TORCH_CHECK(coords.dim() == 2 && coords.size(1) == 4 && coords.scalar_type() == at::kInt &&
                    coords.device() == values.device(),
                "sparse_to_bev: coords must be [V,4] int32 on the device of the values");
}

// Calls work(T{}) with the unsigned integer as wide as an element.
template <typename Work>
void with_width(const Tensor& values, const Work& work) {
    switch (values.element_size()) {
        case 2: return work(std::uint16_t{});
        case 4: return work(std::uint32_t{});
        case 8: return work(std::uint64_t{});
        default: TORCH_CHECK_TYPE(false, "sparse_to_bev: elements of 2, 4 or 8 bytes are needed, got ", values.scalar_type());
    }
}

Tensor sparse_to_bev(const Tensor& features, const Tensor& coords, int64_t batch_size, at::IntArrayRef grid_size) {
    TORCH_CHECK(features.dim() == 2 && features.size(0) == coords.size(0), "sparse_to_bev: features must be [V,C]");
    check_coords(coords, features);
    const BevGrid grid = make_grid(batch_size, grid_size);
    const c10::DeviceGuard guard(features.device());
    const Tensor values = features.contiguous(), cells = coords.contiguous();
    const int64_t tokens = values.size(0), channels = values.size(1);
    const Tensor bev = at::empty({batch_size, channels * grid.size[0], grid.size[1], grid.size[2]}, values.options());
    with_width(values, [&](auto zero) {
        using T = decltype(zero);
        if (values.is_cpu()) {
            const std::size_t bytes = sparse_to_bev_workspace_bytes_cpu<T>(tokens, channels);
            const Tensor memory = binding::workspace(bytes, values);
            int64_t outside = 0;
            binding::check(sparse_to_bev_cpu(binding::read<T>(values), binding::read<int32_t>(cells), tokens, channels, grid,
                                             binding::write<T>(bev), &outside, memory.mutable_data_ptr(), bytes,
                                             binding::threads()),
                           "sparse_to_bev");
            TORCH_CHECK_VALUE(outside == 0, "sparse_to_bev: ", outside, " of ", tokens, " coords lie outside the grid of ",
                              batch_size, " samples of ", grid_size, " cells (z, y, x)");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (values.is_cuda()) {
            const std::size_t bytes = sparse_to_bev_workspace_bytes_cuda(grid);
            const Tensor memory = binding::workspace(bytes, values);
            binding::check(sparse_to_bev_cuda(binding::read<T>(values), binding::read<int32_t>(cells), tokens, channels, grid,
                                              binding::write<T>(bev), memory.mutable_data_ptr(), bytes, binding::stream()),
                           "sparse_to_bev");
        }
#endif
    });
    return bev;
}

Tensor sparse_to_bev_backward(const Tensor& grad_bev, const Tensor& coords, at::IntArrayRef grid_size) {
    check_coords(coords, grad_bev);
    TORCH_CHECK(grad_bev.dim() == 4, "sparse_to_bev_backward: grad_bev must be [B,C*Z,Y,X]");
    const BevGrid grid = make_grid(grad_bev.size(0), grid_size);
    const c10::DeviceGuard guard(grad_bev.device());
    const Tensor grad = grad_bev.contiguous(), cells = coords.contiguous();
    const int64_t tokens = coords.size(0), channels = grad.size(1) / grid.size[0];
    const Tensor grad_features = at::empty({tokens, channels}, grad.options());
    with_width(grad, [&](auto zero) {
        using T = decltype(zero);
        if (grad.is_cpu()) {
            binding::check(sparse_to_bev_backward_cpu(binding::read<T>(grad), binding::read<int32_t>(cells), tokens, channels,
                                                      grid, binding::write<T>(grad_features), binding::threads()),
                           "sparse_to_bev_backward");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (grad.is_cuda()) {
            binding::check(sparse_to_bev_backward_cuda(binding::read<T>(grad), binding::read<int32_t>(cells), tokens, channels,
                                                       grid, binding::write<T>(grad_features), binding::stream()),
                           "sparse_to_bev_backward");
        }
#endif
    });
    return grad_features;
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("sparse_to_bev(Tensor features, Tensor coords, SymInt batch_size, int[] grid) -> Tensor");
    m.def("sparse_to_bev_backward(Tensor grad_bev, Tensor coords, int[] grid) -> Tensor");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) {
    m.impl("sparse_to_bev", sparse_to_bev);
    m.impl("sparse_to_bev_backward", sparse_to_bev_backward);
}
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) {
    m.impl("sparse_to_bev", sparse_to_bev);
    m.impl("sparse_to_bev_backward", sparse_to_bev_backward);
}
#endif

}  // namespace
}  // namespace perception
