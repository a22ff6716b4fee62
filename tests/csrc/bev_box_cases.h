// Inputs of box_iou_bev and nms_bev with plain twins, for the CPU kernels and for the CUDA kernels on the shim.
#pragma once

#include <algorithm>
#include <array>
#include <complex>
#include <limits>
#include <numbers>
#include <numeric>

#include "nms_bev.h"
#include "testing.h"

namespace testing {

struct BevBoxes {
    const char* name;
    std::vector<float> rows;  // [count,5] x y l w yaw
    std::int64_t count() const { return static_cast<std::int64_t>(rows.size() / 5); }
};

// Boxes in clusters that overlap.
inline BevBoxes clustered_boxes(int count, std::uint32_t seed) {
    Random random(seed);
    BevBoxes boxes{"clustered", {}};
    for (int i = 0; i < count; ++i) {
        const float x = static_cast<float>(random.integer(5)) * 9.0f, y = static_cast<float>(random.integer(5)) * 7.0f;
        boxes.rows.insert(boxes.rows.end(), {x + random.normal(), y + random.normal(), random.uniform(2.0f, 6.0f),
                                             random.uniform(1.0f, 3.0f), random.uniform(-4.0f, 4.0f)});
    }
    return boxes;
}

inline std::vector<BevBoxes> bev_box_inputs() {
    constexpr float quarter = std::numbers::pi_v<float> / 2, nan = std::numeric_limits<float>::quiet_NaN();
    return {
        {"none", {}},
        {"one", {1, 2, 4, 2, 0.3f}},
        {"special",
         {0,     0, 4,  2,    0,           0,      0,      4,      2,      0,       0,       0,    4,  2,    1e-4f,
          0,     0, 4,  2,    2 * quarter, 0,      0,      4,      2,      quarter, 4,       0,    4,  2,    0,
          3,     0, 2,  2,    0,           0.5f,   0,      1,      1,      0.7f,    0,       0,    4,  2,    0.78539f,
          1e-4f, 0, 4,  2,    0,           0,      0,      0,      2,      0,       0,       0,    4,  0,    0,
          0,     0, -4, 2,    0,           50,     50,     4,      2,      0.5f,    0,       0,    90, 0.1f, 0.3f,
          0,     0, 90, 0.1f, 0.3001f,     1000,   1000,   4,      2,      0.2f,    1000.5f, 1000, 4,  2,    -0.4f,
          0,     0, 4,  2,    31.4159f,    0.001f, 0.001f, 0.004f, 0.002f, 1.0f}},
        {"not a number",
         {nan, 0, 4, 2, 0,   0, nan, 4, 2, 0, 0, 0, nan, 2, 0,    0, 0, 4,
          nan, 0, 0, 0, 4,   2, nan, 0, 0, 4, 2, 0, 0.5f, 0, 4,   2, 0.1f}},
        clustered_boxes(130, 5),
    };
}

// Shared area in double: the corners of each box inside the other and the crossings of their sides, ordered around their mean.
inline double expected_overlap(const float* a, const float* b) {
    using Point = std::complex<double>;
    const auto corners = [](const float* box) {
        std::array<Point, 4> points;
        for (int i = 0; i < 4; ++i) {
            const Point local(box[2] / 2.0 * (i == 0 || i == 3 ? 1 : -1), box[3] / 2.0 * (i < 2 ? 1 : -1));
            points[static_cast<std::size_t>(i)] = Point(box[0], box[1]) + local * std::polar(1.0, static_cast<double>(box[4]));
        }
        return points;
    };
    const auto cross = [](Point p, Point q) { return p.real() * q.imag() - p.imag() * q.real(); };
    const auto inside = [](Point p, const float* box) {
        const Point local = (p - Point(box[0], box[1])) * std::polar(1.0, -static_cast<double>(box[4]));
        return std::abs(local.real()) <= box[2] / 2.0 + 1e-12 && std::abs(local.imag()) <= box[3] / 2.0 + 1e-12;
    };
    if (!(a[2] > 0 && a[3] > 0 && b[2] > 0 && b[3] > 0)) return 0.0;
    const auto corners_a = corners(a), corners_b = corners(b);
    std::vector<Point> shared;
    for (std::size_t i = 0; i < 4; ++i) {
        if (inside(corners_a[i], b)) shared.push_back(corners_a[i]);
        if (inside(corners_b[i], a)) shared.push_back(corners_b[i]);
        for (std::size_t j = 0; j < 4; ++j) {
            const Point p = corners_a[i], r = corners_a[(i + 1) % 4] - p, q = corners_b[j], s = corners_b[(j + 1) % 4] - q;
            const double determinant = cross(r, s);
            if (std::abs(determinant) < 1e-15) continue;
            const double t = cross(q - p, s) / determinant, u = cross(q - p, r) / determinant;
            if (t >= 0 && t <= 1 && u >= 0 && u <= 1) shared.push_back(p + t * r);
        }
    }
    if (shared.size() < 3) return 0.0;
    const Point middle = std::accumulate(shared.begin(), shared.end(), Point{}) / static_cast<double>(shared.size());
    std::sort(shared.begin(), shared.end(), [&](Point p, Point q) { return std::arg(p - middle) < std::arg(q - middle); });
    double twice_area = 0.0;
    for (std::size_t i = 0; i < shared.size(); ++i)
        twice_area += cross(shared[i] - middle, shared[(i + 1) % shared.size()] - middle);
    return twice_area / 2;
}

// Checks overlap(a, count_a, b, count_b, kind, out) on every pair of inputs.
template <typename T, typename Overlap>
void check_box_iou_bev(const Overlap& overlap) {
    using perception::BevOverlap;
    for (const BevBoxes& a : bev_box_inputs()) {
        for (const BevBoxes& b : bev_box_inputs()) {
            const std::vector<T> rows_a(a.rows.begin(), a.rows.end()), rows_b(b.rows.begin(), b.rows.end());
            auto area = garbage<T>(a.count() * b.count()), iou = garbage<T>(a.count() * b.count());
            const bool ok = overlap(rows_a.data(), a.count(), rows_b.data(), b.count(), BevOverlap::area, area.data()) ==
                                perception::Status::ok &&
                            overlap(rows_a.data(), a.count(), rows_b.data(), b.count(), BevOverlap::iou, iou.data()) ==
                                perception::Status::ok;
            if (!ok) report(__FILE__, __LINE__, a.name);
            std::vector<double> expected_area, expected_iou;
            for (std::int64_t i = 0; i < a.count(); ++i) {
                for (std::int64_t j = 0; j < b.count(); ++j) {
                    const float *box_a = a.rows.data() + 5 * i, *box_b = b.rows.data() + 5 * j;
                    const double shared = expected_overlap(box_a, box_b);
                    expected_area.push_back(shared);
                    expected_iou.push_back(
                        shared > 0 ? shared / (double{box_a[2]} * box_a[3] + double{box_b[2]} * box_b[3] - shared) : 0.0);
                }
            }
            const double tolerance = std::is_same_v<T, double> ? 1e-9 : 1e-4;
            CHECK_CLOSE(area, expected_area, tolerance, tolerance);
            CHECK_CLOSE(iou, expected_iou, tolerance, tolerance);
        }
    }
}

// Greedy suppression, straight from its definition; NaN scores come last. suppresses(kept, candidate).
template <typename T, typename Suppresses>
std::vector<std::int64_t> expected_kept(const std::vector<T>& scores, const Suppresses& suppresses) {
    std::vector<std::int64_t> order(scores.size()), kept;
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        const T score_a = scores[static_cast<std::size_t>(a)], score_b = scores[static_cast<std::size_t>(b)];
        return std::isnan(score_b) ? !std::isnan(score_a) : score_a > score_b;
    });
    for (const std::int64_t candidate : order) {
        if (std::none_of(kept.begin(), kept.end(), [&](std::int64_t other) { return suppresses(other, candidate); })) {
            kept.push_back(candidate);
        }
    }
    return kept;
}

// Scores with many ties and some NaN.
template <typename T>
std::vector<T> tied_scores(std::int64_t count) {
    Random random(9);
    std::vector<T> scores(static_cast<std::size_t>(count));
    for (T& score : scores) {
        const int value = random.integer(44);
        score = value < 40 ? static_cast<T>(value) / T{40} : std::numeric_limits<T>::quiet_NaN();
    }
    return scores;
}

inline std::vector<std::int64_t> first_of(const std::vector<std::int64_t>& kept, std::int64_t count) {
    return {kept.begin(), kept.begin() + count};
}

// Checks nms(boxes, scores, count, threshold, kept, kept_count) on every input. IoU has its own test.
template <typename T, typename Nms>
void check_nms_bev(const Nms& nms) {
    std::vector<BevBoxes> inputs = bev_box_inputs();
    inputs.push_back(clustered_boxes(64, 6));
    inputs.push_back(clustered_boxes(65, 7));
    inputs.push_back(clustered_boxes(300, 8));
    for (const BevBoxes& input : inputs) {
        const std::vector<T> rows(input.rows.begin(), input.rows.end());
        const std::vector<T> scores = tied_scores<T>(input.count());
        for (const T threshold : {T{0}, T{0.2}, T{0.7}, T{1}}) {
            auto kept = garbage<std::int64_t>(input.count());
            std::int64_t kept_count = -1;
            if (nms(rows.data(), scores.data(), input.count(), threshold, kept.data(), &kept_count) != perception::Status::ok) {
                report(__FILE__, __LINE__, input.name);
            }
            const auto expected = expected_kept(scores, [&](std::int64_t a, std::int64_t b) {
                return perception::iou_of(perception::make_bev_box(rows.data() + 5 * a),
                                          perception::make_bev_box(rows.data() + 5 * b)) > threshold;
            });
            if (first_of(kept, kept_count) != expected) report(__FILE__, __LINE__, input.name);
        }
    }
}

// Checks circle_nms(centres, scores, count, radius, kept, kept_count). Coordinates are quarters, so distances are exact.
template <typename T, typename Nms>
void check_circle_nms(const Nms& nms) {
    for (const int count : {0, 1, 2, 64, 65, 333}) {
        Random random(static_cast<std::uint32_t>(count));
        std::vector<T> centres;
        for (int i = 0; i < 2 * count; ++i) centres.push_back(static_cast<T>(random.integer(160)) / T{4});
        const std::vector<T> scores = tied_scores<T>(count);
        for (const T radius : {T{0}, T{0.5}, T{3}, T{100}}) {
            auto kept = garbage<std::int64_t>(count);
            std::int64_t kept_count = -1;
            CHECK(nms(centres.data(), scores.data(), count, radius, kept.data(), &kept_count) == perception::Status::ok);
            const auto expected = expected_kept(scores, [&](std::int64_t a, std::int64_t b) {
                const T dx = centres[static_cast<std::size_t>(2 * a)] - centres[static_cast<std::size_t>(2 * b)];
                const T dy = centres[static_cast<std::size_t>(2 * a + 1)] - centres[static_cast<std::size_t>(2 * b + 1)];
                return dx * dx + dy * dy <= radius * radius;
            });
            CHECK(first_of(kept, kept_count) == expected);
        }
    }
}

}  // namespace testing
