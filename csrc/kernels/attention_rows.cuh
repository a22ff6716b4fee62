// Window attention on the GPU: what the kernels share, and the plain kernels for every type and head width.
//
// A block owns some rows of one window and one head: queries (forward and their gradient) or keys and values (their
// gradient). The rows that they meet, the "others", pass by in tiles. So every result has one writer.
#pragma once

#include <algorithm>

#include "cuda_platform.h"
#include "window_attention.h"

namespace perception {

enum class Pass { forward, queries, keys };  // `queries` and `keys`: whose gradient

template <typename T>
struct AttentionTask {
    AttentionInput<T> input;
    AttentionWindows windows;
    AttentionShape shape;
    T* result;               // forward
    Accumulate<T>* log_sum;  // written forward, where not null; read backward
    const T* grad_out;       // backward
    const T* out;            // backward
    AttentionGradient<T> gradient;
};

// Two rows of a token for one head.
template <typename T>
struct RowPair {
    const T* first;   // of token 0
    const T* second;
    std::int64_t first_stride, second_stride;
};

// Queries and gradients of out (null forward), or keys and values.
template <typename T>
__device__ inline RowPair<T> rows_of(const AttentionTask<T>& task, int head, bool keys) {
    const std::int64_t at = head * task.shape.channels;
    if (keys) return {task.input.k + at, task.input.v + at, task.input.k_stride, task.input.v_stride};
    const T* const grad_out = task.grad_out == nullptr ? nullptr : task.grad_out + at;
    return {task.input.q + at, grad_out, task.input.q_stride, task.shape.heads * task.shape.channels};
}

template <typename T>
__device__ inline Accumulate<T> logit_scale(const AttentionTask<T>& task, int head) {
    return task.input.temperature == nullptr ? task.input.scale : Accumulate<T>{1} / task.input.temperature[head];
}

// Positions in `order`: the block owns first.. of the window begin..end; none where first == end.
struct BlockRows {
    int begin, end, first;
};

// Items of work of one head, `rows` owned rows each. Item ceil(tokens / rows) + w is the beginning of window w. Its other
// items begin rows, 2 rows, ... further on; of all these places in all windows at most one is among the positions rows * i
// to rows * (i + 1), and item i is the one there. Tokens in no window are cleared by the item i of their position.
PERCEPTION_HD inline std::int64_t attention_items(const AttentionShape& shape, int rows) {
    return ceil_div(shape.tokens, rows) + shape.windows;
}

__device__ inline BlockRows find_rows(const AttentionWindows& windows, const AttentionShape& shape, int item, int rows) {
    const int buckets = static_cast<int>(ceil_div(shape.tokens, rows));
    const auto offset = [&](int window) { return static_cast<int>(windows.offsets[window]); };
    if (item >= buckets) return {offset(item - buckets), offset(item - buckets + 1), offset(item - buckets)};
    const int position = item * rows;
    if (position >= windows.offsets[shape.windows]) return {0, 0, 0};
    int low = 0, high = static_cast<int>(shape.windows);  // the window of `position` is in low..high
    while (high - low > 1) {
        const int middle = low + (high - low) / 2;
        (offset(middle) <= position ? low : high) = middle;
    }
    const int begin = offset(low), end = offset(low + 1);
    const int first = begin + static_cast<int>(ceil_div(position - begin, rows)) * rows;
    return {begin, end, first == begin ? end : std::min(first, end)};
}

// Zeros for the tokens in no window among the positions of this item.
template <typename T>
__device__ inline void clear_rows(const AttentionTask<T>& task, int item, int head, int rows, T* target) {
    const auto& [tokens, windows, heads, channels] = task.shape;
    const std::int64_t start = std::max(task.windows.offsets[windows], std::int64_t{item} * rows);
    const std::int64_t elements = (std::min(tokens, (item + std::int64_t{1}) * rows) - start) * channels;
    for (std::int64_t i = threadIdx.x; i < elements; i += blockDim.x) {
        target[(task.windows.order[start + i / channels] * heads + head) * channels + i % channels] = narrow<T>(0);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Plain kernels. For the logits a lane stands for one of 32 others, for the sums for one of 32 channels; a warp owns a few
// rows, so that what it reads from shared memory serves all of them. Wider heads take one round per 32 channels of the
// result, each with all logits anew; the channels of a round come last in its logits, and so are still there for its sums.

constexpr int kPlainThreads = 128;
constexpr int kPlainWarps = kPlainThreads / kWarp;

constexpr int kPlainRows = 4;  // of a warp
constexpr int kPlainBlockRows = kPlainRows * kPlainWarps;

template <typename A>
struct alignas(16) PlainShared {
    A first[kWarp][kWarp + 1], second[kWarp][kWarp + 1], out[kWarp][kWarp + 1];                     // others, channels
    A own_first[kPlainWarps][kWarp][kPlainRows], own_second[kPlainWarps][kWarp][kPlainRows];        // channels, rows
    A weight_first[kPlainWarps][kWarp][kPlainRows], weight_second[kPlainWarps][kWarp][kPlainRows];  // others, rows
};

// x.y of two rows, by a whole warp.
template <typename T>
__device__ inline Accumulate<T> row_product(const T* x, const T* y, std::int64_t channels) {
    Accumulate<T> sum = 0;
    for (std::int64_t c = threadIdx.x % kWarp; c < channels; c += kWarp) sum += widen(x[c]) * widen(y[c]);
    return warp_sum(sum);
}

template <typename A>
__device__ inline A length_of(A square) {
    return std::max(static_cast<A>(std::sqrt(square)), A{kLeastLength});
}

template <typename T, Pass pass>
__device__ inline void plain_rows(const AttentionTask<T>& task, const BlockRows& rows, int head,
                                  PlainShared<Accumulate<T>>& shared) {
    using A = Accumulate<T>;
    constexpr bool kBackward = pass != Pass::forward;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const std::int64_t heads = task.shape.heads, channels = task.shape.channels, rounds = ceil_div(channels, kWarp);
    const bool cosine = task.input.temperature != nullptr;
    const RowPair<T> own = rows_of(task, head, pass == Pass::keys), others = rows_of(task, head, pass != Pass::keys);
    const A scale = logit_scale(task, head);
    const bool working = rows.first + warp * kPlainRows < rows.end;  // this warp owns rows

    std::int64_t token[kPlainRows];  // -1 past the end
    A length[kPlainRows], log_sum[kPlainRows], delta[kPlainRows];
#pragma unroll
    for (int r = 0; r < kPlainRows; ++r) {
        const int position = rows.first + warp * kPlainRows + r;
        token[r] = position < rows.end ? task.windows.order[position] : -1;
        length[r] = 1;
        log_sum[r] = delta[r] = 0;
        if (token[r] < 0) continue;
        const T* const row = own.first + token[r] * own.first_stride;
        if (cosine) length[r] = length_of(row_product(row, row, channels));
        if (pass == Pass::queries) {
            const std::int64_t at = token[r] * heads + head;
            log_sum[r] = task.log_sum[at];
            delta[r] = row_product(task.grad_out + at * channels, task.out + at * channels, channels);
        }
    }

    for (std::int64_t round = 0; round < rounds; ++round) {
        A sum_first[kPlainRows] = {}, sum_second[kPlainRows] = {};  // of channel 32 * round + lane
        A along[kPlainRows] = {};                   // this lane's part of the gradient along a row
        A top[kPlainRows], total[kPlainRows] = {};  // the largest logit; this lane's part of the sum of the shares
        for (A& t : top) t = -HUGE_VAL;
        for (int start = rows.begin; start < rows.end; start += kWarp) {
            const int count = std::min(int{kWarp}, rows.end - start);
            A product[kPlainRows] = {}, grad_share[kPlainRows] = {};
            A square = 0, other_delta = 0;  // of the other that this lane stands for
            for (std::int64_t step = 1; step <= rounds; ++step) {
                const std::int64_t channel = (round + step) % rounds * kWarp;
                const int width = static_cast<int>(std::min<std::int64_t>(kWarp, channels - channel));
                const bool last = step == rounds;
                __syncthreads();
                for (int j = warp; j < kWarp; j += kPlainWarps) {
                    const std::int64_t t = j < count ? task.windows.order[start + j] : 0;
                    const bool real = j < count && lane < width;
                    shared.first[j][lane] = real ? widen(others.first[t * others.first_stride + channel + lane]) : A{0};
                    if (kBackward || last) {
                        const T* const second = others.second + t * others.second_stride + channel;
                        shared.second[j][lane] = real ? widen(second[lane]) : A{0};
                    }
                    if (pass == Pass::keys) {
                        const T* const out = task.out + (t * heads + head) * channels + channel;
                        shared.out[j][lane] = real ? widen(out[lane]) : A{0};
                    }
                }
#pragma unroll
                for (int r = 0; r < kPlainRows; ++r) {
                    const bool real = token[r] >= 0 && lane < width;
                    shared.own_first[warp][lane][r] =
                        real ? widen(own.first[token[r] * own.first_stride + channel + lane]) / length[r] : A{0};
                    if (kBackward) {
                        shared.own_second[warp][lane][r] =
                            real ? widen(own.second[token[r] * own.second_stride + channel + lane]) : A{0};
                    }
                }
                __syncthreads();
#pragma unroll 2
                for (int c = 0; working && c < width; ++c) {
                    const A first = shared.first[lane][c], second = kBackward ? shared.second[lane][c] : A{0};
                    if (cosine) square += first * first;
                    if (pass == Pass::keys) other_delta += second * shared.out[lane][c];
#pragma unroll
                    for (int r = 0; r < kPlainRows; ++r) {
                        product[r] += shared.own_first[warp][c][r] * first;
                        if (kBackward) grad_share[r] += shared.own_second[warp][c][r] * second;
                    }
                }
            }

            const bool real = lane < count;
            const A inverse = cosine ? 1 / length_of(square) : A{1};
            const A other_log_sum =
                pass == Pass::keys && real ? task.log_sum[task.windows.order[start + lane] * heads + head] : A{0};
#pragma unroll
            for (int r = 0; r < kPlainRows; ++r) {
                if (token[r] < 0) continue;  // and what its weights are does not matter
                const A logit = real ? product[r] * inverse * scale : A(-HUGE_VAL);
                if constexpr (kBackward) {
                    const A share = real ? std::exp(logit - log_sum[r] - other_log_sum) : A{0};
                    const A grad_logit = real ? share * (grad_share[r] - delta[r] - other_delta) : A{0};
                    along[r] += real ? grad_logit * logit : A{0};
                    shared.weight_first[warp][lane][r] = grad_logit * inverse;
                    shared.weight_second[warp][lane][r] = share;
                } else {
                    const A high = std::max(top[r], warp_max(logit));
                    const A share = real ? std::exp(logit - high) : A{0}, shrink = std::exp(top[r] - high);
                    total[r] = total[r] * shrink + share;
                    sum_second[r] *= shrink;
                    top[r] = high;
                    shared.weight_second[warp][lane][r] = share;
                }
            }
            __syncwarp();
#pragma unroll 2
            for (int j = 0; working && j < count; ++j) {
                const A first = shared.first[j][lane], second = shared.second[j][lane];
#pragma unroll
                for (int r = 0; r < kPlainRows; ++r) {
                    if (kBackward) sum_first[r] += shared.weight_first[warp][j][r] * first;
                    if (pass != Pass::queries) sum_second[r] += shared.weight_second[warp][j][r] * second;
                }
            }
        }

        const std::int64_t channel = round * kWarp + lane;
        A along_all = 0;
#pragma unroll
        for (int r = 0; r < kPlainRows; ++r) {
            if (token[r] < 0) continue;
            const std::int64_t row = (token[r] * heads + head) * channels;
            const A all = kBackward && cosine ? warp_sum(along[r]) : A{0};
            const A share_sum = kBackward ? A{1} : warp_sum(total[r]);
            along_all += all;
            if (pass == Pass::forward && round == 0 && lane == 0 && task.log_sum != nullptr) {
                task.log_sum[token[r] * heads + head] = top[r] + std::log(share_sum);
            }
            if (channel >= channels) continue;
            if constexpr (kBackward) {
                A grad = sum_first[r] * scale;
                if (cosine) {
                    const A unit = widen(own.first[token[r] * own.first_stride + channel]) / length[r];
                    grad = (grad - (length[r] > A{kLeastLength} ? all * unit : A{0})) / length[r];
                }
                (pass == Pass::keys ? task.gradient.k : task.gradient.q)[row + channel] = narrow<T>(grad);
                if (pass == Pass::keys) task.gradient.v[row + channel] = narrow<T>(sum_second[r]);
            } else {
                task.result[row + channel] = narrow<T>(sum_second[r] / share_sum);
            }
        }
        if (pass == Pass::queries && cosine && round == 0 && lane == 0) {
            atomicAdd(task.gradient.temperature + head, -along_all * scale);
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(kPlainThreads, 3) plain_attention(AttentionTask<T> task) {
    using Shared = PlainShared<Accumulate<T>>;
    PERCEPTION_SHARED(Shared, shared);
    const int heads = static_cast<int>(task.shape.heads);
    const int item = static_cast<int>(blockIdx.x) / heads, head = static_cast<int>(blockIdx.x) % heads;
    clear_rows(task, item, head, kPlainBlockRows, task.result);
    const BlockRows rows = find_rows(task.windows, task.shape, item, kPlainBlockRows);
    if (rows.first < rows.end) plain_rows<T, Pass::forward>(task, rows, head, shared);
}

// Even blocks: queries. Odd blocks: keys and values.
template <typename T>
__global__ void __launch_bounds__(kPlainThreads, 3) plain_attention_backward(AttentionTask<T> task) {
    using Shared = PlainShared<Accumulate<T>>;
    PERCEPTION_SHARED(Shared, shared);
    const int heads = static_cast<int>(task.shape.heads), block = static_cast<int>(blockIdx.x) / 2;
    const int item = block / heads, head = block % heads;
    const BlockRows rows = find_rows(task.windows, task.shape, item, kPlainBlockRows);
    if (blockIdx.x % 2 == 0) {
        clear_rows(task, item, head, kPlainBlockRows, task.gradient.q);
        if (rows.first < rows.end) plain_rows<T, Pass::queries>(task, rows, head, shared);
    } else {
        clear_rows(task, item, head, kPlainBlockRows, task.gradient.k);
        clear_rows(task, item, head, kPlainBlockRows, task.gradient.v);
        if (rows.first < rows.end) plain_rows<T, Pass::keys>(task, rows, head, shared);
    }
}

}  // namespace perception
