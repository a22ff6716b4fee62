// Inputs of nms with a plain twin, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include "bev_box_cases.h"
#include "nms.h"

namespace testing {

// Checks nms(boxes, scores, count, threshold, offset, kept, kept_count). Coordinates are quarters, so that areas are exact.
template <typename T, typename Nms>
void check_nms(const Nms& nms) {
    for (const int count : {0, 1, 2, 63, 64, 65, 300}) {
        Random random(static_cast<std::uint32_t>(count));
        std::vector<T> rows;
        for (int i = 0; i < count; ++i) {
            const T x = static_cast<T>(random.integer(200)) / T{4}, y = static_cast<T>(random.integer(200)) / T{4};
            const T width = static_cast<T>(random.integer(80)) / T{4}, height = static_cast<T>(random.integer(80)) / T{4};
            rows.insert(rows.end(), {x, y, x + width, y + height});
        }
        const std::vector<T> scores = tied_scores<T>(count);
        for (const T threshold : {T{0}, T{0.3}, T{0.7}}) {
            for (const T offset : {T{0}, T{1}}) {
                auto kept = garbage<std::int64_t>(count);
                std::int64_t kept_count = -1;
                CHECK(nms(rows.data(), scores.data(), count, threshold, offset, kept.data(), &kept_count) ==
                      perception::Status::ok);
                const auto expected = expected_kept(scores, [&](std::int64_t i, std::int64_t j) {
                    const T *a = rows.data() + 4 * i, *b = rows.data() + 4 * j;
                    const double width = std::min(a[2], b[2]) - std::max(a[0], b[0]) + offset;
                    const double height = std::min(a[3], b[3]) - std::max(a[1], b[1]) + offset;
                    const double shared = std::max(width, 0.0) * std::max(height, 0.0);
                    const double area_a = double{a[2] - a[0] + offset} * double{a[3] - a[1] + offset};
                    const double area_b = double{b[2] - b[0] + offset} * double{b[3] - b[1] + offset};
                    return shared / (area_a + area_b - shared) > double{threshold};
                });
                CHECK(first_of(kept, kept_count) == expected);
            }
        }
    }
}

}  // namespace testing
