// Sum, mean or maximum over groups of rows, and the gradient. T is float, double, Half or BFloat16.
#pragma once

#include "platform.h"

namespace perception {

enum class Reduction : int { sum, mean, max };

// Segment s holds the rows order[offsets[s]..offsets[s+1]).
struct Segments {
    const std::int64_t* order;    // [rows], each row once; those from offsets[count] on are in no segment
    const std::int64_t* offsets;  // [count+1], ascending from 0
    std::int64_t count;
    std::int64_t rows;
};

// Whether `value` takes the maximum over from `best`; a NaN does, and stays.
template <typename A>
PERCEPTION_HD inline bool exceeds(A value, A best) {
    return value > best || value != value;
}

// Whether `value` is what the maximum `best` came from.
template <typename A>
PERCEPTION_HD inline bool attains(A value, A best) {
    return value == best || (value != value && best != best);
}

// values [rows, channels] -> out [segments, channels]; an empty segment gives 0.
template <typename T>
Status segment_reduce_cpu(const T* values, std::int64_t channels, const Segments& segments, Reduction reduction, T* out,
                          int threads);
template <typename T>
Status segment_reduce_cuda(const T* values, std::int64_t channels, const Segments& segments, Reduction reduction, T* out,
                           Stream stream);

// grad [segments, channels] -> grad_values [rows, channels]: zero for rows in no segment. The gradient of a maximum goes to the
// first row that attains it; only then are values [rows, channels] and out [segments, channels] read.
template <typename T>
Status segment_reduce_backward_cpu(const T* grad, const T* values, const T* out, std::int64_t channels,
                                   const Segments& segments, Reduction reduction, T* grad_values, int threads);
template <typename T>
Status segment_reduce_backward_cuda(const T* grad, const T* values, const T* out, std::int64_t channels,
                                    const Segments& segments, Reduction reduction, T* grad_values, Stream stream);

}  // namespace perception
