#include "bev_pool.h"

#include <algorithm>

#include "cuda_platform.h"
#include "vector.cuh"

namespace perception {
namespace {

constexpr int kThreads = 256;
constexpr int kMostLanes = kWarp;
constexpr std::int64_t kTaskItems = 64;  // enough tasks for every multiprocessor; most cells end where they begin
constexpr int kBatch = 4;                // points under way at a time in every thread

// ---------------------------------------------------------------------------------------------------------------------
// Index

__global__ void __launch_bounds__(kThreads) mark_cells(const std::int64_t* __restrict__ cells,  // [points]
                                                       PoolShape shape, int index_bits,
                                                       std::uint64_t* __restrict__ packed,     // [points]
                                                       std::int32_t* __restrict__ own_cell) {  // [points]
    const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (i >= shape.points()) return;
    const std::int64_t cell = cells[i];
    const bool inside = cell >= 0 && cell < shape.cells;
    own_cell[i] = inside ? static_cast<std::int32_t>(cell) : -1;
    packed[i] = pack_key(static_cast<std::uint64_t>(inside ? cell : shape.cells), i, index_bits);
}

__global__ void __launch_bounds__(kThreads) write_points(const std::int64_t* __restrict__ order,  // [points]
                                                         PoolShape shape,
                                                         std::int32_t* __restrict__ point,    // [points]
                                                         std::int32_t* __restrict__ pixel) {  // [points]
    const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (i >= shape.points()) return;
    point[i] = static_cast<std::int32_t>(order[i]);
    pixel[i] = static_cast<std::int32_t>(shape.pixel_of(order[i]));
}

__global__ void __launch_bounds__(kThreads) write_offsets(const std::uint64_t* __restrict__ run_keys,       // [runs]
                                                          const std::int64_t* __restrict__ run_offsets,    // [runs+1]
                                                          const std::int64_t* __restrict__ runs,           // [1]
                                                          std::int64_t cells,
                                                          std::int32_t* __restrict__ offsets) {  // [cells+1]
    const std::int64_t cell = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (cell <= cells) offsets[cell] = static_cast<std::int32_t>(run_offsets[runs_below(run_keys, *runs, cell)]);
}

// ---------------------------------------------------------------------------------------------------------------------
// Forward

// A cell that ends in the task after the one it begins in is summed where it begins; a longer one is shared by its tasks.
struct Tasks : PoolTasks {
    PERCEPTION_HD bool shared(std::int64_t cell) const { return last_task(cell) > (offsets[cell] + cell) / size + 1; }
};

template <typename T>
struct Partials {
    Accumulate<T>*heads, *tails;  // [tasks,channels]
    std::int32_t* shared_cell;    // [tasks] the shared cell that begins in a task, or -1

    Partials(Workspace& workspace, const PoolShape& shape, std::int64_t channels)
        : heads(workspace.take<Accumulate<T>>(PoolTasks::count(shape, kTaskItems) * channels)),
          tails(workspace.take<Accumulate<T>>(PoolTasks::count(shape, kTaskItems) * channels)),
          shared_cell(workspace.take<std::int32_t>(PoolTasks::count(shape, kTaskItems))) {}
};

// `lanes` neighbouring threads, each with N channels, do a task.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 2) sum_tasks(const T* __restrict__ features,           // [pixels, channels]
                                                         const T* __restrict__ depth,              // [points]
                                                         const std::int32_t* __restrict__ points,  // [points] by cell
                                                         const std::int32_t* __restrict__ pixels,  // [points] by cell
                                                         Tasks tasks, int task_count, int channels, int lanes,
                                                         Partials<T> partials, T* __restrict__ out) {  // [cells, channels]
    using A = Accumulate<T>;
    PERCEPTION_SHARED(int, first_cells, [kThreads + 1]);
    const int slots = kThreads / lanes, slot = static_cast<int>(threadIdx.x) / lanes;
    const int first_task = static_cast<int>(blockIdx.x) * slots, task = first_task + slot;
    for (int i = static_cast<int>(threadIdx.x); i <= slots; i += kThreads) {
        first_cells[i] = static_cast<int>(tasks.first_cell(first_task + i));
    }
    __syncthreads();
    const int lane = static_cast<int>(threadIdx.x) % lanes;
    const int column = (static_cast<int>(blockIdx.y) * lanes + lane) * N;
    if (slot >= slots || task >= task_count || column >= channels) return;

    // The cells first..next-1 begin here; before them, the rest of an earlier one if that is shared.
    const std::int32_t* const offsets = tasks.offsets;
    const int first = first_cells[slot], next = first_cells[slot + 1], size = static_cast<int>(tasks.size);
    const int head = task * size - first;
    const auto reach = static_cast<int>(std::int64_t{task + 1} * size - next);  // points before the task's end
    const bool has_head = first > 0 && head < offsets[first] && tasks.shared(first - 1);
    const bool tail_shared = next > first && tasks.shared(next - 1);
    if (column == 0) partials.shared_cell[task] = tail_shared ? next - 1 : -1;
    const int begin = has_head ? head : offsets[first];
    const bool to_reach = tail_shared || (has_head && next == first);
    const int end = to_reach && reach < offsets[next] ? reach : offsets[next];

    A sum[N] = {};
    int cell = has_head ? first - 1 : first;
    const auto finish_cell = [&] {
        if (cell < first || (tail_shared && cell == next - 1)) {
            A* const to = (cell < first ? partials.heads : partials.tails) + std::int64_t{task} * channels + column;
            for (int j = 0; j < N; ++j) to[j] = sum[j];
        } else {
            Vector<T, N> row;
            for (int j = 0; j < N; ++j) row.v[j] = narrow<T>(sum[j]);
            store_vector(out + std::int64_t{cell} * channels + column, row);
        }
        for (int j = 0; j < N; ++j) sum[j] = 0;
        ++cell;
    };
    // Points are loaded ahead without regard to where cells end.
    int cell_end = begin < end ? offsets[cell + 1] : 0;
    for (int i = begin; i < end; i += kBatch) {
        Vector<T, N> row[kBatch];
        A weight[kBatch];
#pragma unroll
        for (int k = 0; k < kBatch; ++k) {
            if (i + k >= end) continue;
            row[k] = load_vector<T, N>(features + std::int64_t{pixels[i + k]} * channels + column);
            weight[k] = widen(depth[points[i + k]]);
        }
#pragma unroll
        for (int k = 0; k < kBatch; ++k) {
            if (i + k >= end) continue;
            while (cell_end <= i + k) {
                finish_cell();
                cell_end = offsets[cell + 1];
            }
            for (int j = 0; j < N; ++j) sum[j] += weight[k] * widen(row[k].v[j]);
        }
    }
    while (cell < next) finish_cell();
}

// Adds up what the tasks of a shared cell left.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads) finish_shared(Tasks tasks, int task_count, int channels, int lanes,
                                                          Partials<T> partials, T* __restrict__ out) {  // [cells, channels]
    const int slots = kThreads / lanes, slot = static_cast<int>(threadIdx.x) / lanes;
    const int task = static_cast<int>(blockIdx.x) * slots + slot;
    const int column = (static_cast<int>(blockIdx.y) * lanes + static_cast<int>(threadIdx.x) % lanes) * N;
    if (slot >= slots || task >= task_count || column >= channels) return;
    const int cell = partials.shared_cell[task];
    if (cell < 0) return;
    Accumulate<T> sum[N];
    for (int j = 0; j < N; ++j) sum[j] = partials.tails[std::int64_t{task} * channels + column + j];
    const std::int64_t last = tasks.last_task(cell);
#pragma unroll 4
    for (std::int64_t later = task + 1; later <= last; ++later) {
        for (int j = 0; j < N; ++j) sum[j] += partials.heads[later * channels + column + j];
    }
    Vector<T, N> row;
    for (int j = 0; j < N; ++j) row.v[j] = narrow<T>(sum[j]);
    store_vector(out + std::int64_t{cell} * channels + column, row);
}

// ---------------------------------------------------------------------------------------------------------------------
// Backward

template <typename T, int N>
__device__ inline Accumulate<T> dot(const Vector<T, N>& a, const Vector<T, N>& b) {
    Accumulate<T> sum = 0;
    for (int j = 0; j < N; ++j) sum += widen(a.v[j]) * widen(b.v[j]);
    return sum;
}

// `lanes`, a power of two, neighbouring threads go through the bins of a pixel with N channels each; they sum the feature's
// gradient, and each bin's depth gradient over the lanes. Rows of more than lanes * N channels take further rounds.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 2) sum_gradients(const T* __restrict__ grad_out,             // [cells, channels]
                                                             const T* __restrict__ features,             // [pixels, channels]
                                                             const T* __restrict__ depth,                // [points]
                                                             const std::int32_t* __restrict__ own_cell,  // [points]
                                                             PoolShape shape, int channels, int lanes,
                                                             T* __restrict__ grad_features,  // [pixels, channels]
                                                             T* __restrict__ grad_depth) {   // [points]
    using A = Accumulate<T>;
    const int lane = static_cast<int>(threadIdx.x) % lanes;
    const std::int64_t pixel = std::int64_t{blockIdx.x} * (kThreads / lanes) + static_cast<int>(threadIdx.x) / lanes;
    const bool valid = pixel < shape.pixels();  // lanes past the end go along, for the shuffles
    const int image = static_cast<int>(shape.image()), bins = static_cast<int>(shape.bins), round = lanes * N;
    const auto first_point = static_cast<int>(pixel / image * bins * image + pixel % image);
    const T* const own_row = features + pixel * channels;

    for (int base = 0; base < channels; base += round) {
        const int column = base + lane * N;
        const bool inside = valid && column < channels;
        const Vector<T, N> own = inside ? load_vector<T, N>(own_row + column) : Vector<T, N>{};
        A sum[N] = {};
        for (int bin = 0; bin < bins; bin += kBatch) {
            int cell[kBatch];
            Vector<T, N> grad[kBatch];
            A slope[kBatch];
#pragma unroll
            for (int k = 0; k < kBatch; ++k) {
                cell[k] = valid && bin + k < bins ? own_cell[first_point + (bin + k) * image] : -1;
            }
#pragma unroll
            for (int k = 0; k < kBatch; ++k) {
                grad[k] = inside && cell[k] >= 0 ? load_vector<T, N>(grad_out + std::int64_t{cell[k]} * channels + column)
                                                 : Vector<T, N>{};
            }
#pragma unroll
            for (int k = 0; k < kBatch; ++k) {
                const A weight = cell[k] >= 0 ? widen(depth[first_point + (bin + k) * image]) : A{0};
                slope[k] = dot(own, grad[k]);
                for (int j = 0; j < N; ++j) sum[j] += weight * widen(grad[k].v[j]);
            }
            if (base != 0) continue;
            for (int far = column + round; far < channels && valid; far += round) {
                const Vector<T, N> more = load_vector<T, N>(own_row + far);
                for (int k = 0; k < kBatch; ++k) {
                    if (cell[k] < 0) continue;
                    slope[k] += dot(more, load_vector<T, N>(grad_out + std::int64_t{cell[k]} * channels + far));
                }
            }
#pragma unroll
            for (int k = 0; k < kBatch; ++k) {
                for (int step = lanes / 2; step > 0; step /= 2) slope[k] += __shfl_xor_sync(kFullMask, slope[k], step);
                if (valid && lane == 0 && bin + k < bins) grad_depth[first_point + (bin + k) * image] = narrow<T>(slope[k]);
            }
        }
        if (inside) {
            Vector<T, N> result;
            for (int j = 0; j < N; ++j) result.v[j] = narrow<T>(sum[j]);
            store_vector(grad_features + pixel * channels + column, result);
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) clear(T* __restrict__ values, std::int64_t count) {
    const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (i < count) values[i] = narrow<T>(0);
}

}  // namespace

std::size_t pool_index_workspace_bytes_cuda(const PoolShape& shape) {
    Workspace workspace;
    PoolIndexScratch(workspace, shape, group_workspace_bytes_cuda(shape.points(), key_layout(shape.points(), shape.cells)));
    return workspace.bytes();
}

Status pool_index_cuda(const std::int64_t* cell, const PoolShape& shape, const PoolIndexOutput& output, void* workspace,
                       std::size_t workspace_bytes, Stream stream) {
    if (!shape.fits()) return Status::bad_argument;
    const std::int64_t points = shape.points();
    const KeyLayout layout = key_layout(points, shape.cells);
    const std::size_t group_bytes = group_workspace_bytes_cuda(points, layout);
    Workspace memory(workspace, workspace_bytes);
    const PoolIndexScratch scratch(memory, shape, group_bytes);
    if (!memory.fits()) return Status::workspace_too_small;

    const unsigned blocks = blocks_for(points, kThreads);
    Status status = launch(mark_cells, blocks, kThreads, 0, stream, cell, shape, layout.index_bits, scratch.packed,
                           output.cell);
    if (status == Status::ok) {
        status = group_cuda(scratch.packed, scratch.spare, points, layout, scratch.runs(shape), scratch.group, group_bytes,
                            stream);
    }
    if (status == Status::ok) {
        status = launch(write_points, blocks, kThreads, 0, stream, scratch.order, shape, output.point, output.pixel);
    }
    if (status != Status::ok) return status;
    return launch(write_offsets, blocks_for(shape.cells + 1, kThreads), kThreads, 0, stream, scratch.keys, scratch.run_offsets,
                  scratch.run_count, shape.cells, output.offsets);
}

std::size_t bev_pool_workspace_bytes_cuda(const PoolShape& shape, std::int64_t channels, std::size_t accumulate_bytes) {
    Workspace workspace;
    if (accumulate_bytes == sizeof(double)) {
        Partials<double>(workspace, shape, channels);
    } else {
        Partials<float>(workspace, shape, channels);
    }
    return workspace.bytes();
}

template <typename T>
Status bev_pool_cuda(const T* features, const T* depth, const PoolIndex& index, const PoolShape& shape, std::int64_t channels,
                     T* out, void* workspace, std::size_t workspace_bytes, Stream stream) {
    if (!shape.fits() || channels < 0 || channels > INT32_MAX) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const Partials<T> partials(memory, shape, channels);
    if (!memory.fits()) return Status::workspace_too_small;
    const Tasks tasks{{index.offsets, shape.cells, kTaskItems}};
    const std::int64_t task_count = PoolTasks::count(shape, kTaskItems);
    const auto work = [&](auto width) {
        constexpr int N = decltype(width)::value;
        const int lanes = static_cast<int>(std::clamp<std::int64_t>(channels / N, 1, kMostLanes));
        const dim3 blocks(blocks_for(task_count, kThreads / lanes), blocks_for(channels, lanes * N));
        const Status status = launch(sum_tasks<T, N>, blocks, kThreads, 0, stream, features, depth, index.point, index.pixel,
                                     tasks, task_count, channels, lanes, partials, out);
        if (status != Status::ok) return status;
        return launch(finish_shared<T, N>, blocks, kThreads, 0, stream, tasks, task_count, channels, lanes, partials, out);
    };
    return with_vectors<T>(channels, work, features, out);
}

template <typename T>
Status bev_pool_backward_cuda(const T* grad_out, const T* features, const T* depth, const std::int32_t* cell,
                              const PoolShape& shape, std::int64_t channels, T* grad_features, T* grad_depth, Stream stream) {
    if (!shape.fits() || channels < 0 || channels > INT32_MAX) return Status::bad_argument;
    if (channels == 0) {
        return launch(clear<T>, blocks_for(shape.points(), kThreads), kThreads, 0, stream, grad_depth, shape.points());
    }
    const auto work = [&](auto width) {
        constexpr int N = decltype(width)::value;
        const auto vectors = static_cast<std::uint64_t>(std::min<std::int64_t>(channels / N, kMostLanes));
        const int lanes = static_cast<int>(std::bit_ceil(vectors));
        return launch(sum_gradients<T, N>, blocks_for(shape.pixels(), kThreads / lanes), kThreads, 0, stream, grad_out, features,
                      depth, cell, shape, channels, lanes, grad_features, grad_depth);
    };
    return with_vectors<T>(channels, work, grad_out, features, grad_features);
}

#define PERCEPTION_INSTANTIATE(T)                                                                                           \
    template Status bev_pool_cuda(const T*, const T*, const PoolIndex&, const PoolShape&, std::int64_t, T*, void*,          \
                                  std::size_t, Stream);                                                                     \
    template Status bev_pool_backward_cuda(const T*, const T*, const T*, const std::int32_t*, const PoolShape&, std::int64_t, \
                                           T*, T*, Stream);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)
PERCEPTION_INSTANTIATE(Half)
PERCEPTION_INSTANTIATE(BFloat16)
#undef PERCEPTION_INSTANTIATE

}  // namespace perception
