/* The inputs of an ONNX artifact's graph that are no sensor's data, without Python and without torch: the voxels of a
 * cloud, both window partitions of the voxels, and the map's cells of the cameras' rays. docs/vehicle.md names the
 * inputs; manifest.json has the numbers (grid, and preprocessing.indices).
 *
 *     perception_onnx_voxelize(&grid, points, count, &voxels, workspace, bytes, threads);
 *     perception_onnx_partition(&windows, voxels.coords, voxels.count, partitions, workspace, bytes, threads);
 *     perception_onnx_frustum_cells(&rays, image_from_lidar, camera_mask, cameras, cells, capacity);  once per rig
 *
 * Memory is the caller's: nothing is allocated, and nothing is kept between calls, so that any threads may call at once
 * with memory of their own. A workspace is aligned as malloc aligns, and may be the same for all calls of a thread. Its
 * size, and how many rows an array has to have room for, is asked for first. Those are bounds for any cloud of that many
 * points: with room for the manifest's max_points, no frame fails for what is in it.
 *
 * Errors: a call returns a code. It looks at sizes and numbers first: after an error other than
 * PERCEPTION_ONNX_ERROR_COORDS nothing was written to its results.
 */
#ifndef PERCEPTION_ONNX_INPUTS_H
#define PERCEPTION_ONNX_INPUTS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PERCEPTION_ONNX_API __attribute__((visibility("default")))
#else
#define PERCEPTION_ONNX_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum perception_onnx_status {
    PERCEPTION_ONNX_OK = 0,
    PERCEPTION_ONNX_ERROR_ARGUMENT = 1,    /* a null pointer or a number that makes no sense: a bug of the caller */
    PERCEPTION_ONNX_ERROR_CAPACITY = 2,    /* an array or the workspace is smaller than its bound */
    PERCEPTION_ONNX_ERROR_POINTS = 3,      /* NaN or infinity among the points' numbers */
    PERCEPTION_ONNX_ERROR_COORDS = 4,      /* voxels outside the grid, or several in one cell */
    PERCEPTION_ONNX_ERROR_CALIBRATION = 5  /* a camera that is there: its matrix is not finite, not affine, or has no inverse */
} perception_onnx_status;

/* A box of space in the LiDAR frame, in cells; the manifest's "grid". */
typedef struct perception_onnx_grid {
    double min_m[3];     /* x y z: the first three numbers of range_m */
    double cell_m[3];    /* x y z */
    int64_t shape_zyx[3];
} perception_onnx_grid;

/* ---------------------------------------------------------------------------------------------------------------------
 * point_voxel and coords */

enum { PERCEPTION_ONNX_POINT_FEATURES = 5 }; /* x y z (m), intensity (0..255), age (s) */

/* The graph has no size of zero: what it is given as its one point where there is none. */
extern PERCEPTION_ONNX_API const float perception_onnx_no_point[PERCEPTION_ONNX_POINT_FEATURES];

typedef struct perception_onnx_voxels {
    int64_t* point_voxel;   /* [points] voxel of each point, -1 outside the grid */
    int32_t* coords;        /* [count,4] 0 z y x of each voxel, ascending; 0 -1 0 0 alone where no point is in the grid */
    int64_t point_capacity; /* points that point_voxel has room for: as many as there are, and one at least */
    int64_t voxel_capacity; /* voxels that coords has room for: perception_onnx_voxel_bound or more */
    int64_t points, count;  /* written by the call; 1 or more. points is 1 for an empty cloud: give the graph
                               perception_onnx_no_point */
} perception_onnx_voxels;

/* Voxels that a cloud of `points` points can have; -1 for an argument that makes no sense. */
PERCEPTION_ONNX_API int64_t perception_onnx_voxel_bound(const perception_onnx_grid* grid, int64_t points);
/* Bytes of workspace; 0 for an argument that makes no sense. */
PERCEPTION_ONNX_API size_t perception_onnx_voxelize_bytes(const perception_onnx_grid* grid, int64_t points, int32_t threads);
/* points [count,5]; may be null where count is 0. */
PERCEPTION_ONNX_API perception_onnx_status perception_onnx_voxelize(const perception_onnx_grid* grid, const float* points,
                                                                    int64_t count, perception_onnx_voxels* voxels,
                                                                    void* workspace, size_t workspace_bytes,
                                                                    int32_t threads);

/* ---------------------------------------------------------------------------------------------------------------------
 * windows_S, windows_slot, shifted_windows_S, shifted_windows_slot */

enum { PERCEPTION_ONNX_MOST_BUCKETS = 3 };

/* Cells of the map and of a window, z y x. */
typedef struct perception_onnx_window_grid {
    int64_t shape_zyx[3];
    int64_t window_zyx[3];
} perception_onnx_window_grid;

/* One partition in buckets of windows with as many places each. */
typedef struct perception_onnx_windows {
    int64_t* tokens[PERCEPTION_ONNX_MOST_BUCKETS];  /* of bucket i [count,size]: voxels of each window, then -1 */
    int64_t* slot;                                  /* [voxels] place of each voxel in the buckets, one after the other */
    int64_t capacity[PERCEPTION_ONNX_MOST_BUCKETS]; /* windows that tokens has room for: perception_onnx_window_bound */
    int64_t slot_capacity;                          /* voxels that slot has room for */
    int64_t count[PERCEPTION_ONNX_MOST_BUCKETS];    /* written by the call; 1 or more, the one of nothing if need be */
} perception_onnx_windows;

/* The number of buckets, 1 to 3, and the size of each (the S of the inputs' names), ascending; -1 for a window that makes
 * no sense. Members of perception_onnx_windows past that number are not looked at. */
PERCEPTION_ONNX_API int32_t perception_onnx_bucket_sizes(const perception_onnx_window_grid* grid,
                                                         int64_t sizes[PERCEPTION_ONNX_MOST_BUCKETS]);
/* Windows that a bucket of either partition of `voxels` voxels can have; -1 for an argument that makes no sense. */
PERCEPTION_ONNX_API int64_t perception_onnx_window_bound(const perception_onnx_window_grid* grid, int64_t voxels,
                                                         int32_t bucket);
/* Bytes of workspace; 0 for an argument that makes no sense. */
PERCEPTION_ONNX_API size_t perception_onnx_partition_bytes(const perception_onnx_window_grid* grid, int64_t voxels,
                                                           int32_t threads);
/* coords [voxels,4] as perception_onnx_voxelize writes them; partitions [2]: windows, then shifted_windows. */
PERCEPTION_ONNX_API perception_onnx_status perception_onnx_partition(const perception_onnx_window_grid* grid,
                                                                     const int32_t* coords, int64_t voxels,
                                                                     perception_onnx_windows* partitions, void* workspace,
                                                                     size_t workspace_bytes, int32_t threads);

/* ---------------------------------------------------------------------------------------------------------------------
 * frustum_cell */

/* The rays of every camera through its feature cells, cut at the middles of depth bins. */
typedef struct perception_onnx_rays {
    perception_onnx_grid grid;        /* of the camera branch: preprocessing.indices.frustum.grid */
    double depth_near_m, depth_bin_m; /* where the first bin begins, and how long each is */
    int64_t depth_bins;
    int64_t image_rows, image_columns; /* of the network's image, px */
    int64_t stride;                    /* px per feature cell */
} perception_onnx_rays;

/* Numbers in frustum_cell [cameras, depth_bins, image_rows / stride, image_columns / stride]; -1 for an argument that
 * makes no sense. */
PERCEPTION_ONNX_API int64_t perception_onnx_frustum_size(const perception_onnx_rays* rays, int64_t cameras);
/* cells [perception_onnx_frustum_size]: y * X + x of the map's cell, -1 outside the grid.
 * image_from_lidar [cameras,4,4] and camera_mask [cameras] are the graph's inputs of these names; the matrix of a missing
 * camera is not looked at. */
PERCEPTION_ONNX_API perception_onnx_status perception_onnx_frustum_cells(const perception_onnx_rays* rays,
                                                                         const float* image_from_lidar,
                                                                         const uint8_t* camera_mask, int64_t cameras,
                                                                         int64_t* cells, int64_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* PERCEPTION_ONNX_INPUTS_H */
