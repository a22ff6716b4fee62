#include "segment_reduce.h"

#include <algorithm>

#include "cuda_platform.h"
#include "vector.cuh"

// A thread holds one piece (vector) of a row; `lanes` neighbouring threads, a slot, go through the rows of a segment.
// Segments with many rows are left to all slots of the block together.
namespace perception {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 2;  // on a multiprocessor, at least: lets nvcc take the registers it needs
constexpr int kMostLanes = kWarp;
constexpr int kManyRows = 128;
constexpr int kUnroll = 4;  // rows under way at a time in every thread
constexpr std::int64_t kMostBlocks = 1024;  // of those that clear rows

// Where a thread stands in its block.
struct Place {
    int lanes, slots, slot, lane;
    bool working;  // the last threads of a block do not make a slot

    __device__ explicit Place(int lanes_)
        : lanes(lanes_),
          slots(kThreads / lanes_),
          slot(static_cast<int>(threadIdx.x) / lanes_),
          lane(static_cast<int>(threadIdx.x) % lanes_),
          working(slot < slots) {}
};

// The blocks' segments are strewn over all, since neighbours tend to be alike in length.
__device__ inline std::int64_t segment_of(const Place& place) {
    return std::int64_t{place.slot} * gridDim.x + blockIdx.x;
}

// Calls work(row, i) for i = start, start + step, ... below `rows`, with the row order[i] of values.
template <typename T, int N, typename Work>
__device__ inline void for_rows(const T* values, int channels, const std::int64_t* order, int start, int rows,
                                int step, const Work& work) {
    for (int i = start; i < rows; i += kUnroll * step) {
        Vector<T, N> row[kUnroll];
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) {
            if (i + k * step < rows) row[k] = load_vector<T, N>(values + order[i + k * step] * channels);
        }
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) {
            if (i + k * step < rows) work(row[k], i + k * step);
        }
    }
}

// What a sum or its gradient is multiplied by.
template <typename A>
__device__ inline A factor_of(int rows, bool mean) {
    return mean && rows > 0 ? A{1} / static_cast<A>(rows) : A{1};
}

// Sum or maximum of some rows, one vector wide.
template <typename T, int N, bool kMax>
struct Partial {
    using A = Accumulate<T>;
    A v[N];

    __device__ void clear(bool empty) {  // the maximum of no rows is 0
        for (int j = 0; j < N; ++j) v[j] = kMax && !empty ? -static_cast<A>(HUGE_VAL) : A{0};
    }
    __device__ void add(int j, A value) {
        if constexpr (kMax) {
            v[j] = exceeds(value, v[j]) ? value : v[j];
        } else {
            v[j] += value;
        }
    }
    __device__ void add_rows(const T* values, int channels, const std::int64_t* order, int start, int rows,
                             int step) {
        for_rows<T, N>(values, channels, order, start, rows, step, [this](const Vector<T, N>& row, int) {
            for (int j = 0; j < N; ++j) add(j, widen(row.v[j]));
        });
    }
    __device__ void write(A factor, T* out) const {
        Vector<T, N> result;
        for (int j = 0; j < N; ++j) result.v[j] = narrow<T>(v[j] * factor);
        store_vector(out, result);
    }
};

template <typename T, int N, bool kMax>
__global__ void __launch_bounds__(kThreads, kBlocks) reduce_segments(const T* __restrict__ values,  // [rows, channels]
                                                            int channels, Segments segments, bool mean,
                                                            T* __restrict__ out,  // [segments, channels]
                                                            int lanes) {
    using P = Partial<T, N, kMax>;
    PERCEPTION_SHARED(P, partials, [kThreads]);
    PERCEPTION_SHARED(std::int64_t, long_segments, [kThreads]);
    PERCEPTION_SHARED(int, long_count, [1]);
    const Place place(lanes);
    const int first_column = place.lane * N;
    if (threadIdx.x == 0) long_count[0] = 0;
    __syncthreads();

    P partial;
    const std::int64_t own = segment_of(place);
    if (place.working && own < segments.count) {
        const std::int64_t* const order = segments.order + segments.offsets[own];
        const int rows = static_cast<int>(segments.offsets[own + 1] - segments.offsets[own]);
        if (rows > kManyRows) {
            if (place.lane == 0) long_segments[atomicAdd(long_count, 1)] = own;
        } else {
            const auto factor = factor_of<Accumulate<T>>(rows, mean);
            for (int column = first_column; column < channels; column += lanes * N) {
                partial.clear(rows == 0);
                partial.add_rows(values + column, channels, order, 0, rows, 1);
                partial.write(factor, out + own * channels + column);
            }
        }
    }
    __syncthreads();

    for (int k = 0; k < long_count[0]; ++k) {
        const std::int64_t s = long_segments[k];
        const std::int64_t* const order = segments.order + segments.offsets[s];
        const int rows = static_cast<int>(segments.offsets[s + 1] - segments.offsets[s]);
        const auto factor = factor_of<Accumulate<T>>(rows, mean);
        for (int base = 0; base < channels; base += lanes * N) {
            const int column = base + first_column;
            const bool inside = place.working && column < channels;
            partial.clear(false);
            if (inside) {
                partial.add_rows(values + column, channels, order, place.slot, rows, place.slots);
                partials[threadIdx.x] = partial;
            }
            __syncthreads();
            if (inside && place.slot == 0) {
                for (int slot = 1; slot < place.slots; ++slot) {
                    for (int j = 0; j < N; ++j) partial.add(j, partials[slot * lanes + place.lane].v[j]);
                }
                partial.write(factor, out + s * channels + column);
            }
            __syncthreads();
        }
    }
}

// For each of N channels, the first row that attains the maximum, counted from the segment's first.
template <int N>
struct FirstRows {
    int v[N];
};

template <typename T, int N>
__device__ inline FirstRows<N> find_first(const T* values, const Vector<T, N>& best, int channels,
                                          const std::int64_t* order, int start, int rows, int step) {
    FirstRows<N> first;
    for (int j = 0; j < N; ++j) first.v[j] = INT32_MAX;
    for_rows<T, N>(values, channels, order, start, rows, step, [&](const Vector<T, N>& row, int i) {
        for (int j = 0; j < N; ++j) {
            if (first.v[j] == INT32_MAX && attains(widen(row.v[j]), widen(best.v[j]))) first.v[j] = i;
        }
    });
    return first;
}

// Writes grad to every row, or, for a maximum, grad to the first rows and 0 to the others.
template <typename T, int N, bool kMax>
__device__ inline void write_gradient(const Vector<T, N>& grad, const FirstRows<N>& first, int channels,
                                      const std::int64_t* order, int start, int rows, int step, T* grad_values) {
    for (int i = start; i < rows; i += kUnroll * step) {
        std::int64_t row[kUnroll];
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) row[k] = i + k * step < rows ? order[i + k * step] : 0;
#pragma unroll
        for (int k = 0; k < kUnroll; ++k) {
            if (i + k * step >= rows) continue;
            Vector<T, N> result = grad;
            if constexpr (kMax) {
                for (int j = 0; j < N; ++j) result.v[j] = first.v[j] == i + k * step ? grad.v[j] : narrow<T>(0);
            }
            store_vector(grad_values + row[k] * channels, result);
        }
    }
}

template <typename T, int N, bool kMax>
__global__ void __launch_bounds__(kThreads, kBlocks) spread_segments(const T* __restrict__ grad,    // [segments, channels]
                                                            const T* __restrict__ values,  // [rows, channels]
                                                            const T* __restrict__ out,     // [segments, channels]
                                                            int channels, Segments segments, bool mean,
                                                            T* __restrict__ grad_values,  // [rows, channels]
                                                            int lanes) {
    PERCEPTION_SHARED(FirstRows<N>, firsts, [kThreads]);
    PERCEPTION_SHARED(std::int64_t, long_segments, [kThreads]);
    PERCEPTION_SHARED(int, long_count, [1]);
    const Place place(lanes);
    const int first_column = place.lane * N;
    if (threadIdx.x == 0) long_count[0] = 0;
    __syncthreads();

    const auto load_grad = [&](std::int64_t s, int column, Accumulate<T> factor) {
        Vector<T, N> result = load_vector<T, N>(grad + s * channels + column);
        for (int j = 0; j < N; ++j) result.v[j] = narrow<T>(widen(result.v[j]) * factor);
        return result;
    };
    const std::int64_t own = segment_of(place);
    if (place.working && own < segments.count) {
        const std::int64_t* const order = segments.order + segments.offsets[own];
        const int rows = static_cast<int>(segments.offsets[own + 1] - segments.offsets[own]);
        if (rows > kManyRows) {
            if (place.lane == 0) long_segments[atomicAdd(long_count, 1)] = own;
        } else {
            const auto factor = factor_of<Accumulate<T>>(rows, mean);
            for (int column = first_column; column < channels; column += lanes * N) {
                FirstRows<N> first{};
                if constexpr (kMax) {
                    const Vector<T, N> best = load_vector<T, N>(out + own * channels + column);
                    first = find_first(values + column, best, channels, order, 0, rows, 1);
                }
                write_gradient<T, N, kMax>(load_grad(own, column, factor), first, channels, order, 0, rows, 1,
                                           grad_values + column);
            }
        }
    }
    __syncthreads();

    for (int k = 0; k < long_count[0]; ++k) {
        const std::int64_t s = long_segments[k];
        const std::int64_t* const order = segments.order + segments.offsets[s];
        const int rows = static_cast<int>(segments.offsets[s + 1] - segments.offsets[s]);
        const auto factor = factor_of<Accumulate<T>>(rows, mean);
        for (int base = 0; base < channels; base += lanes * N) {
            const int column = base + first_column;
            const bool inside = place.working && column < channels;
            FirstRows<N> first{};
            if constexpr (kMax) {
                if (inside) {
                    const Vector<T, N> best = load_vector<T, N>(out + s * channels + column);
                    firsts[threadIdx.x] = find_first(values + column, best, channels, order, place.slot, rows, place.slots);
                }
                __syncthreads();
                if (inside) {
                    first = firsts[place.lane];
                    for (int slot = 1; slot < place.slots; ++slot) {
                        for (int j = 0; j < N; ++j) {
                            const int other = firsts[slot * lanes + place.lane].v[j];
                            first.v[j] = other < first.v[j] ? other : first.v[j];
                        }
                    }
                }
                __syncthreads();
            }
            if (inside) {
                write_gradient<T, N, kMax>(load_grad(s, column, factor), first, channels, order, place.slot,
                                           rows, place.slots, grad_values + column);
            }
        }
    }
}

// Rows in no segment.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads) clear_rows(int channels, Segments segments,
                                                       T* __restrict__ grad_values,  // [rows, channels]
                                                       int lanes) {
    const Place place(lanes);
    if (!place.working) return;
    const std::int64_t first = segments.offsets[segments.count] + std::int64_t{blockIdx.x} * place.slots + place.slot;
    for (std::int64_t i = first; i < segments.rows; i += std::int64_t{gridDim.x} * place.slots) {
        T* const row = grad_values + segments.order[i] * channels;
        for (int column = place.lane * N; column < channels; column += lanes * N) {
            store_vector(row + column, Vector<T, N>{});
        }
    }
}

// Threads side by side on one row, and blocks so that every row or segment has a slot.
int lanes_for(std::int64_t channels, int width) {
    return static_cast<int>(std::min<std::int64_t>(channels / width, kMostLanes));
}
unsigned grid_for(std::int64_t count, int lanes) { return blocks_for(count, kThreads / lanes); }

}  // namespace

template <typename T>
Status segment_reduce_cuda(const T* values, std::int64_t channels, const Segments& segments, Reduction reduction, T* out,
                           Stream stream) {
    if (channels < 0 || channels > INT32_MAX || segments.count < 0 || segments.rows > INT32_MAX) return Status::bad_argument;
    if (channels == 0) return Status::ok;
    const auto work = [&](auto width) {
        constexpr int N = decltype(width)::value;
        const int lanes = lanes_for(channels, N);
        const auto kernel = reduction == Reduction::max ? reduce_segments<T, N, true> : reduce_segments<T, N, false>;
        return launch(kernel, grid_for(segments.count, lanes), kThreads, 0, stream, values, channels, segments,
                      reduction == Reduction::mean, out, lanes);
    };
    return with_vectors<T>(channels, work, values, out);
}

template <typename T>
Status segment_reduce_backward_cuda(const T* grad, const T* values, const T* out, std::int64_t channels,
                                    const Segments& segments, Reduction reduction, T* grad_values, Stream stream) {
    if (channels < 0 || channels > INT32_MAX || segments.count < 0 || segments.rows > INT32_MAX) return Status::bad_argument;
    if (channels == 0) return Status::ok;
    const auto work = [&](auto width) {
        constexpr int N = decltype(width)::value;
        const int lanes = lanes_for(channels, N);
        const auto kernel = reduction == Reduction::max ? spread_segments<T, N, true> : spread_segments<T, N, false>;
        const Status status = launch(kernel, grid_for(segments.count, lanes), kThreads, 0, stream, grad, values, out,
                                     channels, segments, reduction == Reduction::mean, grad_values, lanes);
        if (status != Status::ok) return status;
        const unsigned blocks = grid_for(std::min(segments.rows, kMostBlocks * (kThreads / lanes)), lanes);
        return launch(clear_rows<T, N>, blocks, kThreads, 0, stream, channels, segments, grad_values, lanes);
    };
    return with_vectors<T>(channels, work, grad, values, out, grad_values);
}

#define PERCEPTION_INSTANTIATE(T)                                                                                         \
    template Status segment_reduce_cuda(const T*, std::int64_t, const Segments&, Reduction, T*, Stream);                  \
    template Status segment_reduce_backward_cuda(const T*, const T*, const T*, std::int64_t, const Segments&, Reduction, \
                                                 T*, Stream);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)
PERCEPTION_INSTANTIATE(Half)
PERCEPTION_INSTANTIATE(BFloat16)
#undef PERCEPTION_INSTANTIATE

}  // namespace perception
