// A vector's lanes are tokens: 16 queries (8 in double) are scored against one key after the other, so softmax and sums need
// no reduction across lanes and windows of any size no mask. Both products of attention, and all seven of its gradients,
// are then the same product of packed rows, read one number at a time, with packed lanes.
#include "window_attention.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lanes.h"

namespace perception {
namespace {

constexpr std::int64_t kTile = 144;  // tokens packed at a time: a full window of 12 x 12, and still the first-level cache
constexpr std::int64_t kRows = 8;    // rows multiplied at a time: as many sums in flight hide the latency of one

template <typename A>
constexpr std::int64_t kBlocks = kTile / kLanes<A>;  // vectors that hold a tile's tokens

// Calls write(token, first channel, values, number of values) for tokens that lie across the lanes, `depth` vectors a block.
template <typename A, typename Write>
void for_rows(const Lanes<A>* lanes, std::int64_t count, std::int64_t channels, std::int64_t depth, const Write& write) {
    constexpr std::int64_t size = kLanes<A>;
    Lanes<A> square[size];
    for (std::int64_t i = 0; i < count; i += size) {
        for (std::int64_t c = 0; c < channels; c += size) {
            transpose<A>(lanes + i / size * depth + c, square);
            for (std::int64_t r = 0; r < std::min(size, count - i); ++r) {
                write(i + r, c, square[r], std::min(size, channels - c));
            }
        }
    }
}

// out[r] (+)= sum over i < depth of rows[r * row_step + i * depth_step] * lanes[i], for r < ceil(count / kRows) * kRows.
template <bool kAdd, typename A>
void multiply(const A* rows, std::int64_t row_step, std::int64_t depth_step, const Lanes<A>* lanes, std::int64_t depth,
              Lanes<A>* out, std::int64_t count) {
    for (std::int64_t first = 0; first < count; first += kRows) {
        Lanes<A> sum[kRows] = {};
        for (std::int64_t i = 0; i < depth; ++i) {
            const A* column = rows + first * row_step + i * depth_step;
#pragma GCC unroll 8
            for (std::int64_t r = 0; r < kRows; ++r) sum[r] += column[r * row_step] * lanes[i];
        }
#pragma GCC unroll 8
        for (std::int64_t r = 0; r < kRows; ++r) out[first + r] = kAdd ? out[first + r] + sum[r] : sum[r];
    }
}

// One head of q, k, v or a gradient, with what its rows are multiplied by.
template <typename T>
struct Head {
    using A = Accumulate<T>;
    const T* data;
    std::int64_t stride, channels;
    A constant = 1;
    bool normalise = false;  // divide by the row's length too

    const T* row(std::int64_t token) const { return data + token * stride; }
    A length(const T* row) const {
        A sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t c = 0; c < channels; ++c) sum += widen(row[c]) * widen(row[c]);
        return std::sqrt(sum);
    }
    A factor(const T* row) const {
        return normalise ? constant / std::max(length(row), static_cast<A>(kLeastLength)) : constant;
    }
    void pack_rows(const std::int64_t* tokens, std::int64_t count, std::int64_t width, A* tile) const {
        for (std::int64_t i = 0; i < count; ++i) {
            const T* source = row(tokens[i]);
            __builtin_prefetch(source + channels);  // this thread's next head
            const A by = factor(source);
            for (std::int64_t c = 0; c < channels; c += kLanes<A>) {
                store<A>(by * load(source + c, channels - c), channels - c, tile + i * width + c);
            }
        }
    }
    // Tokens across the lanes, zeros in the lanes that are left; channel c of block b at lanes[b * depth + c].
    void pack_lanes(const std::int64_t* tokens, std::int64_t count, std::int64_t depth, Lanes<A>* lanes) const {
        constexpr std::int64_t size = kLanes<A>;
        Lanes<A> square[size];
        for (std::int64_t i = 0; i < count; i += size) {
            for (std::int64_t c = 0; c < channels; c += size) {
                for (std::int64_t r = 0; r < size; ++r) {
                    if (i + r < count) {
                        const T* source = row(tokens[i + r]);
                        __builtin_prefetch(source + channels);
                        square[r] = factor(source) * load(source + c, channels - c);
                    } else {
                        square[r] = Lanes<A>{};
                    }
                }
                transpose<A>(square, lanes + i / size * depth + c);
            }
        }
    }
};

// The tokens at positions [begin, end) of the order attend to those of their window, or are attended to by them.
struct Chunk {
    std::int64_t begin, end;
    std::int64_t window_begin, window_end;
};

// A thread's memory. `x` and `y` are k and v, or q and the gradient of the output.
template <typename A>
struct Scratch {
    std::int64_t width, depth;     // channels, up to a multiple of kRows and of kLanes
    A *rows_x, *rows_y;            // [kTile,width]
    A *row_log_sum, *row_delta;    // [kTile]
    Lanes<A> *lanes_x, *lanes_y;   // [kBlocks,depth]
    Lanes<A> *sum_x, *sum_y;       // [kBlocks,depth]
    Lanes<A> *lane_a, *lane_b;     // [kBlocks] largest logit and sum so far; or log of the sum and delta
    Lanes<A> *logits, *gradients;  // [kTile]

    Scratch(Workspace& workspace, std::int64_t channels)
        : width(round_up(channels, kRows)),
          depth(round_up(channels, std::max(kRows, kLanes<A>))),
          rows_x(workspace.take<A>(kTile * width)),
          rows_y(workspace.take<A>(kTile * width)),
          row_log_sum(workspace.take<A>(kTile)),
          row_delta(workspace.take<A>(kTile)),
          lanes_x(workspace.take<Lanes<A>>(kBlocks<A> * depth)),
          lanes_y(workspace.take<Lanes<A>>(kBlocks<A> * depth)),
          sum_x(workspace.take<Lanes<A>>(kBlocks<A> * depth)),
          sum_y(workspace.take<Lanes<A>>(kBlocks<A> * depth)),
          lane_a(workspace.take<Lanes<A>>(kBlocks<A>)),
          lane_b(workspace.take<Lanes<A>>(kBlocks<A>)),
          logits(workspace.take<Lanes<A>>(kTile)),
          gradients(workspace.take<Lanes<A>>(kTile)) {}

    // What rounds up a tile is computed with too, and the result ignored: it only has to be a number.
    void clear() const {
        for (A* rows : {rows_x, rows_y}) std::fill_n(rows, kTile * width, A{0});
        for (Lanes<A>* sums : {sum_x, sum_y}) std::fill_n(sums, kBlocks<A> * depth, Lanes<A>{});
    }
};

template <typename A>
struct Layout {
    Chunk* chunks;            // [most_chunks]
    A* temperature_parts;     // [most_chunks,heads]
    Workspace thread_memory;  // what is left, for the threads

    static std::int64_t most_chunks(const AttentionShape& shape) { return shape.windows + shape.tokens / kTile; }
    Layout(Workspace& workspace, const AttentionShape& shape, int threads)
        : chunks(workspace.take<Chunk>(most_chunks(shape))),
          temperature_parts(workspace.take<A>(most_chunks(shape) * shape.heads)),
          thread_memory(workspace) {
        for (int i = 0; i < threads; ++i) Scratch<A>(workspace, shape.channels);
    }
    Scratch<A> own_scratch(std::int64_t channels) const {
        Workspace memory = thread_memory;
        for (int i = 0; i < omp_get_thread_num(); ++i) Scratch<A>(memory, channels);
        const Scratch<A> scratch(memory, channels);
        scratch.clear();
        return scratch;
    }
};

bool usable(const AttentionWindows& windows, const AttentionShape& shape) {
    if (shape.tokens < 0 || shape.windows < 0 || shape.heads < 0 || shape.channels < 0) return false;
    if (windows.offsets[0] != 0 || windows.offsets[shape.windows] > shape.tokens) return false;
    if (!std::is_sorted(windows.offsets, windows.offsets + shape.windows + 1)) return false;
    return std::all_of(windows.order, windows.order + shape.tokens,
                       [&](std::int64_t token) { return token >= 0 && token < shape.tokens; });
}

// Cuts the windows into chunks of at most a tile; returns their number.
std::int64_t cut_windows(const AttentionWindows& windows, std::int64_t count, Chunk* chunks) {
    Chunk* next = chunks;
    for (std::int64_t w = 0; w < count; ++w) {
        const std::int64_t begin = windows.offsets[w], end = windows.offsets[w + 1];
        for (std::int64_t i = begin; i < end; i += kTile) *next++ = {i, std::min(i + kTile, end), begin, end};
    }
    return next - chunks;
}

template <typename T>
void clear_tokens_without_window(T* values, const AttentionWindows& windows, const AttentionShape& shape) {
    for (std::int64_t i = windows.offsets[shape.windows]; i < shape.tokens; ++i) {
        std::fill_n(values + windows.order[i] * shape.heads * shape.channels, shape.heads * shape.channels, narrow<T>(0));
    }
}

template <typename T>
struct Problem {
    using A = Accumulate<T>;
    const AttentionInput<T>& input;
    const AttentionWindows& windows;
    const AttentionShape& shape;

    bool cosine() const { return input.temperature != nullptr; }
    Head<T> q(std::int64_t h) const {
        return {input.q + h * shape.channels, input.q_stride, shape.channels,
                cosine() ? A{1} / input.temperature[h] : input.scale, cosine()};
    }
    Head<T> k(std::int64_t h) const {
        return {input.k + h * shape.channels, input.k_stride, shape.channels, A{1}, cosine()};
    }
    Head<T> v(std::int64_t h) const { return {input.v + h * shape.channels, input.v_stride, shape.channels}; }
    Head<T> output(const T* values, std::int64_t h) const {  // laid out as the output is
        return {values + h * shape.channels, shape.heads * shape.channels, shape.channels};
    }
};

// Writes the output of one head of a chunk's queries. Keys come tile by tile; sums are rescaled when a larger logit appears.
template <typename T, typename A = Accumulate<T>>
void attend(const Problem<T>& problem, const Chunk& chunk, std::int64_t h, T* out, A* log_sum, const Scratch<A>& scratch) {
    const std::int64_t* const order = problem.windows.order;
    const std::int64_t channels = problem.shape.channels, heads = problem.shape.heads;
    const std::int64_t width = scratch.width, depth = scratch.depth;
    const std::int64_t queries = chunk.end - chunk.begin, blocks = ceil_div(queries, kLanes<A>);
    problem.q(h).pack_lanes(order + chunk.begin, queries, depth, scratch.lanes_x);
    for (std::int64_t tile = chunk.window_begin; tile < chunk.window_end; tile += kTile) {
        const std::int64_t keys = std::min(kTile, chunk.window_end - tile);
        problem.k(h).pack_rows(order + tile, keys, width, scratch.rows_x);
        problem.v(h).pack_rows(order + tile, keys, width, scratch.rows_y);
        for (std::int64_t b = 0; b < blocks; ++b) {
            Lanes<A>*const logits = scratch.logits, *const sums = scratch.sum_x + b * depth;
            const bool first = tile == chunk.window_begin;
            multiply<false>(scratch.rows_x, width, 1, scratch.lanes_x + b * depth, channels, logits, keys);
            Lanes<A> largest = first ? Lanes<A>{} + std::numeric_limits<A>::lowest() : scratch.lane_a[b], sum{};
            for (std::int64_t j = 0; j < keys; ++j) largest = logits[j] > largest ? logits[j] : largest;
            for (std::int64_t j = 0; j < keys; ++j) {
                logits[j] -= largest;
                exponential<A>(logits[j]);
                sum += logits[j];
            }
            if (first) {
                multiply<false>(scratch.rows_y, 1, width, logits, keys, sums, channels);
                scratch.lane_b[b] = sum;
            } else {
                Lanes<A> rescale = scratch.lane_a[b] - largest;
                exponential<A>(rescale);
                for (std::int64_t c = 0; c < channels; ++c) sums[c] *= rescale;
                multiply<true>(scratch.rows_y, 1, width, logits, keys, sums, channels);
                scratch.lane_b[b] = scratch.lane_b[b] * rescale + sum;
            }
            scratch.lane_a[b] = largest;
        }
    }
    for (std::int64_t b = 0; b < blocks; ++b) {
        const Lanes<A> inverse = A{1} / scratch.lane_b[b];
        for (std::int64_t c = 0; c < channels; ++c) scratch.sum_x[b * depth + c] *= inverse;
    }
    const auto write = [&](std::int64_t i, std::int64_t c, const Lanes<A>& values, std::int64_t n) {
        store<T>(values, n, out + (order[chunk.begin + i] * heads + h) * channels + c);
    };
    for_rows<A>(scratch.sum_x, queries, channels, depth, write);
    for (std::int64_t i = 0; log_sum != nullptr && i < queries; ++i) {
        const std::int64_t b = i / kLanes<A>, lane = i % kLanes<A>;
        log_sum[order[chunk.begin + i] * heads + h] = scratch.lane_a[b][lane] + std::log(scratch.lane_b[b][lane]);
    }
}

// Writes the gradient of rows whose packed form is factor * row, from the gradient `sum` of the packed form over `constant`.
// Returns the sum of their products, which in the cosine form is the gradient of the logits' common factor.
template <typename T, typename A = Accumulate<T>>
A write_gradient(const Head<T>& head, const std::int64_t* tokens, std::int64_t count, const Lanes<A>* packed,
                 const Lanes<A>* sum, std::int64_t depth, T* gradient, std::int64_t gradient_stride) {
    // d(x / |x|) = (dx - x^ (x^ . dx)) / |x|; below the least length the divisor is constant.
    A products[kTile], factors[kTile], along[kTile], total = 0;
    for (std::int64_t b = 0; b * kLanes<A> < count; ++b) {
        Lanes<A> product{};
        for (std::int64_t c = 0; c < head.channels; ++c) product += packed[b * depth + c] * sum[b * depth + c];
        store<A>(product, kLanes<A>, products + b * kLanes<A>);
    }
    for (std::int64_t i = 0; i < count; ++i) {
        factors[i] = head.constant, along[i] = 0;
        if (head.normalise) {
            const A length = head.length(head.row(tokens[i])), divisor = std::max(length, static_cast<A>(kLeastLength));
            factors[i] /= divisor;
            along[i] = length >= static_cast<A>(kLeastLength) ? products[i] / (divisor * divisor) : A{0};
            total += products[i];
        }
    }
    const auto write = [&](std::int64_t i, std::int64_t c, const Lanes<A>& values, std::int64_t n) {
        const Lanes<A> row = load(head.row(tokens[i]) + c, n);
        store<T>(factors[i] * values - along[i] * row, n, gradient + tokens[i] * gradient_stride + c);
    };
    for_rows<A>(sum, count, head.channels, depth, write);
    return total;
}

template <typename T>
struct Backward {
    using A = Accumulate<T>;
    const Problem<T>& problem;
    const T *grad_out, *out;
    const A* log_sum;
    const AttentionGradient<T>& gradient;

    // Of the softmax: what every logit's gradient is reduced by, the output times its gradient.
    A delta(std::int64_t token, std::int64_t h) const {
        const std::int64_t channels = problem.shape.channels, at = (token * problem.shape.heads + h) * channels;
        A sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t c = 0; c < channels; ++c) sum += widen(grad_out[at + c]) * widen(out[at + c]);
        return sum;
    }

    // One head of a chunk's tokens, which are keys (their gradients and the values') or queries, against all of the window.
    // Probabilities come from log_sum. Every gradient has one writer, so no sum depends on the threads.
    template <bool kKeys>
    A run(const Chunk& chunk, std::int64_t h, const Scratch<A>& scratch) const {
        const std::int64_t* const order = problem.windows.order;
        const std::int64_t heads = problem.shape.heads, channels = problem.shape.channels;
        const std::int64_t width = scratch.width, depth = scratch.depth;
        const std::int64_t count = chunk.end - chunk.begin, blocks = ceil_div(count, kLanes<A>);
        const Head<T> q = problem.q(h), k = problem.k(h), v = problem.v(h), grad = problem.output(grad_out, h);
        (kKeys ? k : q).pack_lanes(order + chunk.begin, count, depth, scratch.lanes_x);
        (kKeys ? v : grad).pack_lanes(order + chunk.begin, count, depth, scratch.lanes_y);
        std::fill_n(scratch.sum_x, blocks * depth, Lanes<A>{});
        std::fill_n(scratch.sum_y, blocks * depth, Lanes<A>{});
        if (!kKeys) {
            std::fill_n(scratch.lane_a, blocks, Lanes<A>{});
            std::fill_n(scratch.lane_b, blocks, Lanes<A>{});
            for (std::int64_t i = 0; i < count; ++i) {
                const std::int64_t token = order[chunk.begin + i];
                scratch.lane_a[i / kLanes<A>][i % kLanes<A>] = log_sum[token * heads + h];
                scratch.lane_b[i / kLanes<A>][i % kLanes<A>] = delta(token, h);
            }
        }
        for (std::int64_t tile = chunk.window_begin; tile < chunk.window_end; tile += kTile) {
            const std::int64_t rows = std::min(kTile, chunk.window_end - tile);
            (kKeys ? q : k).pack_rows(order + tile, rows, width, scratch.rows_x);
            (kKeys ? grad : v).pack_rows(order + tile, rows, width, scratch.rows_y);
            for (std::int64_t i = 0; kKeys && i < rows; ++i) {
                scratch.row_log_sum[i] = log_sum[order[tile + i] * heads + h];
                scratch.row_delta[i] = delta(order[tile + i], h);
            }
            for (std::int64_t b = 0; b < blocks; ++b) {
                Lanes<A> *const logits = scratch.logits, *const gradients = scratch.gradients;
                multiply<false>(scratch.rows_x, width, 1, scratch.lanes_x + b * depth, channels, logits, rows);
                multiply<false>(scratch.rows_y, width, 1, scratch.lanes_y + b * depth, channels, gradients, rows);
                for (std::int64_t i = 0; i < rows; ++i) {
                    logits[i] -= kKeys ? Lanes<A>{} + scratch.row_log_sum[i] : scratch.lane_a[b];
                    exponential<A>(logits[i]);
                    gradients[i] -= kKeys ? Lanes<A>{} + scratch.row_delta[i] : scratch.lane_b[b];
                    gradients[i] *= logits[i];
                }
                multiply<true>(scratch.rows_x, 1, width, gradients, rows, scratch.sum_x + b * depth, channels);
                if (kKeys) multiply<true>(scratch.rows_y, 1, width, logits, rows, scratch.sum_y + b * depth, channels);
            }
        }
        const std::int64_t stride = heads * channels;
        if (kKeys) {
            write_gradient(v, order + chunk.begin, count, scratch.lanes_y, scratch.sum_y, depth, gradient.v + h * channels,
                           stride);
        }
        return write_gradient(kKeys ? k : q, order + chunk.begin, count, scratch.lanes_x, scratch.sum_x, depth,
                              (kKeys ? gradient.k : gradient.q) + h * channels, stride);
    }
};

}  // namespace

template <typename T>
std::size_t window_attention_workspace_bytes_cpu(const AttentionShape& shape, int threads) {
    Workspace workspace;
    Layout<Accumulate<T>>(workspace, shape, threads);
    return workspace.bytes() + kVectorBytes;
}

template <typename T>
Status window_attention_cpu(const AttentionInput<T>& input, const AttentionWindows& windows, const AttentionShape& shape,
                            T* out, Accumulate<T>* log_sum, void* workspace, std::size_t workspace_bytes, int threads) {
    using A = Accumulate<T>;
    if (!usable(windows, shape)) return Status::bad_argument;
    Workspace memory = aligned_workspace(workspace, workspace_bytes);
    const Layout<A> layout(memory, shape, threads);
    if (!memory.fits()) return Status::workspace_too_small;
    const std::int64_t chunks = cut_windows(windows, shape.windows, layout.chunks);
    const Problem<T> problem{input, windows, shape};
#pragma omp parallel num_threads(threads)
    {
        const Scratch<A> scratch = layout.own_scratch(shape.channels);
#pragma omp for schedule(dynamic, 4)
        for (std::int64_t i = 0; i < chunks * shape.heads; ++i) {
            attend(problem, layout.chunks[i / shape.heads], i % shape.heads, out, log_sum, scratch);
        }
    }
    clear_tokens_without_window(out, windows, shape);
    for (std::int64_t i = windows.offsets[shape.windows]; log_sum != nullptr && i < shape.tokens; ++i) {
        std::fill_n(log_sum + windows.order[i] * shape.heads, shape.heads, A{0});
    }
    return Status::ok;
}

template <typename T>
Status window_attention_backward_cpu(const AttentionInput<T>& input, const AttentionWindows& windows,
                                     const AttentionShape& shape, const T* grad_out, const T* out,
                                     const Accumulate<T>* log_sum, const AttentionGradient<T>& gradient, void* workspace,
                                     std::size_t workspace_bytes, int threads) {
    using A = Accumulate<T>;
    if (!usable(windows, shape)) return Status::bad_argument;
    Workspace memory = aligned_workspace(workspace, workspace_bytes);
    const Layout<A> layout(memory, shape, threads);
    if (!memory.fits()) return Status::workspace_too_small;
    const std::int64_t heads = shape.heads, chunks = cut_windows(windows, shape.windows, layout.chunks);
    const Problem<T> problem{input, windows, shape};
    const Backward<T> backward{problem, grad_out, out, log_sum, gradient};
#pragma omp parallel num_threads(threads)
    {
        const Scratch<A> scratch = layout.own_scratch(shape.channels);
#pragma omp for schedule(dynamic, 4) nowait
        for (std::int64_t i = 0; i < chunks * heads; ++i) {
            layout.temperature_parts[i] = backward.template run<false>(layout.chunks[i / heads], i % heads, scratch);
        }
#pragma omp for schedule(dynamic, 4)
        for (std::int64_t i = 0; i < chunks * heads; ++i) {
            backward.template run<true>(layout.chunks[i / heads], i % heads, scratch);
        }
    }
    for (T* values : {gradient.q, gradient.k, gradient.v}) clear_tokens_without_window(values, windows, shape);
    for (std::int64_t h = 0; input.temperature != nullptr && h < heads; ++h) {
        double sum = 0.0;
        for (std::int64_t i = 0; i < chunks; ++i) sum += static_cast<double>(layout.temperature_parts[i * heads + h]);
        gradient.temperature[h] = static_cast<A>(-sum / static_cast<double>(input.temperature[h]));
    }
    return Status::ok;
}

#define PERCEPTION_INSTANTIATE(T)                                                                                            \
    template Status window_attention_cpu(const AttentionInput<T>&, const AttentionWindows&, const AttentionShape&, T*,       \
                                         Accumulate<T>*, void*, std::size_t, int);                                           \
    template Status window_attention_backward_cpu(const AttentionInput<T>&, const AttentionWindows&, const AttentionShape&,  \
                                                  const T*, const T*, const Accumulate<T>*, const AttentionGradient<T>&,     \
                                                  void*, std::size_t, int);                                                  \
    template std::size_t window_attention_workspace_bytes_cpu<T>(const AttentionShape&, int);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)
PERCEPTION_INSTANTIATE(Half)
PERCEPTION_INSTANTIATE(BFloat16)
#undef PERCEPTION_INSTANTIATE

}  // namespace perception
