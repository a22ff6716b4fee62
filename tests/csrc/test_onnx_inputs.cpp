// The C interface of an ONNX graph's inputs: memory of exactly the size that it asks for, and less. That the numbers are
// Python's is tests/export/test_onnx_inputs.py's to check.
#include "onnx_inputs.h"

#include <algorithm>
#include <array>
#include <limits>

#include "testing.h"

using namespace testing;

namespace {

constexpr perception_onnx_grid kGrid{{-16, -16, -5}, {1, 1, 8}, {1, 32, 32}};
constexpr perception_onnx_window_grid kWindows{{1, 32, 32}, {1, 8, 8}};
constexpr perception_onnx_rays kRays{kGrid, 1, 2, 10, 32, 64, 8};
constexpr int kThreads = 2;

std::vector<float> cloud(std::int64_t count) {
    Random random(static_cast<std::uint32_t>(count));
    std::vector<float> points(static_cast<std::size_t>(count * PERCEPTION_ONNX_POINT_FEATURES));
    for (float& value : points) value = random.uniform(-18, 18);
    return points;
}

std::int64_t size_of(const auto& values) { return static_cast<std::int64_t>(values.size()); }

// Arrays with room for what the interface asks for, less `less` rows or bytes of one of them.
struct VoxelArrays {
    std::vector<std::int64_t> point_voxel;
    std::vector<std::int32_t> coords;
    std::vector<std::byte> workspace;
    perception_onnx_voxels voxels{};

    explicit VoxelArrays(std::int64_t points, int less_points = 0, int less_voxels = 0, int less_bytes = 0)
        : point_voxel(garbage<std::int64_t>(std::max<std::int64_t>(points, 1) - less_points)),
          coords(garbage<std::int32_t>(4 * (perception_onnx_voxel_bound(&kGrid, points) - less_voxels))),
          workspace(perception_onnx_voxelize_bytes(&kGrid, points, kThreads) - static_cast<std::size_t>(less_bytes)) {
        voxels = {point_voxel.data(), coords.data(), size_of(point_voxel), size_of(coords) / 4, -1, -1};
    }
    perception_onnx_status run(const std::vector<float>& points) {
        return perception_onnx_voxelize(&kGrid, points.data(), size_of(points) / PERCEPTION_ONNX_POINT_FEATURES, &voxels,
                                        workspace.data(), workspace.size(), kThreads);
    }
    bool untouched() const { return voxels.count == -1 && (coords.empty() || coords[0] == -1); }
};

struct WindowArrays {
    std::vector<std::int64_t> tokens[2][PERCEPTION_ONNX_MOST_BUCKETS], slot[2];
    std::vector<std::byte> workspace;
    perception_onnx_windows partitions[2]{};

    explicit WindowArrays(std::int64_t voxels, int less_windows = 0, int less_slots = 0, int less_bytes = 0)
        : workspace(perception_onnx_partition_bytes(&kWindows, voxels, kThreads) - static_cast<std::size_t>(less_bytes)) {
        std::int64_t sizes[PERCEPTION_ONNX_MOST_BUCKETS];
        const int buckets = perception_onnx_bucket_sizes(&kWindows, sizes);
        for (int p = 0; p < 2; ++p) {
            slot[p] = garbage<std::int64_t>(voxels - less_slots * p);
            partitions[p].slot = slot[p].data();
            partitions[p].slot_capacity = size_of(slot[p]);
            for (int i = 0; i < buckets; ++i) {
                const std::int64_t less = i == buckets - 1 ? less_windows * p : 0;
                const std::int64_t rows = perception_onnx_window_bound(&kWindows, voxels, i) - less;
                tokens[p][i] = garbage<std::int64_t>(rows * sizes[i]);
                partitions[p].tokens[i] = tokens[p][i].data();
                partitions[p].capacity[i] = rows;
                partitions[p].count[i] = -1;
            }
        }
    }
    perception_onnx_status run(const std::vector<std::int32_t>& coords) {
        return perception_onnx_partition(&kWindows, coords.data(), size_of(coords) / 4, partitions, workspace.data(),
                                         workspace.size(), kThreads);
    }
};

}  // namespace

TEST(clouds_of_any_size_fit_what_is_asked_for) {
    for (const std::int64_t points : {0, 1, 2, 7, 100, 5000}) {
        VoxelArrays voxels(points);
        CHECK(voxels.run(cloud(points)) == PERCEPTION_ONNX_OK);
        const std::int64_t count = voxels.voxels.count;
        CHECK(count >= 1 && count <= perception_onnx_voxel_bound(&kGrid, points));
        CHECK(voxels.voxels.points == std::max<std::int64_t>(points, 1));

        WindowArrays windows(count);
        CHECK(windows.run({voxels.coords.begin(), voxels.coords.begin() + 4 * count}) == PERCEPTION_ONNX_OK);
        for (int p = 0; p < 2; ++p) {
            // The slot of each voxel, in the buckets laid one after the other, holds that voxel.
            std::vector<std::int64_t> laid;
            std::int64_t sizes[PERCEPTION_ONNX_MOST_BUCKETS];
            for (int i = 0; i < perception_onnx_bucket_sizes(&kWindows, sizes); ++i) {
                const auto& bucket = windows.tokens[p][i];
                laid.insert(laid.end(), bucket.begin(), bucket.begin() + windows.partitions[p].count[i] * sizes[i]);
            }
            const bool nothing = voxels.coords[1] == -1;
            for (std::int64_t v = 0; v < count; ++v) {
                const auto slot = static_cast<std::size_t>(windows.slot[p][static_cast<std::size_t>(v)]);
                CHECK(slot < laid.size() && laid[slot] == (nothing ? -1 : v));
            }
        }
    }
}

TEST(too_little_room_is_a_code_and_nothing_is_written) {
    const std::vector<float> points = cloud(500);
    for (const std::array<int, 3>& less : {std::array{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}) {
        VoxelArrays voxels(500, less[0], less[1], less[2]);
        CHECK(voxels.run(points) == PERCEPTION_ONNX_ERROR_CAPACITY);
        CHECK(voxels.untouched());
    }
    VoxelArrays voxels(500);
    CHECK(voxels.run(points) == PERCEPTION_ONNX_OK);
    const std::vector<std::int32_t> coords(voxels.coords.begin(), voxels.coords.begin() + 4 * voxels.voxels.count);
    for (const std::array<int, 3>& less : {std::array{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}) {
        WindowArrays windows(voxels.voxels.count, less[0], less[1], less[2]);
        CHECK(windows.run(coords) == PERCEPTION_ONNX_ERROR_CAPACITY);
        CHECK(windows.partitions[0].count[0] == -1 && windows.slot[0][0] == -1);
    }
    std::vector<std::int64_t> cells = garbage<std::int64_t>(perception_onnx_frustum_size(&kRays, 1) - 1);
    const std::vector<float> matrix{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    const std::uint8_t there = 1;
    CHECK(perception_onnx_frustum_cells(&kRays, matrix.data(), &there, 1, cells.data(), size_of(cells)) ==
          PERCEPTION_ONNX_ERROR_CAPACITY);
    CHECK(cells[0] == -1);
}

TEST(numbers_that_are_not_finite_are_a_code) {
    for (std::size_t at = 0; at < PERCEPTION_ONNX_POINT_FEATURES; ++at) {
        std::vector<float> points = cloud(3);
        points[2 * PERCEPTION_ONNX_POINT_FEATURES + at] = std::numeric_limits<float>::quiet_NaN();
        VoxelArrays voxels(3);
        CHECK(voxels.run(points) == PERCEPTION_ONNX_ERROR_POINTS);
        CHECK(voxels.untouched());
    }
}

TEST(voxels_that_cannot_be_are_a_code) {
    for (const std::array<std::int32_t, 4>& outside : {std::array{1, 0, 0, 0}, {0, 0, 32, 0}, {0, 0, 0, -1}, {0, -1, 0, 1}}) {
        WindowArrays windows(1);
        CHECK(windows.run({outside.begin(), outside.end()}) == PERCEPTION_ONNX_ERROR_COORDS);
    }
    WindowArrays windows(65);  // in a window of 64 cells
    CHECK(windows.run(std::vector<std::int32_t>(4 * 65, 0)) == PERCEPTION_ONNX_ERROR_COORDS);
}

TEST(arguments_that_make_no_sense_are_a_code) {
    const std::vector<float> points = cloud(3);
    VoxelArrays v(3);
    const auto voxelize = [&](const perception_onnx_grid* grid, const float* data, std::int64_t count,
                              perception_onnx_voxels* voxels, void* workspace, int threads) {
        return perception_onnx_voxelize(grid, data, count, voxels, workspace, v.workspace.size(), threads);
    };
    CHECK(voxelize(nullptr, points.data(), 3, &v.voxels, v.workspace.data(), 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    CHECK(voxelize(&kGrid, nullptr, 3, &v.voxels, v.workspace.data(), 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    CHECK(voxelize(&kGrid, points.data(), -1, &v.voxels, v.workspace.data(), 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    CHECK(voxelize(&kGrid, points.data(), 3, nullptr, v.workspace.data(), 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    CHECK(voxelize(&kGrid, points.data(), 3, &v.voxels, nullptr, 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    CHECK(voxelize(&kGrid, points.data(), 3, &v.voxels, v.workspace.data(), 0) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    perception_onnx_voxels no_coords = v.voxels;
    no_coords.coords = nullptr;
    CHECK(voxelize(&kGrid, points.data(), 3, &no_coords, v.workspace.data(), 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);

    perception_onnx_grid grid = kGrid;
    grid.cell_m[0] = 0;
    CHECK(perception_onnx_voxel_bound(&grid, 3) == -1 && perception_onnx_voxelize_bytes(&grid, 3, 1) == 0);
    grid = kGrid;
    grid.min_m[2] = std::numeric_limits<double>::quiet_NaN();
    CHECK(voxelize(&grid, points.data(), 3, &v.voxels, v.workspace.data(), 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    grid = kGrid;
    grid.shape_zyx[1] = std::numeric_limits<std::int64_t>::max();
    CHECK(perception_onnx_voxel_bound(&grid, 3) == -1);
    CHECK(v.untouched());

    WindowArrays w(1);
    const std::int32_t coords[4] = {};
    const auto partition = [&](const perception_onnx_window_grid* windows, const std::int32_t* voxels, std::int64_t count) {
        return perception_onnx_partition(windows, voxels, count, w.partitions, w.workspace.data(), w.workspace.size(), 1);
    };
    CHECK(partition(nullptr, coords, 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    CHECK(partition(&kWindows, nullptr, 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    CHECK(partition(&kWindows, coords, 0) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    perception_onnx_window_grid windows = kWindows;
    windows.window_zyx[1] = 0;
    CHECK(partition(&windows, coords, 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);
    CHECK(perception_onnx_bucket_sizes(&windows, w.partitions[0].count) == -1);
    CHECK(perception_onnx_window_bound(&kWindows, 1, 3) == -1 && perception_onnx_window_bound(&kWindows, 1, -1) == -1);
    w.partitions[1].tokens[0] = nullptr;
    CHECK(partition(&kWindows, coords, 1) == PERCEPTION_ONNX_ERROR_ARGUMENT);

    perception_onnx_rays rays = kRays;
    rays.stride = 0;
    CHECK(perception_onnx_frustum_size(&rays, 1) == -1);
    rays = kRays;
    rays.depth_bin_m = -1;
    CHECK(perception_onnx_frustum_size(&rays, 1) == -1 && perception_onnx_frustum_size(nullptr, 1) == -1);
    CHECK(perception_onnx_frustum_size(&kRays, -1) == -1 && perception_onnx_frustum_size(&kRays, 0) == 0);
}

TEST(cells_of_cameras_that_are_there_and_of_missing_ones) {
    std::vector<float> matrices(32, std::numeric_limits<float>::quiet_NaN());
    const float looks_along_y[16] = {32, 32, 0, 0, 0, 16, -32, 0, 0, 1, 0, 0, 0, 0, 0, 1};
    std::copy(looks_along_y, looks_along_y + 16, matrices.begin());
    auto cells = garbage<std::int64_t>(perception_onnx_frustum_size(&kRays, 2));
    const std::uint8_t first[2] = {1, 0}, both[2] = {1, 1};
    CHECK(perception_onnx_frustum_cells(&kRays, matrices.data(), first, 2, cells.data(), size_of(cells)) ==
          PERCEPTION_ONNX_OK);
    // The ray of row 2 (v = 19.5, below the horizon) and column 4 (u = 35.5) at a depth of 2 m: x = 0.22, y = 2, z = -0.22.
    CHECK(cells[2 * 8 + 4] == 18 * 32 + 16);
    std::fill(cells.begin(), cells.end(), -7);
    CHECK(perception_onnx_frustum_cells(&kRays, matrices.data(), both, 2, cells.data(), size_of(cells)) ==
          PERCEPTION_ONNX_ERROR_CALIBRATION);
    CHECK(cells[0] == -7);
}

int main() { return run_tests(); }
