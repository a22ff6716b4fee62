#include "window_attention.h"

#include "attention_rows.cuh"
#include "attention_tiles.cuh"

// Half and BFloat16, heads of 8, 16, .. 64 channels, rows that begin at multiples of 16 bytes: tensor-core tiles, below. All
// else: the plain kernels of attention_rows.cuh.
//
// A block of four warps owns 64 rows of one window and one head, 16 rows a warp, in the registers of tile A; the others pass
// by in tiles of 64 rows in shared memory. Logits and shares live in registers only (online softmax; backward from log_sum),
// and the C of one product is the A of the next. The two gradients are the same loop with the roles exchanged, so nothing is
// added in memory and they are deterministic, but for the temperature's: one atomicAdd per warp, in any order.
//
// Traffic per token and head of C channels in 16 bits: forward reads q, k, v and writes out (8 C bytes) and log_sum (4);
// backward reads q, k, v, out, grad_out and writes three gradients (16 C). What more than one block of a window reads should
// come from L2. At 20,000 tokens of 8 x 16 channels: 21 MB forward, 42 MB backward, a floor of 7 and 14 us at 3 TB/s.
//
// Cosine form: rows enter the tiles multiplied by a power of two that brings their length to 1..2, which rounds nothing, and
// the logit is multiplied by the remaining factors in float.
namespace perception {
namespace {

using namespace attention_tiles;

constexpr std::int64_t kMostItems = 0x7fffff00;  // so that positions a tile further are an int
constexpr int kColumns = 32;                     // of the logits that a warp holds at a time, forward
constexpr float kLn2 = 0.6931471805599453f;

// Blocks at a time on a multiprocessor, as registers allow.
template <int kWidth, bool backward>
constexpr int kBlocks = kWidth == 16 ? (backward ? 5 : 6) : kWidth == 32 ? 4 : 2;

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads, kBlocks<kWidth, false>) attention_forward(AttentionTask<T> task) {
    using Tiles = Others<T, kWidth>;
    PERCEPTION_SHARED(Tiles, others);
    constexpr int kSteps = kWidth / 16, kStride = kWidth + 8;
    const int heads = static_cast<int>(task.shape.heads);
    const int item = static_cast<int>(blockIdx.x) / heads, head = static_cast<int>(blockIdx.x) % heads;
    clear_rows(task, item, head, kTile, task.result);
    const BlockRows rows = find_rows(task.windows, task.shape, item, kTile);
    if (rows.first >= rows.end) return;

    const int pair = static_cast<int>(threadIdx.x) % 4 * 2, channels = static_cast<int>(task.shape.channels);
    const bool working = rows.first + static_cast<int>(threadIdx.x) / kWarp * 16 < rows.end;
    const LaneRows lane(task, rows);
    const RowPair<T> own = rows_of(task, head, false);
    const T* row_pointers[2];
    lane.in(own.first, own.first_stride, row_pointers);
    OwnTile<T, kSteps> queries;
    queries.load(row_pointers, channels);
    float lengths[2], factors[2] = {1.0f, 1.0f};
    if (task.input.temperature != nullptr) queries.normalize(lengths, factors);
    for (float& factor : factors) factor *= logit_scale(task, head) * kLog2E;

    float top[2] = {kNothing, kNothing}, total[2] = {0.0f, 0.0f};  // total: this lane's part
    TileC sums[2 * kSteps] = {};
    for (int start = rows.begin; start < rows.end; start += kTile) {
        const int count = std::min(int{kTile}, rows.end - start);
        load_others<T, kWidth, Pass::forward>(others, task, head, start, count);
        __syncthreads();
        for (int from = 0; working && from < count; from += kColumns) {
            TileC logits[kColumns / 8];
            float above[2] = {top[0], top[1]};
#pragma unroll
            for (int column = 0; column < kColumns; column += 16) {
                const int j = from + column;
                if (j >= count) break;
                TileC* const both = logits + column / 8;
                both[0] = both[1] = TileC{};
#pragma unroll
                for (int step = 0; step < kSteps; ++step) {
                    const TileA keys = load_a(&others.first[j][16 * step], kStride);
                    mma_16x8x16<T>(both[0], queries.tile[step], left(keys));
                    mma_16x8x16<T>(both[1], queries.tile[step], right(keys));
                }
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    const int key = j + i / 4 * 8 + pair + i % 2, r = i / 2 % 2;
                    float& logit = both[i / 4].v[i % 4];
                    logit = logit * factors[r] * others.factor[key] + others.bias[key];
                    above[r] = std::max(above[r], logit);
                }
            }
            float shrink[2];
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                above[r] = quad_max(above[r]);
                shrink[r] = exp2f(top[r] - above[r]);
                top[r] = above[r];
                total[r] *= shrink[r];
            }
            for (TileC& sum : sums) {
                for (int i = 0; i < 4; ++i) sum.v[i] *= shrink[i / 2];
            }
#pragma unroll
            for (int column = 0; column < kColumns; column += 16) {
                const int j = from + column;
                if (j >= count) break;
                TileC* const both = logits + column / 8;
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    float& share = both[i / 4].v[i % 4];
                    share = exp2f(share - top[i / 2 % 2]);
                    total[i / 2 % 2] += share;
                }
                const TileA shares = pack_tile<T>(both[0], both[1]);
#pragma unroll
                for (int step = 0; step < kSteps; ++step) {
                    const TileA values = load_a_transposed(&others.second[j][16 * step], kStride);
                    mma_16x8x16<T>(sums[2 * step], shares, left(values));
                    mma_16x8x16<T>(sums[2 * step + 1], shares, right(values));
                }
            }
        }
        __syncthreads();
    }
    if (!working) return;
    for (int r = 0; r < 2; ++r) {
        total[r] = quad_sum(total[r]);
        if (task.log_sum != nullptr && pair == 0 && lane.token[r] >= 0) {
            task.log_sum[lane.token[r] * task.shape.heads + head] = top[r] * kLn2 + logf(total[r]);
        }
    }
    for (TileC& sum : sums) {
        for (int i = 0; i < 4; ++i) sum.v[i] /= total[i / 2];
    }
    T* out_pointers[2];
    lane.in(task.result + head * channels, task.shape.heads * channels, out_pointers);
    store_rows(sums, out_pointers, channels);
}

template <typename T, int kWidth, Pass pass>
__device__ inline void gradient_rows(const AttentionTask<T>& task, const BlockRows& rows, int head,
                                     Others<T, kWidth>& others) {
    constexpr int kSteps = kWidth / 16, kStride = kWidth + 8;
    const int pair = static_cast<int>(threadIdx.x) % 4 * 2, channels = static_cast<int>(task.shape.channels);
    const std::int64_t row = task.shape.heads * channels;
    const bool working = rows.first + static_cast<int>(threadIdx.x) / kWarp * 16 < rows.end;
    const bool cosine = task.input.temperature != nullptr;
    const LaneRows lane(task, rows);
    const RowPair<T> own = rows_of(task, head, pass == Pass::keys);
    const T* row_pointers[2];
    OwnTile<T, kSteps> first, second;
    lane.in(own.first, own.first_stride, row_pointers);
    first.load(row_pointers, channels);
    lane.in(own.second, own.second_stride, row_pointers);
    second.load(row_pointers, channels);

    float bias[2] = {0.0f, 0.0f}, delta[2] = {0.0f, 0.0f};
    if constexpr (pass == Pass::queries) {
        OwnTile<T, kSteps> out;
        lane.in(task.out + head * channels, row, row_pointers);
        out.load(row_pointers, channels);
        second.product(out, delta);
        for (int r = 0; r < 2; ++r) {
            if (lane.token[r] >= 0) bias[r] = -kLog2E * task.log_sum[lane.token[r] * task.shape.heads + head];
        }
    }
    float lengths[2] = {1.0f, 1.0f}, factors[2] = {1.0f, 1.0f};
    if (cosine) first.normalize(lengths, factors);
    const float scale = logit_scale(task, head);
    const float logit_factors[2] = {factors[0] * scale * kLog2E, factors[1] * scale * kLog2E};

    TileC sums_first[2 * kSteps] = {}, sums_second[2 * kSteps] = {};
    for (int start = rows.begin; start < rows.end; start += kTile) {
        const int count = std::min(int{kTile}, rows.end - start);
        load_others<T, kWidth, pass>(others, task, head, start, count);
        __syncthreads();
        for (int j = 0; working && j < count; j += 16) {
            TileC shares[2] = {}, grads[2] = {};
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                const TileA firsts = load_a(&others.first[j][16 * step], kStride);
                mma_16x8x16<T>(shares[0], first.tile[step], left(firsts));
                mma_16x8x16<T>(shares[1], first.tile[step], right(firsts));
                const TileA seconds = load_a(&others.second[j][16 * step], kStride);
                mma_16x8x16<T>(grads[0], second.tile[step], left(seconds));
                mma_16x8x16<T>(grads[1], second.tile[step], right(seconds));
            }
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                const int column = j + i / 4 * 8 + pair + i % 2, r = i / 2 % 2;
                float &share = shares[i / 4].v[i % 4], &grad = grads[i / 4].v[i % 4];
                share = exp2f(share * logit_factors[r] * others.factor[column] + (bias[r] + others.bias[column]));
                grad = share * (grad - (pass == Pass::queries ? delta[r] : others.delta[column])) * others.factor[column];
            }
            const TileA grad_tile = pack_tile<T>(grads[0], grads[1]);
            const TileA share_tile = pack_tile<T>(shares[0], shares[1]);
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                const TileA firsts = load_a_transposed(&others.first[j][16 * step], kStride);
                mma_16x8x16<T>(sums_first[2 * step], grad_tile, left(firsts));
                mma_16x8x16<T>(sums_first[2 * step + 1], grad_tile, right(firsts));
                if constexpr (pass == Pass::keys) {
                    const TileA seconds = load_a_transposed(&others.second[j][16 * step], kStride);
                    mma_16x8x16<T>(sums_second[2 * step], share_tile, left(seconds));
                    mma_16x8x16<T>(sums_second[2 * step + 1], share_tile, right(seconds));
                }
            }
        }
        __syncthreads();
    }
    if (!working) return;

    for (TileC& sum : sums_first) {
        for (float& x : sum.v) x *= scale;
    }
    if (cosine) {
        float along[2] = {0.0f, 0.0f};  // gradient times unit vector; tile A and C have the same owners
#pragma unroll
        for (int i = 0; i < 4 * kSteps; ++i) {
            const std::uint32_t unit = first.tile[i / 4].r[i % 4];
            const float* const sum = sums_first[i / 2].v + i % 2 * 2;
            along[i % 2] += (low<T>(unit) * sum[0] + high<T>(unit) * sum[1]) * factors[i % 2];
        }
        for (float& a : along) a = quad_sum(a);
        if constexpr (pass == Pass::queries) {
            const float all = warp_sum(pair == 0 ? along[0] + along[1] : 0.0f);  // rows past the end are zero
            if (threadIdx.x % kWarp == 0) atomicAdd(task.gradient.temperature + head, -all * scale);
        }
#pragma unroll
        for (int i = 0; i < 4 * kSteps; ++i) {
            const std::uint32_t unit = first.tile[i / 4].r[i % 4];
            float* const sum = sums_first[i / 2].v + i % 2 * 2;
            const float back = lengths[i % 2] > kLeastLength ? along[i % 2] * factors[i % 2] : 0.0f;
            sum[0] = (sum[0] - back * low<T>(unit)) / lengths[i % 2];
            sum[1] = (sum[1] - back * high<T>(unit)) / lengths[i % 2];
        }
    }
    T* grad_pointers[2];
    lane.in((pass == Pass::keys ? task.gradient.k : task.gradient.q) + head * channels, row, grad_pointers);
    store_rows(sums_first, grad_pointers, channels);
    if constexpr (pass == Pass::keys) {
        lane.in(task.gradient.v + head * channels, row, grad_pointers);
        store_rows(sums_second, grad_pointers, channels);
    }
}

// Even blocks: queries. Odd blocks: keys and values.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads, kBlocks<kWidth, true>) attention_backward(AttentionTask<T> task) {
    using Tiles = Others<T, kWidth>;
    PERCEPTION_SHARED(Tiles, others);
    const int heads = static_cast<int>(task.shape.heads), block = static_cast<int>(blockIdx.x) / 2;
    const int item = block / heads, head = block % heads;
    const BlockRows rows = find_rows(task.windows, task.shape, item, kTile);
    if (blockIdx.x % 2 == 0) {
        clear_rows(task, item, head, kTile, task.gradient.q);
        if (rows.first < rows.end) gradient_rows<T, kWidth, Pass::queries>(task, rows, head, others);
    } else {
        clear_rows(task, item, head, kTile, task.gradient.k);
        clear_rows(task, item, head, kTile, task.gradient.v);
        if (rows.first < rows.end) gradient_rows<T, kWidth, Pass::keys>(task, rows, head, others);
    }
}

template <typename T>
bool fits_tiles(const AttentionTask<T>& task) {
    const auto& [input, windows, shape, result, log_sum, grad_out, out, gradient] = task;
    for (const std::int64_t elements : {shape.channels, input.q_stride, input.k_stride, input.v_stride}) {
        if (elements % 8 != 0) return false;
    }
    for (const T* const pointer : {input.q, input.k, input.v, static_cast<const T*>(result), grad_out, out,
                                   static_cast<const T*>(gradient.q), static_cast<const T*>(gradient.k),
                                   static_cast<const T*>(gradient.v)}) {
        if (reinterpret_cast<std::uintptr_t>(pointer) % 16 != 0) return false;
    }
    return sizeof(T) == 2 && shape.channels <= 64;
}

template <typename T>
Status start(const AttentionTask<T>& task, bool backward, Stream stream) {
    const auto& [tokens, windows, heads, channels] = task.shape;
    if (std::min({tokens, windows, heads, channels}) < 0) return Status::bad_argument;
    if (tokens == 0 || heads == 0 || channels == 0) return Status::ok;
    const bool tiles = fits_tiles(task);
    const std::int64_t blocks = attention_items(task.shape, tiles ? kTile : kPlainBlockRows) * heads * (backward ? 2 : 1);
    if (std::max({tokens, windows, heads, blocks}) > kMostItems) return Status::bad_argument;
    const auto grid = static_cast<unsigned>(blocks);
    if constexpr (sizeof(T) == 2) {
        const auto with = [&](auto width) {
            const auto kernel = backward ? attention_backward<T, width> : attention_forward<T, width>;
            return launch(kernel, grid, kThreads, 0, stream, task);
        };
        if (tiles && channels <= 16) return with(std::integral_constant<int, 16>{});
        if (tiles && channels <= 32) return with(std::integral_constant<int, 32>{});
        if (tiles) return with(std::integral_constant<int, 64>{});
    }
    return launch(backward ? plain_attention_backward<T> : plain_attention<T>, grid, kPlainThreads, 0, stream, task);
}

}  // namespace

template <typename T>
Status window_attention_cuda(const AttentionInput<T>& input, const AttentionWindows& windows, const AttentionShape& shape,
                             T* out, Accumulate<T>* log_sum, Stream stream) {
    return start<T>({input, windows, shape, out, log_sum, nullptr, nullptr, {}}, false, stream);
}

template <typename T>
Status window_attention_backward_cuda(const AttentionInput<T>& input, const AttentionWindows& windows,
                                      const AttentionShape& shape, const T* grad_out, const T* out,
                                      const Accumulate<T>* log_sum, const AttentionGradient<T>& gradient, Stream stream) {
    if (input.temperature != nullptr) {
        if (gradient.temperature == nullptr || shape.heads < 0) return Status::bad_argument;
        const std::size_t bytes = static_cast<std::size_t>(shape.heads) * sizeof(Accumulate<T>);
        if (const Status status = fill_bytes(gradient.temperature, 0, bytes, stream); status != Status::ok) return status;
    }
    Accumulate<T>* const read_only = const_cast<Accumulate<T>*>(log_sum);
    return start<T>({input, windows, shape, nullptr, read_only, grad_out, out, gradient}, true, stream);
}

#define PERCEPTION_INSTANTIATE(T)                                                                                       \
    template Status window_attention_cuda(const AttentionInput<T>&, const AttentionWindows&, const AttentionShape&, T*, \
                                          Accumulate<T>*, Stream);                                                      \
    template Status window_attention_backward_cuda(const AttentionInput<T>&, const AttentionWindows&,                   \
                                                   const AttentionShape&, const T*, const T*, const Accumulate<T>*,     \
                                                   const AttentionGradient<T>&, Stream);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)
PERCEPTION_INSTANTIATE(Half)
PERCEPTION_INSTANTIATE(BFloat16)
#undef PERCEPTION_INSTANTIATE

}  // namespace perception
