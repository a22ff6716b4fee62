#include "window_partition.h"

#include <algorithm>

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

struct PartitionTensors {
    Tensor order, offsets, position;

    PartitionTensors(int64_t capacity, const Tensor& coords)
        : order(at::empty({coords.size(0)}, coords.options().dtype(at::kLong))),
          offsets(at::empty({capacity + 1}, coords.options().dtype(at::kLong))),
          position(at::empty({coords.size(0), 3}, coords.options())) {}

    Partition pointers() const {
        return {binding::write<int64_t>(order), binding::write<int64_t>(offsets), binding::write<int32_t>(position),
                offsets.size(0) - 1};
    }
};

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> window_partition(const Tensor& coords, int64_t batch_size,
                                                                            at::IntArrayRef size, at::IntArrayRef window) {
    TORCH_CHECK(coords.dim() == 2 && coords.size(1) == 4 && coords.scalar_type() == at::kInt,
                "window_partition: coords must be [V,4] int32");
    TORCH_CHECK_VALUE(size.size() == 3 && window.size() == 3, "window_partition: grid and window take three numbers each");
    WindowGrid grid{.batch_size = batch_size};
    std::copy(size.begin(), size.end(), grid.size);
    std::copy(window.begin(), window.end(), grid.window);
    const c10::DeviceGuard guard(coords.device());
    const Tensor rows = coords.contiguous();
    const int64_t tokens = coords.size(0);
    const PartitionTensors unshifted(std::min(tokens, grid.windows(false)), rows);
    const PartitionTensors shifted(std::min(tokens, grid.windows(true)), rows);
    if (coords.is_cpu()) {
        const std::size_t bytes = window_partition_workspace_bytes_cpu(tokens, binding::threads());
        const Tensor memory = binding::workspace(bytes, rows);
        int64_t outside = 0;
        binding::check(window_partition_cpu(binding::read<int32_t>(rows), tokens, grid, unshifted.pointers(),
                                            shifted.pointers(), &outside, memory.mutable_data_ptr(), bytes,
                                            binding::threads()),
                       "window_partition");
        TORCH_CHECK_VALUE(outside == 0, "window_partition: ", outside, " of ", tokens, " coords lie outside the grid of ",
                          batch_size, " samples of ", size, " cells (z, y, x)");
    }
#ifdef PERCEPTION_WITH_CUDA
    if (coords.is_cuda()) {
        const std::size_t bytes = window_partition_workspace_bytes_cuda(tokens, grid);
        const Tensor memory = binding::workspace(bytes, rows);
        binding::check(window_partition_cuda(binding::read<int32_t>(rows), tokens, grid, unshifted.pointers(),
                                             shifted.pointers(), memory.mutable_data_ptr(), bytes, binding::stream()),
                       "window_partition");
    }
#endif
    return {unshifted.order, unshifted.offsets, unshifted.position, shifted.order, shifted.offsets, shifted.position};
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("window_partition(Tensor coords, SymInt batch_size, int[] grid, int[] window) -> (Tensor order, Tensor offsets, "
          "Tensor position, Tensor shifted_order, Tensor shifted_offsets, Tensor shifted_position)");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) { m.impl("window_partition", window_partition); }
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) { m.impl("window_partition", window_partition); }
#endif

}  // namespace
}  // namespace perception
