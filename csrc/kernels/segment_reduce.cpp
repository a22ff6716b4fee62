#include "segment_reduce.h"

#include <algorithm>

namespace perception {
namespace {

constexpr std::int64_t kTile = 64;  // channels reduced at a time, held in registers or the first-level cache

// Calls work(segment) for every segment: threads get neighbouring segments with about equally many rows.
template <typename Work>
void for_segments(const Segments& segments, int threads, const Work& work) {
    const std::int64_t grouped = segments.offsets[segments.count];
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int part = 0; part < threads; ++part) {
        const auto first_from = [&](std::int64_t row) {
            return std::lower_bound(segments.offsets, segments.offsets + segments.count, row) - segments.offsets;
        };
        const std::int64_t begin = part == 0 ? 0 : first_from(grouped * part / threads);
        const std::int64_t end = part == threads - 1 ? segments.count : first_from(grouped * (part + 1) / threads);
        for (std::int64_t s = begin; s < end; ++s) work(s);
    }
}

// Sums run in double, so that the result does not suffer from the number of rows.
template <typename T>
void sum_segment(const T* values, std::int64_t channels, const Segments& segments, std::int64_t s, bool mean, T* out) {
    const std::int64_t begin = segments.offsets[s], end = segments.offsets[s + 1];
    const double factor = mean && end > begin ? 1.0 / static_cast<double>(end - begin) : 1.0;
    for (std::int64_t c0 = 0; c0 < channels; c0 += kTile) {
        const std::int64_t width = std::min(kTile, channels - c0);
        double sum[kTile] = {};
        for (std::int64_t i = begin; i < end; ++i) {
            const T* row = values + segments.order[i] * channels + c0;
            for (std::int64_t c = 0; c < width; ++c) sum[c] += static_cast<double>(widen(row[c]));
        }
        for (std::int64_t c = 0; c < width; ++c) {
            out[s * channels + c0 + c] = narrow<T>(static_cast<Accumulate<T>>(sum[c] * factor));
        }
    }
}

template <typename T>
void max_segment(const T* values, std::int64_t channels, const Segments& segments, std::int64_t s, T* out) {
    const std::int64_t begin = segments.offsets[s], end = segments.offsets[s + 1];
    if (begin == end) {
        std::fill_n(out + s * channels, channels, narrow<T>(0));
        return;
    }
    for (std::int64_t c0 = 0; c0 < channels; c0 += kTile) {
        const std::int64_t width = std::min(kTile, channels - c0);
        Accumulate<T> best[kTile];
        const T* first = values + segments.order[begin] * channels + c0;
        for (std::int64_t c = 0; c < width; ++c) best[c] = widen(first[c]);
        for (std::int64_t i = begin + 1; i < end; ++i) {
            const T* row = values + segments.order[i] * channels + c0;
            for (std::int64_t c = 0; c < width; ++c) {
                const Accumulate<T> value = widen(row[c]);
                best[c] = exceeds(value, best[c]) ? value : best[c];
            }
        }
        for (std::int64_t c = 0; c < width; ++c) out[s * channels + c0 + c] = narrow<T>(best[c]);
    }
}

template <typename T>
void spread_segment(const T* grad, std::int64_t channels, const Segments& segments, std::int64_t s, bool mean,
                    T* grad_values) {
    const std::int64_t begin = segments.offsets[s], end = segments.offsets[s + 1];
    const Accumulate<T> divisor = mean ? static_cast<Accumulate<T>>(end - begin) : Accumulate<T>{1};
    for (std::int64_t i = begin; i < end; ++i) {
        T* row = grad_values + segments.order[i] * channels;
        for (std::int64_t c = 0; c < channels; ++c) row[c] = narrow<T>(widen(grad[s * channels + c]) / divisor);
    }
}

template <typename T>
void route_segment(const T* grad, const T* values, const T* out, std::int64_t channels, const Segments& segments,
                   std::int64_t s, T* grad_values) {
    for (std::int64_t c0 = 0; c0 < channels; c0 += kTile) {
        const std::int64_t width = std::min(kTile, channels - c0);
        const T* best = out + s * channels + c0;
        Accumulate<T> left[kTile];  // gradient not yet given away
        for (std::int64_t c = 0; c < width; ++c) left[c] = widen(grad[s * channels + c0 + c]);
        for (std::int64_t i = segments.offsets[s]; i < segments.offsets[s + 1]; ++i) {
            const std::int64_t row = segments.order[i] * channels + c0;
            for (std::int64_t c = 0; c < width; ++c) {
                const bool taken = attains(widen(values[row + c]), widen(best[c]));
                grad_values[row + c] = narrow<T>(taken ? left[c] : Accumulate<T>{0});
                left[c] = taken ? Accumulate<T>{0} : left[c];
            }
        }
    }
}

}  // namespace

template <typename T>
Status segment_reduce_cpu(const T* values, std::int64_t channels, const Segments& segments, Reduction reduction, T* out,
                          int threads) {
    if (channels < 0 || segments.count < 0) return Status::bad_argument;
    for_segments(segments, threads, [&](std::int64_t s) {
        if (reduction == Reduction::max) {
            max_segment(values, channels, segments, s, out);
        } else {
            sum_segment(values, channels, segments, s, reduction == Reduction::mean, out);
        }
    });
    return Status::ok;
}

template <typename T>
Status segment_reduce_backward_cpu(const T* grad, const T* values, const T* out, std::int64_t channels,
                                   const Segments& segments, Reduction reduction, T* grad_values, int threads) {
    if (channels < 0 || segments.count < 0) return Status::bad_argument;
    for_segments(segments, threads, [&](std::int64_t s) {
        if (reduction == Reduction::max) {
            route_segment(grad, values, out, channels, segments, s, grad_values);
        } else {
            spread_segment(grad, channels, segments, s, reduction == Reduction::mean, grad_values);
        }
    });
    for (std::int64_t i = segments.offsets[segments.count]; i < segments.rows; ++i) {
        std::fill_n(grad_values + segments.order[i] * channels, channels, narrow<T>(0));
    }
    return Status::ok;
}

#define PERCEPTION_INSTANTIATE(T)                                                                                            \
    template Status segment_reduce_cpu(const T*, std::int64_t, const Segments&, Reduction, T*, int);                         \
    template Status segment_reduce_backward_cpu(const T*, const T*, const T*, std::int64_t, const Segments&, Reduction, T*, \
                                                int);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)
PERCEPTION_INSTANTIATE(Half)
PERCEPTION_INSTANTIATE(BFloat16)
#undef PERCEPTION_INSTANTIATE

}  // namespace perception
