#include "bev_pool.h"

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

PoolShape shape_of(const Tensor& depth, int64_t cells) {
    const PoolShape shape{depth.size(0), depth.size(1), depth.size(2), depth.size(3), cells};
    TORCH_CHECK_VALUE(shape.fits(), "bev_pool: ", shape.points(), " frustum points and ", cells,
                      " cells are more than 32-bit indices reach");
    return shape;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> pool_index(const Tensor& cell, int64_t num_cells) {
    TORCH_CHECK_VALUE(cell.dim() == 4 && cell.scalar_type() == at::kLong, "pool_index: cell must be [M,D,H,W] int64, got ",
                      cell.sizes(), " ", cell.scalar_type());
    TORCH_CHECK_VALUE(num_cells >= 0, "pool_index: num_cells must not be negative, got ", num_cells);
    const c10::DeviceGuard guard(cell.device());
    const PoolShape shape = shape_of(cell, num_cells);
    const Tensor cells = cell.contiguous();
    const auto options = cell.options().dtype(at::kInt);
    const Tensor point = at::empty({shape.points()}, options), pixel = at::empty({shape.points()}, options);
    const Tensor offsets = at::empty({num_cells + 1}, options), own_cell = at::empty(cell.sizes(), options);
    const PoolIndexOutput output{binding::write<int32_t>(point), binding::write<int32_t>(pixel),
                                 binding::write<int32_t>(offsets), binding::write<int32_t>(own_cell)};
    if (cell.is_cpu()) {
        const std::size_t bytes = pool_index_workspace_bytes_cpu(shape, binding::threads());
        const Tensor memory = binding::workspace(bytes, cell);
        binding::check(pool_index_cpu(binding::read<int64_t>(cells), shape, output, memory.mutable_data_ptr(), bytes,
                                      binding::threads()),
                       "pool_index");
    }
#ifdef PERCEPTION_WITH_CUDA
    if (cell.is_cuda()) {
        const std::size_t bytes = pool_index_workspace_bytes_cuda(shape);
        const Tensor memory = binding::workspace(bytes, cell);
        binding::check(pool_index_cuda(binding::read<int64_t>(cells), shape, output, memory.mutable_data_ptr(), bytes,
                                       binding::stream()),
                       "pool_index");
    }
#endif
    return {point, pixel, offsets, own_cell};
}

void check_values(const Tensor& features, const Tensor& depth, const Tensor& cell) {
    TORCH_CHECK_VALUE(depth.dim() == 4 && features.dim() == 4 && depth.size(0) == features.size(0) &&
                          depth.size(2) == features.size(1) && depth.size(3) == features.size(2),
                      "bev_pool: features [M,H,W,C] and depth [M,D,H,W] disagree: ", features.sizes(), " and ",
                      depth.sizes());
    TORCH_CHECK_VALUE(features.scalar_type() == depth.scalar_type(), "bev_pool: features are ", features.scalar_type(),
                      " and depth is ", depth.scalar_type(), "; convert one of them");
    TORCH_CHECK_VALUE(cell.sizes() == depth.sizes(), "bev_pool: the index was made for ", cell.sizes(),
                      " frustum points, depth has ", depth.sizes());
    TORCH_CHECK_VALUE(features.device() == depth.device() && features.device() == cell.device(),
                      "bev_pool: features, depth and index must be on one device");
}

Tensor bev_pool(const Tensor& features, const Tensor& depth, const Tensor& point, const Tensor& pixel,
                const Tensor& offsets, const Tensor& cell) {
    check_values(features, depth, cell);
    const c10::DeviceGuard guard(features.device());
    const int64_t channels = features.size(3);
    const PoolShape shape = shape_of(depth, offsets.size(0) - 1);
    const Tensor f = features.contiguous(), d = depth.contiguous();
    const PoolIndex index{binding::read<int32_t>(point), binding::read<int32_t>(pixel), binding::read<int32_t>(offsets),
                          binding::read<int32_t>(cell)};
    const Tensor out = at::empty({shape.cells, channels}, f.options());
    binding::with_float_type(f.scalar_type(), "bev_pool", [&](auto zero) {
        using T = decltype(zero);
        if (f.is_cpu()) {
            const std::size_t bytes = bev_pool_workspace_bytes_cpu(shape, channels, sizeof(Accumulate<T>));
            const Tensor memory = binding::workspace(bytes, f);
            binding::check(bev_pool_cpu(binding::read<T>(f), binding::read<T>(d), index, shape, channels,
                                        binding::write<T>(out), memory.mutable_data_ptr(), bytes, binding::threads()),
                           "bev_pool");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (f.is_cuda()) {
            const std::size_t bytes = bev_pool_workspace_bytes_cuda(shape, channels, sizeof(Accumulate<T>));
            const Tensor memory = binding::workspace(bytes, f);
            binding::check(bev_pool_cuda(binding::read<T>(f), binding::read<T>(d), index, shape, channels,
                                         binding::write<T>(out), memory.mutable_data_ptr(), bytes, binding::stream()),
                           "bev_pool");
        }
#endif
    });
    return out;
}

std::tuple<Tensor, Tensor> bev_pool_backward(const Tensor& grad, const Tensor& features, const Tensor& depth,
                                             const Tensor& cell) {
    check_values(features, depth, cell);
    TORCH_CHECK_VALUE(grad.dim() == 2 && grad.size(1) == features.size(3) && grad.scalar_type() == features.scalar_type(),
                      "bev_pool_backward: grad must be [num_cells,C] like features, got ", grad.sizes());
    const c10::DeviceGuard guard(features.device());
    const int64_t channels = features.size(3);
    const PoolShape shape = shape_of(depth, grad.size(0));
    const Tensor g = grad.contiguous(), f = features.contiguous(), d = depth.contiguous();
    const Tensor grad_features = at::empty(f.sizes(), f.options()), grad_depth = at::empty(d.sizes(), d.options());
    binding::with_float_type(f.scalar_type(), "bev_pool_backward", [&](auto zero) {
        using T = decltype(zero);
        if (f.is_cpu()) {
            const std::size_t bytes =
                bev_pool_backward_workspace_bytes_cpu(channels, sizeof(Accumulate<T>), binding::threads());
            const Tensor memory = binding::workspace(bytes, f);
            binding::check(bev_pool_backward_cpu(binding::read<T>(g), binding::read<T>(f), binding::read<T>(d),
                                                 binding::read<int32_t>(cell), shape, channels,
                                                 binding::write<T>(grad_features), binding::write<T>(grad_depth),
                                                 memory.mutable_data_ptr(), bytes, binding::threads()),
                           "bev_pool_backward");
        }
#ifdef PERCEPTION_WITH_CUDA
        if (f.is_cuda()) {
            binding::check(bev_pool_backward_cuda(binding::read<T>(g), binding::read<T>(f), binding::read<T>(d),
                                                  binding::read<int32_t>(cell), shape, channels,
                                                  binding::write<T>(grad_features), binding::write<T>(grad_depth),
                                                  binding::stream()),
                           "bev_pool_backward");
        }
#endif
    });
    return {grad_features, grad_depth};
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("pool_index(Tensor cell, SymInt num_cells) -> (Tensor, Tensor, Tensor, Tensor)");
    m.def("bev_pool(Tensor features, Tensor depth, Tensor point, Tensor pixel, Tensor offsets, Tensor cell) -> Tensor");
    m.def("bev_pool_backward(Tensor grad, Tensor features, Tensor depth, Tensor cell) -> (Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) {
    m.impl("pool_index", pool_index);
    m.impl("bev_pool", bev_pool);
    m.impl("bev_pool_backward", bev_pool_backward);
}
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) {
    m.impl("pool_index", pool_index);
    m.impl("bev_pool", bev_pool);
    m.impl("bev_pool_backward", bev_pool_backward);
}
#endif

}  // namespace
}  // namespace perception
