#include "bev_pool.h"

#include <omp.h>

#include <algorithm>

namespace perception {
namespace {

constexpr std::int64_t kTaskItems = 2048;

template <typename T>
struct Partials {
    Accumulate<T>*heads, *tails;  // [tasks,channels]

    Partials(Workspace& workspace, const PoolShape& shape, std::int64_t channels)
        : heads(workspace.take<Accumulate<T>>(PoolTasks::count(shape, kTaskItems) * channels)),
          tails(workspace.take<Accumulate<T>>(PoolTasks::count(shape, kTaskItems) * channels)) {}
};

// sum [channels] = depth-weighted features of the points in the range. Four points per pass over the sum.
template <typename T>
void sum_points(const T* features, const T* depth, const PoolIndex& index, PoolTasks::Range range, std::int64_t channels,
                Accumulate<T>* __restrict__ sum) {
    std::fill(sum, sum + channels, Accumulate<T>{0});
    std::int64_t i = range.begin;
    for (; i + 4 <= range.end; i += 4) {
        const T* row[4];
        Accumulate<T> weight[4];
        for (int k = 0; k < 4; ++k) {
            row[k] = features + index.pixel[i + k] * channels;
            weight[k] = widen(depth[index.point[i + k]]);
        }
#pragma omp simd
        for (std::int64_t c = 0; c < channels; ++c) {
            sum[c] += (weight[0] * widen(row[0][c]) + weight[1] * widen(row[1][c])) +
                      (weight[2] * widen(row[2][c]) + weight[3] * widen(row[3][c]));
        }
    }
    for (; i < range.end; ++i) {
        const T* row = features + index.pixel[i] * channels;
        const Accumulate<T> weight = widen(depth[index.point[i]]);
#pragma omp simd
        for (std::int64_t c = 0; c < channels; ++c) sum[c] += weight * widen(row[c]);
    }
}

template <typename T>
void write_row(const Accumulate<T>* sum, std::int64_t channels, T* out) {
#pragma omp simd
    for (std::int64_t c = 0; c < channels; ++c) out[c] = narrow<T>(sum[c]);
}

}  // namespace

std::size_t pool_index_workspace_bytes_cpu(const PoolShape& shape, int threads) {
    Workspace workspace;
    PoolIndexScratch(workspace, shape, group_workspace_bytes_cpu(shape.points(), threads));
    return workspace.bytes();
}

Status pool_index_cpu(const std::int64_t* cell, const PoolShape& shape, const PoolIndexOutput& output, void* workspace,
                      std::size_t workspace_bytes, int threads) {
    const std::int64_t points = shape.points();
    const KeyLayout layout = key_layout(points, shape.cells);
    if (!shape.fits()) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const std::size_t group_bytes = group_workspace_bytes_cpu(points, threads);
    const PoolIndexScratch scratch(memory, shape, group_bytes);
    if (!memory.fits()) return Status::workspace_too_small;

#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t i = 0; i < points; ++i) {
        const bool inside = cell[i] >= 0 && cell[i] < shape.cells;
        output.cell[i] = inside ? static_cast<std::int32_t>(cell[i]) : -1;
        scratch.packed[i] = pack_key(static_cast<std::uint64_t>(inside ? cell[i] : shape.cells), i, layout.index_bits);
    }
    const Status grouped = group_cpu(scratch.packed, scratch.spare, points, layout, scratch.runs(shape), scratch.group,
                                     group_bytes, threads);
    if (grouped != Status::ok) return grouped;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t i = 0; i < points; ++i) {
        output.point[i] = static_cast<std::int32_t>(scratch.order[i]);
        output.pixel[i] = static_cast<std::int32_t>(shape.pixel_of(scratch.order[i]));
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t c = 0; c <= shape.cells; ++c) {
        output.offsets[c] = static_cast<std::int32_t>(scratch.run_offsets[runs_below(scratch.keys, *scratch.run_count, c)]);
    }
    return Status::ok;
}

std::size_t bev_pool_workspace_bytes_cpu(const PoolShape& shape, std::int64_t channels, std::size_t accumulate_bytes) {
    Workspace workspace;
    if (accumulate_bytes == sizeof(double)) {
        Partials<double>(workspace, shape, channels);
    } else {
        Partials<float>(workspace, shape, channels);
    }
    return workspace.bytes();
}

template <typename T>
Status bev_pool_cpu(const T* features, const T* depth, const PoolIndex& index, const PoolShape& shape, std::int64_t channels,
                    T* out, void* workspace, std::size_t workspace_bytes, int threads) {
    if (!shape.fits()) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const Partials<T> partials(memory, shape, channels);
    if (!memory.fits()) return Status::workspace_too_small;

    const PoolTasks tasks{index.offsets, shape.cells, kTaskItems};
    const std::int64_t task_count = PoolTasks::count(shape, kTaskItems);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(dynamic)
        for (std::int64_t task = 0; task < task_count; ++task) {
            Accumulate<T>* sum = partials.tails + task * channels;
            std::int64_t cell = tasks.first_cell(task);
            const PoolTasks::Range head = tasks.head(task, cell);
            if (head.begin < head.end) {
                sum_points(features, depth, index, head, channels, partials.heads + task * channels);
            }
            for (; tasks.begins(task, cell); ++cell) {
                sum_points(features, depth, index, tasks.points(task, cell), channels, sum);
                if (tasks.last_task(cell) == task) write_row(sum, channels, out + cell * channels);
            }
        }
#pragma omp for schedule(static)
        for (std::int64_t task = 0; task < task_count; ++task) {
            const std::int64_t cell = tasks.first_cell(task + 1) - 1;
            if (cell < tasks.first_cell(task) || tasks.last_task(cell) == task) continue;
            Accumulate<T>* sum = partials.tails + task * channels;
            for (std::int64_t later = task + 1; later <= tasks.last_task(cell); ++later) {
                const Accumulate<T>* head = partials.heads + later * channels;
#pragma omp simd
                for (std::int64_t c = 0; c < channels; ++c) sum[c] += head[c];
            }
            write_row(sum, channels, out + cell * channels);
        }
    }
    return Status::ok;
}

std::size_t bev_pool_backward_workspace_bytes_cpu(std::int64_t channels, std::size_t accumulate_bytes, int threads) {
    Workspace workspace;
    for (int i = 0; i < threads; ++i) workspace.take<std::byte>(channels * static_cast<std::int64_t>(accumulate_bytes));
    return workspace.bytes();
}

template <typename T>
Status bev_pool_backward_cpu(const T* grad_out, const T* features, const T* depth, const std::int32_t* cell,
                             const PoolShape& shape, std::int64_t channels, T* grad_features, T* grad_depth,
                             void* workspace, std::size_t workspace_bytes, int threads) {
    if (!shape.fits()) return Status::bad_argument;
    if (bev_pool_backward_workspace_bytes_cpu(channels, sizeof(Accumulate<T>), threads) > workspace_bytes) {
        return Status::workspace_too_small;
    }
#pragma omp parallel num_threads(threads)
    {
        Workspace memory(workspace, workspace_bytes);
        Accumulate<T>* __restrict__ sum = memory.take<Accumulate<T>>(channels);
        for (int i = 0; i < omp_get_thread_num(); ++i) sum = memory.take<Accumulate<T>>(channels);
        // Pixels of a thread are neighbours: their points fall into neighbouring cells, whose gradients stay in the cache.
#pragma omp for schedule(dynamic, 16)
        for (std::int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
            const T* row = features + pixel * channels;
            std::fill(sum, sum + channels, Accumulate<T>{0});
            std::int64_t point = pixel / shape.image() * shape.bins * shape.image() + pixel % shape.image();
            for (std::int64_t bin = 0; bin < shape.bins; ++bin, point += shape.image()) {
                Accumulate<T> dot = 0;
                if (cell[point] >= 0) {
                    const T* grad = grad_out + cell[point] * channels;
                    const Accumulate<T> weight = widen(depth[point]);
#pragma omp simd reduction(+ : dot)
                    for (std::int64_t c = 0; c < channels; ++c) {
                        dot += widen(row[c]) * widen(grad[c]);
                        sum[c] += weight * widen(grad[c]);
                    }
                }
                grad_depth[point] = narrow<T>(dot);
            }
            write_row(sum, channels, grad_features + pixel * channels);
        }
    }
    return Status::ok;
}

#define PERCEPTION_INSTANTIATE(T)                                                                                         \
    template Status bev_pool_cpu(const T*, const T*, const PoolIndex&, const PoolShape&, std::int64_t, T*, void*,         \
                                 std::size_t, int);                                                                       \
    template Status bev_pool_backward_cpu(const T*, const T*, const T*, const std::int32_t*, const PoolShape&,            \
                                          std::int64_t, T*, T*, void*, std::size_t, int);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)
PERCEPTION_INSTANTIATE(Half)
PERCEPTION_INSTANTIATE(BFloat16)

}  // namespace perception
