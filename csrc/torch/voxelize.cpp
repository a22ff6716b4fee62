#include "voxelize.h"

#include <algorithm>

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

VoxelGrid make_grid(int64_t batch_size, at::ArrayRef<double> range_min, at::ArrayRef<double> cell, at::IntArrayRef size) {
    TORCH_CHECK_VALUE(range_min.size() == 3 && cell.size() == 3 && size.size() == 3,
                      "voxelize: range_min, cell and grid take three numbers each");
    VoxelGrid grid{.batch_size = batch_size};
    for (int axis = 0; axis < 3; ++axis) {
        grid.min[axis] = static_cast<float>(range_min[axis]);
        grid.cell[axis] = static_cast<float>(cell[axis]);
        grid.size[axis] = size[2 - axis];
    }
    return grid;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> voxelize(const Tensor& points, const Tensor& point_batch, int64_t batch_size,
                                                    at::ArrayRef<double> range_min, at::ArrayRef<double> cell,
                                                    at::IntArrayRef grid_size) {
    TORCH_CHECK(points.dim() == 2 && points.size(1) == 3 && points.scalar_type() == at::kFloat,
                "voxelize: points must be [P,3] float32");
    TORCH_CHECK(point_batch.dim() == 1 && point_batch.size(0) == points.size(0) && point_batch.scalar_type() == at::kLong &&
                    point_batch.device() == points.device(),
                "voxelize: point_batch must be [P] int64 on the device of points");
    const VoxelGrid grid = make_grid(batch_size, range_min, cell, grid_size);
    const c10::DeviceGuard guard(points.device());
    const Tensor rows = points.stride(1) == 1 ? points : points.contiguous();
    const Tensor batch = point_batch.contiguous();
    const int64_t count = points.size(0), capacity = std::min(count, grid.cells());
    const auto long_options = points.options().dtype(at::kLong);
    const Tensor coords = at::empty({capacity, 4}, points.options().dtype(at::kInt));
    const Tensor point_voxel = at::empty({count}, long_options), order = at::empty({count}, long_options);
    const Tensor offsets = at::empty({capacity + 1}, long_options);
    const Tensor counts = at::empty({VoxelCount::kinds}, long_options);
    const VoxelOutput output{binding::write<int32_t>(coords), binding::write<int64_t>(point_voxel),
                             binding::write<int64_t>(order),  binding::write<int64_t>(offsets),
                             binding::write<int64_t>(counts), capacity};
    if (points.is_cpu()) {
        const std::size_t bytes = voxelize_workspace_bytes_cpu(count, grid, binding::threads());
        const Tensor memory = binding::workspace(bytes, points);
        binding::check(voxelize_cpu(binding::read<float>(rows), rows.stride(0), binding::read<int64_t>(batch), count, grid,
                                    output, memory.mutable_data_ptr(), bytes, binding::threads()),
                       "voxelize");
    }
#ifdef PERCEPTION_WITH_CUDA
    if (points.is_cuda()) {
        const std::size_t bytes = voxelize_workspace_bytes_cuda(count, grid);
        const Tensor memory = binding::workspace(bytes, points);
        binding::check(voxelize_cuda(binding::read<float>(rows), rows.stride(0), binding::read<int64_t>(batch), count, grid,
                                     output, memory.mutable_data_ptr(), bytes, binding::stream()),
                       "voxelize");
    }
#endif
    const Tensor known = counts.cpu();
    const int64_t* found = binding::read<int64_t>(known);
    TORCH_CHECK_VALUE(found[VoxelCount::not_finite] == 0, "voxelize: ", found[VoxelCount::not_finite], " of ", count,
                      " points have a NaN or infinite coordinate; remove them first");
    TORCH_CHECK_VALUE(found[VoxelCount::outside_batch] == 0, "voxelize: ", found[VoxelCount::outside_batch], " of ", count,
                      " batch indices are not in 0..", batch_size - 1);
    const int64_t voxels = found[VoxelCount::voxels];
    return {coords.narrow(0, 0, voxels), point_voxel, order, offsets.narrow(0, 0, voxels + 1)};
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("voxelize(Tensor points, Tensor point_batch, SymInt batch_size, float[] range_min, float[] cell, int[] grid) -> "
          "(Tensor coords, Tensor point_voxel, Tensor order, Tensor offsets)");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) { m.impl("voxelize", voxelize); }
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) { m.impl("voxelize", voxelize); }
#endif

}  // namespace
}  // namespace perception
