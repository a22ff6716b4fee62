// Compiled without fused multiply-adds (csrc/CMakeLists.txt): each operation is rounded on its own, as in Python.
#include "onnx_inputs.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "voxelize.h"
#include "window_partition.h"

namespace perception {
namespace {

constexpr std::int64_t kMostCells = std::int64_t{1} << 20;    // along an axis; float32 counts them, their product fits
constexpr std::int64_t kMostPoints = std::int64_t{1} << 31;
constexpr std::int64_t kMostCameras = 1 << 10, kMostBins = 1 << 14, kMostPixels = 1 << 16;
constexpr std::int32_t kMostThreads = 1 << 10;
constexpr std::int32_t kNoVoxel[4] = {0, -1, 0, 0};  // b z y x
constexpr float kLastRow[4] = {0, 0, 0, 1};          // of an affine matrix

bool between(std::int64_t value, std::int64_t least, std::int64_t most) { return value >= least && value <= most; }

bool can_be_sizes(const std::int64_t* sizes, std::int64_t most) {
    return std::all_of(sizes, sizes + 3, [=](std::int64_t size) { return between(size, 1, most); });
}

// ---------------------------------------------------------------------------------------------------------------------
// Voxels

std::optional<VoxelGrid> voxel_grid(const perception_onnx_grid* grid) {
    if (grid == nullptr || !can_be_sizes(grid->shape_zyx, kMostCells)) return std::nullopt;
    VoxelGrid result{};
    result.batch_size = 1;
    for (int axis = 0; axis < 3; ++axis) {
        result.min[axis] = static_cast<float>(grid->min_m[axis]);
        result.cell[axis] = static_cast<float>(grid->cell_m[axis]);
        result.size[axis] = grid->shape_zyx[2 - axis];
        if (!is_finite(result.min[axis]) || !is_finite(result.cell[axis]) || !(result.cell[axis] > 0)) return std::nullopt;
    }
    return result;
}

struct VoxelScratch {
    std::int64_t* batch;    // [points] zeros
    std::int64_t* order;    // [points]
    std::int64_t* offsets;  // [capacity+1]
    std::int64_t* counts;   // [VoxelCount::kinds]
    void* kernel;
    std::size_t kernel_bytes;
};

VoxelScratch layout_voxels(Workspace& workspace, const VoxelGrid& grid, std::int64_t points, int threads) {
    const std::size_t bytes = voxelize_workspace_bytes_cpu(points, grid, threads);
    return {workspace.take<std::int64_t>(points),
            workspace.take<std::int64_t>(points),
            workspace.take<std::int64_t>(std::min(points, grid.cells()) + 1),
            workspace.take<std::int64_t>(VoxelCount::kinds),
            workspace.take<std::byte>(static_cast<std::int64_t>(bytes)),
            bytes};
}

std::int64_t voxel_bound(const VoxelGrid& grid, std::int64_t points) {
    return std::max<std::int64_t>(std::min(points, grid.cells()), 1);
}

// ---------------------------------------------------------------------------------------------------------------------
// Windows

struct Buckets {
    std::int64_t sizes[PERCEPTION_ONNX_MOST_BUCKETS];
    int count;

    // The smallest that holds so many voxels; `count` where none does.
    int of(std::int64_t voxels) const {
        return static_cast<int>(std::lower_bound(sizes, sizes + count, voxels) - sizes);
    }
    // Voxels that a window has to have for this bucket.
    std::int64_t least(int bucket) const { return bucket == 0 ? 1 : sizes[bucket - 1] + 1; }
};

// An eighth, a third and all of a window's cells, as perception/lidar/padded_windows.py has them.
Buckets buckets_of(const std::int64_t* window) {
    const std::int64_t cells = window[0] * window[1] * window[2];
    Buckets buckets{{ceil_div(cells, 8), ceil_div(cells, 3), cells}, 0};
    buckets.count = static_cast<int>(std::unique(buckets.sizes, buckets.sizes + 3) - buckets.sizes);
    return buckets;
}

std::optional<WindowGrid> window_grid(const perception_onnx_window_grid* grid) {
    constexpr std::int64_t most_window = 1 << 10;
    if (grid == nullptr || !can_be_sizes(grid->shape_zyx, kMostCells) || !can_be_sizes(grid->window_zyx, most_window)) {
        return std::nullopt;
    }
    WindowGrid result{};
    std::copy_n(grid->shape_zyx, 3, result.size);
    std::copy_n(grid->window_zyx, 3, result.window);
    result.batch_size = 1;
    return result;
}

std::int64_t window_bound(const WindowGrid& grid, const Buckets& buckets, std::int64_t voxels, int bucket) {
    const std::int64_t windows = std::max(grid.windows(false), grid.windows(true));
    return std::max<std::int64_t>(std::min(voxels / buckets.least(bucket), windows), 1);
}

struct WindowScratch {
    Partition partitions[2];
    std::int64_t* outside;  // [1]
    void* kernel;
    std::size_t kernel_bytes;
};

WindowScratch layout_windows(Workspace& workspace, const WindowGrid& grid, std::int64_t voxels, int threads) {
    WindowScratch scratch{};
    for (const bool shifted : {false, true}) {
        const std::int64_t capacity = std::min(voxels, grid.windows(shifted));
        scratch.partitions[shifted] = {workspace.take<std::int64_t>(voxels), workspace.take<std::int64_t>(capacity + 1),
                                       workspace.take<std::int32_t>(3 * voxels), capacity};
    }
    scratch.outside = workspace.take<std::int64_t>(1);
    scratch.kernel_bytes = window_partition_workspace_bytes_cpu(voxels, threads);
    scratch.kernel = workspace.take<std::byte>(static_cast<std::int64_t>(scratch.kernel_bytes));
    return scratch;
}

// Whether arrays are there and have room for any partition of so many voxels.
perception_onnx_status check_room(const WindowGrid& grid, const Buckets& buckets, std::int64_t voxels,
                                  const perception_onnx_windows& windows) {
    if (windows.slot == nullptr) return PERCEPTION_ONNX_ERROR_ARGUMENT;
    bool room = windows.slot_capacity >= voxels;
    for (int i = 0; i < buckets.count; ++i) {
        if (windows.tokens[i] == nullptr) return PERCEPTION_ONNX_ERROR_ARGUMENT;
        room = room && windows.capacity[i] >= window_bound(grid, buckets, voxels, i);
    }
    return room ? PERCEPTION_ONNX_OK : PERCEPTION_ONNX_ERROR_CAPACITY;
}

// Windows to the smallest buckets that hold them, in the grid's order. False where a window holds more voxels than cells.
bool pad_windows(const Partition& partition, const Buckets& buckets, perception_onnx_windows& to) {
    const auto held = [&](std::int64_t window) { return partition.offsets[window + 1] - partition.offsets[window]; };
    std::int64_t found[PERCEPTION_ONNX_MOST_BUCKETS + 1] = {};
    for (std::int64_t w = 0; w < partition.capacity; ++w) {
        if (held(w) > 0) ++found[buckets.of(held(w))];
    }
    if (found[buckets.count] > 0) return false;

    std::int64_t next[PERCEPTION_ONNX_MOST_BUCKETS], start = 0;  // flat places in the buckets laid one after the other
    std::int64_t* rows[PERCEPTION_ONNX_MOST_BUCKETS];
    for (int i = 0; i < buckets.count; ++i) {
        to.count[i] = std::max<std::int64_t>(found[i], 1);
        std::fill_n(to.tokens[i], to.count[i] * buckets.sizes[i], -1);
        rows[i] = to.tokens[i];
        next[i] = start;
        start += to.count[i] * buckets.sizes[i];
    }
    for (std::int64_t w = 0; w < partition.capacity; ++w) {
        if (held(w) == 0) continue;
        const int bucket = buckets.of(held(w));
        const std::int64_t* const tokens = partition.order + partition.offsets[w];
        for (std::int64_t place = 0; place < held(w); ++place) {
            rows[bucket][place] = tokens[place];
            to.slot[tokens[place]] = next[bucket] + place;
        }
        rows[bucket] += buckets.sizes[bucket];
        next[bucket] += buckets.sizes[bucket];
    }
    return true;
}

// Of an empty cloud: one window of nothing in each bucket, and the voxel of nothing in the first place.
void write_no_windows(const Buckets& buckets, perception_onnx_windows& to) {
    for (int i = 0; i < buckets.count; ++i) {
        to.count[i] = 1;
        std::fill_n(to.tokens[i], buckets.sizes[i], -1);
    }
    to.slot[0] = 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// Rays

bool can_be_rays(const perception_onnx_rays& rays, std::int64_t cameras) {
    return between(cameras, 0, kMostCameras) && between(rays.depth_bins, 1, kMostBins) &&
           between(rays.stride, 1, kMostPixels) && between(rays.image_rows, rays.stride, kMostPixels) &&
           between(rays.image_columns, rays.stride, kMostPixels) && std::isfinite(rays.depth_near_m) &&
           std::isfinite(rays.depth_bin_m) && rays.depth_near_m > 0 && rays.depth_bin_m > 0;
}

std::int64_t feature_rows(const perception_onnx_rays& rays) { return rays.image_rows / rays.stride; }
std::int64_t feature_columns(const perception_onnx_rays& rays) { return rays.image_columns / rays.stride; }
std::int64_t cells_of_a_camera(const perception_onnx_rays& rays) {
    return rays.depth_bins * feature_rows(rays) * feature_columns(rays);
}

struct Affine {
    float rows[3][4];
};

// The inverse of an affine [4,4] by Cramer's rule, as perception/geometry/transforms.py has it; nothing where there is none.
std::optional<Affine> lidar_from_image(const float* image_from_lidar) {
    if (!std::all_of(image_from_lidar, image_from_lidar + 16, is_finite)) return std::nullopt;
    if (!std::equal(kLastRow, kLastRow + 4, image_from_lidar + 12)) return std::nullopt;
    double m[12];
    std::copy_n(image_from_lidar, 12, m);
    const double a = m[0], b = m[1], c = m[2], d = m[4], e = m[5], f = m[6], g = m[8], h = m[9], i = m[10];
    const double adjugate[3][3] = {{e * i - f * h, c * h - b * i, b * f - c * e},
                                   {f * g - d * i, a * i - c * g, c * d - a * f},
                                   {d * h - e * g, b * g - a * h, a * e - b * d}};
    const double determinant = a * adjugate[0][0] + b * adjugate[1][0] + c * adjugate[2][0];
    Affine inverse;
    for (int r = 0; r < 3; ++r) {
        const double* const row = adjugate[r];
        const double shift = -(row[0] * m[3] + row[1] * m[7] + row[2] * m[11]);
        for (int column = 0; column < 4; ++column) {
            const float value = static_cast<float>((column < 3 ? row[column] : shift) / determinant);
            if (!is_finite(value)) return std::nullopt;
            inverse.rows[r][column] = value;
        }
    }
    return inverse;
}

// What ScaleAwareLift.frustum_cells computes of one camera, in the same steps.
void write_cells(const perception_onnx_rays& rays, const VoxelGrid& grid, const Affine& affine, std::int64_t* cells) {
    const float centre = static_cast<float>(rays.stride - 1) / 2, stride = static_cast<float>(rays.stride);
    const float near = static_cast<float>(rays.depth_near_m), bin = static_cast<float>(rays.depth_bin_m);
    for (std::int64_t b = 0; b < rays.depth_bins; ++b) {
        const float depth = near + (static_cast<float>(b) + 0.5f) * bin;
        for (std::int64_t row = 0; row < feature_rows(rays); ++row) {
            const float v = (static_cast<float>(row) * stride + centre) * depth;
            for (std::int64_t column = 0; column < feature_columns(rays); ++column) {
                const float u = (static_cast<float>(column) * stride + centre) * depth;
                std::int32_t cell[3];
                for (int axis = 0; axis < 3; ++axis) {
                    const float* const m = affine.rows[axis];
                    const float value = u * m[0] + v * m[1] + depth * m[2] + m[3];
                    cell[axis] = axis_cell(grid, axis, value);
                }
                const bool outside = (cell[0] | cell[1] | cell[2]) < 0;
                *cells++ = outside ? -1 : cell[1] * grid.size[0] + cell[0];
            }
        }
    }
}

}  // namespace
}  // namespace perception

using namespace perception;

const float perception_onnx_no_point[PERCEPTION_ONNX_POINT_FEATURES] = {0, 0, 0, 0, 1};

int64_t perception_onnx_voxel_bound(const perception_onnx_grid* grid, int64_t points) {
    const auto cells = voxel_grid(grid);
    return cells && between(points, 0, kMostPoints) ? voxel_bound(*cells, points) : -1;
}

size_t perception_onnx_voxelize_bytes(const perception_onnx_grid* grid, int64_t points, int32_t threads) {
    const auto cells = voxel_grid(grid);
    if (!cells || !between(points, 0, kMostPoints) || !between(threads, 1, kMostThreads)) return 0;
    Workspace workspace;
    layout_voxels(workspace, *cells, points, threads);
    return workspace.bytes();
}

perception_onnx_status perception_onnx_voxelize(const perception_onnx_grid* grid, const float* points, int64_t count,
                                                perception_onnx_voxels* voxels, void* workspace, size_t workspace_bytes,
                                                int32_t threads) {
    const auto cells = voxel_grid(grid);
    if (!cells || !between(count, 0, kMostPoints) || !between(threads, 1, kMostThreads) || voxels == nullptr ||
        workspace == nullptr || (points == nullptr && count > 0) || voxels->point_voxel == nullptr ||
        voxels->coords == nullptr || !key_layout(count, cells->cells()).fits()) {
        return PERCEPTION_ONNX_ERROR_ARGUMENT;
    }
    Workspace memory(workspace, workspace_bytes);
    const VoxelScratch scratch = layout_voxels(memory, *cells, count, threads);
    const int64_t rows = std::max<int64_t>(count, 1), bound = voxel_bound(*cells, count);
    if (!memory.fits() || voxels->point_capacity < rows || voxels->voxel_capacity < bound) {
        return PERCEPTION_ONNX_ERROR_CAPACITY;
    }
    const int64_t numbers = count * PERCEPTION_ONNX_POINT_FEATURES;
    if (!std::all_of(points, points + numbers, is_finite)) return PERCEPTION_ONNX_ERROR_POINTS;

    voxels->points = rows;
    voxels->count = 0;
    voxels->point_voxel[0] = -1;
    if (count > 0) {
        std::fill_n(scratch.batch, count, 0);
        const VoxelOutput output{voxels->coords,  voxels->point_voxel, scratch.order,
                                 scratch.offsets, scratch.counts,      std::min(bound, cells->cells())};
        if (voxelize_cpu(points, PERCEPTION_ONNX_POINT_FEATURES, scratch.batch, count, *cells, output, scratch.kernel,
                         scratch.kernel_bytes, threads) != Status::ok) {
            return PERCEPTION_ONNX_ERROR_ARGUMENT;
        }
        voxels->count = scratch.counts[VoxelCount::voxels];
    }
    if (voxels->count == 0) {
        std::copy_n(kNoVoxel, 4, voxels->coords);
        voxels->count = 1;
    }
    return PERCEPTION_ONNX_OK;
}

int32_t perception_onnx_bucket_sizes(const perception_onnx_window_grid* grid, int64_t sizes[PERCEPTION_ONNX_MOST_BUCKETS]) {
    const auto windows = window_grid(grid);
    if (!windows || sizes == nullptr) return -1;
    const Buckets buckets = buckets_of(windows->window);
    std::copy_n(buckets.sizes, buckets.count, sizes);
    return buckets.count;
}

int64_t perception_onnx_window_bound(const perception_onnx_window_grid* grid, int64_t voxels, int32_t bucket) {
    const auto windows = window_grid(grid);
    if (!windows || !between(voxels, 1, kMostPoints)) return -1;
    const Buckets buckets = buckets_of(windows->window);
    return between(bucket, 0, buckets.count - 1) ? window_bound(*windows, buckets, voxels, bucket) : -1;
}

size_t perception_onnx_partition_bytes(const perception_onnx_window_grid* grid, int64_t voxels, int32_t threads) {
    const auto windows = window_grid(grid);
    if (!windows || !between(voxels, 1, kMostPoints) || !between(threads, 1, kMostThreads)) return 0;
    Workspace workspace;
    layout_windows(workspace, *windows, voxels, threads);
    return workspace.bytes();
}

perception_onnx_status perception_onnx_partition(const perception_onnx_window_grid* grid, const int32_t* coords,
                                                 int64_t voxels, perception_onnx_windows* partitions, void* workspace,
                                                 size_t workspace_bytes, int32_t threads) {
    const auto windows = window_grid(grid);
    if (!windows || !between(voxels, 1, kMostPoints) || !between(threads, 1, kMostThreads) || coords == nullptr ||
        partitions == nullptr || workspace == nullptr || !key_layout(voxels, windows->windows(false)).fits() ||
        !key_layout(voxels, windows->windows(true)).fits()) {
        return PERCEPTION_ONNX_ERROR_ARGUMENT;
    }
    const Buckets buckets = buckets_of(windows->window);
    for (int p = 0; p < 2; ++p) {
        const perception_onnx_status room = check_room(*windows, buckets, voxels, partitions[p]);
        if (room != PERCEPTION_ONNX_OK) return room;
    }
    Workspace memory(workspace, workspace_bytes);
    const WindowScratch scratch = layout_windows(memory, *windows, voxels, threads);
    if (!memory.fits()) return PERCEPTION_ONNX_ERROR_CAPACITY;
    if (voxels == 1 && std::equal(kNoVoxel, kNoVoxel + 4, coords)) {
        for (int p = 0; p < 2; ++p) write_no_windows(buckets, partitions[p]);
        return PERCEPTION_ONNX_OK;
    }
    const Status status = window_partition_cpu(coords, voxels, *windows, scratch.partitions[0], scratch.partitions[1],
                                               scratch.outside, scratch.kernel, scratch.kernel_bytes, threads);
    if (status != Status::ok) return PERCEPTION_ONNX_ERROR_ARGUMENT;
    if (*scratch.outside > 0) return PERCEPTION_ONNX_ERROR_COORDS;
    for (int p = 0; p < 2; ++p) {
        if (!pad_windows(scratch.partitions[p], buckets, partitions[p])) return PERCEPTION_ONNX_ERROR_COORDS;
    }
    return PERCEPTION_ONNX_OK;
}

int64_t perception_onnx_frustum_size(const perception_onnx_rays* rays, int64_t cameras) {
    if (rays == nullptr || !voxel_grid(&rays->grid) || !can_be_rays(*rays, cameras)) return -1;
    return cameras * cells_of_a_camera(*rays);
}

perception_onnx_status perception_onnx_frustum_cells(const perception_onnx_rays* rays, const float* image_from_lidar,
                                                     const uint8_t* camera_mask, int64_t cameras, int64_t* cells,
                                                     int64_t capacity) {
    const int64_t size = perception_onnx_frustum_size(rays, cameras);
    if (size < 0 || image_from_lidar == nullptr || camera_mask == nullptr || cells == nullptr) {
        return PERCEPTION_ONNX_ERROR_ARGUMENT;
    }
    if (capacity < size) return PERCEPTION_ONNX_ERROR_CAPACITY;
    const auto affine = [&](int64_t camera) -> std::optional<Affine> {
        constexpr Affine identity{{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}};
        return camera_mask[camera] != 0 ? lidar_from_image(image_from_lidar + 16 * camera) : identity;
    };
    for (int64_t camera = 0; camera < cameras; ++camera) {
        if (!affine(camera)) return PERCEPTION_ONNX_ERROR_CALIBRATION;
    }
    const VoxelGrid grid = *voxel_grid(&rays->grid);
    for (int64_t camera = 0; camera < cameras; ++camera) {
        write_cells(*rays, grid, *affine(camera), cells + camera * cells_of_a_camera(*rays));
    }
    return PERCEPTION_ONNX_OK;
}
