// Image features summed into bird's-eye-view cells, weighted by depth: Lift-Splat (Philion & Fidler, ECCV 2020) without the
// frustum of features in memory. A frustum point (view, bin, row, column) has one depth weight, one pixel whose features it
// carries and one cell. Its flat index is a 32-bit number.
#pragma once

#include "scan_sort.h"

namespace perception {

struct PoolShape {
    std::int64_t views, bins, height, width;
    std::int64_t cells;

    PERCEPTION_HD std::int64_t image() const { return height * width; }
    PERCEPTION_HD std::int64_t pixels() const { return views * image(); }
    PERCEPTION_HD std::int64_t points() const { return views * bins * image(); }
    PERCEPTION_HD std::int64_t pixel_of(std::int64_t point) const {
        return point / (bins * image()) * image() + point % image();
    }
    bool fits() const { return points() + cells < INT32_MAX; }
};

// Points grouped by cell; it depends on the geometry alone, so a fixed rig computes it once.
struct PoolIndex {
    const std::int32_t* point;    // [points] by cell, ascending inside one; those outside the map come last
    const std::int32_t* pixel;    // [points] flat (view, row, column) of each
    const std::int32_t* offsets;  // [cells+1] cell c holds point[offsets[c]..offsets[c+1])
    const std::int32_t* cell;     // [points] cell of every point in its own place, -1 outside the map
};

struct PoolIndexOutput {
    std::int32_t* point;
    std::int32_t* pixel;
    std::int32_t* offsets;
    std::int32_t* cell;
};

// cell [points]: 0..cells-1, anything else is outside the map.
std::size_t pool_index_workspace_bytes_cpu(const PoolShape& shape, int threads);
Status pool_index_cpu(const std::int64_t* cell, const PoolShape& shape, const PoolIndexOutput& output, void* workspace,
                      std::size_t workspace_bytes, int threads);

std::size_t pool_index_workspace_bytes_cuda(const PoolShape& shape);
Status pool_index_cuda(const std::int64_t* cell, const PoolShape& shape, const PoolIndexOutput& output, void* workspace,
                       std::size_t workspace_bytes, Stream stream);

// out [cells,channels] = sum over the points of the cell of depth [points] * features [pixels,channels].
// T is float, double, Half or BFloat16; sums are held in Accumulate<T>, in an order that does not depend on the threads.
std::size_t bev_pool_workspace_bytes_cpu(const PoolShape& shape, std::int64_t channels, std::size_t accumulate_bytes);
template <typename T>
Status bev_pool_cpu(const T* features, const T* depth, const PoolIndex& index, const PoolShape& shape, std::int64_t channels,
                    T* out, void* workspace, std::size_t workspace_bytes, int threads);

std::size_t bev_pool_workspace_bytes_cuda(const PoolShape& shape, std::int64_t channels, std::size_t accumulate_bytes);
template <typename T>
Status bev_pool_cuda(const T* features, const T* depth, const PoolIndex& index, const PoolShape& shape, std::int64_t channels,
                     T* out, void* workspace, std::size_t workspace_bytes, Stream stream);

// Gradients of features [pixels,channels] and depth [points] from that of the output. Only index.cell is read.
std::size_t bev_pool_backward_workspace_bytes_cpu(std::int64_t channels, std::size_t accumulate_bytes, int threads);
template <typename T>
Status bev_pool_backward_cpu(const T* grad_out, const T* features, const T* depth, const std::int32_t* cell,
                             const PoolShape& shape, std::int64_t channels, T* grad_features, T* grad_depth,
                             void* workspace, std::size_t workspace_bytes, int threads);

template <typename T>
Status bev_pool_backward_cuda(const T* grad_out, const T* features, const T* depth, const std::int32_t* cell,
                              const PoolShape& shape, std::int64_t channels, T* grad_features, T* grad_depth, Stream stream);

// How the forward pass is cut into equal tasks, so that neither a cell with very many points nor a stretch of empty cells is
// one thread's work. Lay cells and points in one row: cell 0, its points, cell 1, its points, ... Cell c is item
// offsets[c] + c, its point i is item i + c + 1. A task is `size` items of that row: the rest of a cell that an earlier task
// began (the head), then cells that begin here, of which the last may go on into later tasks.
struct PoolTasks {
    const std::int32_t* offsets;
    std::int64_t cells;
    std::int64_t size;

    static std::int64_t count(const PoolShape& shape, std::int64_t size) {
        return ceil_div(shape.points() + shape.cells, size);
    }

    // The first cell that begins in this task or later.
    PERCEPTION_HD std::int64_t first_cell(std::int64_t task) const {
        std::int64_t low = 0, high = cells;
        while (low < high) {
            const std::int64_t middle = (low + high) / 2;
            if (offsets[middle] + middle < task * size) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    struct Range {
        std::int64_t begin, end;
    };

    // Points in this task of the cell before `first`, which begins in an earlier task.
    PERCEPTION_HD Range head(std::int64_t task, std::int64_t first) const {
        const std::int64_t begin = task * size - first, end = begin + size;
        return {begin, end < offsets[first] ? end : offsets[first]};
    }

    // Points in this task of a cell that begins in it.
    PERCEPTION_HD Range points(std::int64_t task, std::int64_t cell) const {
        const std::int64_t end = (task + 1) * size - cell - 1;
        return {offsets[cell], end < offsets[cell + 1] ? end : offsets[cell + 1]};
    }

    PERCEPTION_HD bool begins(std::int64_t task, std::int64_t cell) const {
        return cell < cells && offsets[cell] + cell < (task + 1) * size;
    }

    // The task that holds the last point of a cell.
    PERCEPTION_HD std::int64_t last_task(std::int64_t cell) const { return (offsets[cell + 1] + cell) / size; }
};

// Where the dense offset of a cell stands among the runs of occupied cells: the number of runs below it.
PERCEPTION_HD inline std::int64_t runs_below(const std::uint64_t* keys, std::int64_t runs, std::int64_t cell) {
    std::int64_t low = 0, high = runs;
    while (low < high) {
        const std::int64_t middle = (low + high) / 2;
        if (keys[middle] < static_cast<std::uint64_t>(cell)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Memory of pool_index on either processor.
struct PoolIndexScratch {
    std::uint64_t *packed, *spare, *keys;
    std::int64_t *order, *run_offsets, *run_count;
    void* group;

    PoolIndexScratch(Workspace& workspace, const PoolShape& shape, std::size_t group_bytes)
        : packed(workspace.take<std::uint64_t>(shape.points())),
          spare(workspace.take<std::uint64_t>(shape.points())),
          keys(workspace.take<std::uint64_t>(capacity(shape))),
          order(workspace.take<std::int64_t>(shape.points())),
          run_offsets(workspace.take<std::int64_t>(capacity(shape) + 1)),
          run_count(workspace.take<std::int64_t>(1)),
          group(workspace.take<std::byte>(static_cast<std::int64_t>(group_bytes))) {}

    static std::int64_t capacity(const PoolShape& shape) {
        return shape.points() < shape.cells ? shape.points() : shape.cells;
    }
    Runs runs(const PoolShape& shape) const {
        return {static_cast<std::uint64_t>(shape.cells), capacity(shape), order, run_offsets, keys, nullptr, run_count};
    }
};

}  // namespace perception
