// Greedy non-maximum suppression, which the nms ops share: boxes in descending score, each kept unless a kept one suppresses it.
#pragma once

#include <algorithm>

#include "platform.h"

namespace perception {

// Descending score; equal scores in ascending index. NaN comes last.
template <typename T>
PERCEPTION_HD inline bool comes_before(T score_a, std::int64_t a, T score_b, std::int64_t b) {
    const bool nan_a = score_a != score_a, nan_b = score_b != score_b;
    if (nan_a || nan_b) return nan_a == nan_b ? a < b : nan_b;
    return score_a != score_b ? score_a > score_b : a < b;
}

// Writes the kept indices in descending score and returns how many there are. `Kept` is the set of kept boxes:
// bool suppresses(index), void add(index).
template <typename T, typename Kept>
std::int64_t suppress(const T* scores, std::int64_t count, Kept& kept, std::int64_t* order, std::int64_t* kept_indices) {
    for (std::int64_t i = 0; i < count; ++i) order[i] = i;
    std::sort(order, order + count,
              [=](std::int64_t a, std::int64_t b) { return comes_before(scores[a], a, scores[b], b); });
    std::int64_t kept_count = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        if (kept.suppresses(order[i])) continue;
        kept.add(order[i]);
        kept_indices[kept_count++] = order[i];
    }
    return kept_count;
}

}  // namespace perception
