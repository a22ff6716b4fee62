// Inputs of points_in_boxes with a plain twin, for the CPU kernels and for the CUDA kernels on the shim.
#pragma once

#include <algorithm>
#include <memory>

#include "points_in_boxes.h"
#include "testing.h"

namespace testing {

struct PointsAndBoxes {
    const char* name;
    std::vector<float> points;  // [points,3]
    std::vector<float> boxes;   // [boxes,7]
};

inline std::vector<PointsAndBoxes> points_and_boxes() {
    const auto scattered = [](const char* name, int points, int boxes) {
        Random random(static_cast<std::uint32_t>(points + boxes));
        PointsAndBoxes input{name, {}, {}};
        for (int i = 0; i < points; ++i) {
            input.points.insert(input.points.end(), {random.uniform(-9, 9), random.uniform(-9, 9), random.uniform(-2, 2)});
        }
        for (int k = 0; k < boxes; ++k) {
            input.boxes.insert(input.boxes.end(),
                               {random.uniform(-9, 9), random.uniform(-9, 9), random.uniform(-1, 1), random.uniform(1, 6),
                                random.uniform(1, 3), random.uniform(1, 2), random.uniform(-7, 7)});
        }
        return input;
    };
    return {scattered("nothing", 0, 0),
            scattered("no points", 0, 3),
            scattered("no boxes", 5, 0),
            scattered("one and one", 1, 1),
            scattered("scattered", 1037, 71),
            scattered("many boxes", 40, 700),
            // On the surface, a corner, just outside; two boxes over each other; a flat one.
            {"surface",
             {2, 0, 0, 2, 1, 1, -2, -1, -1, 2.0001f, 0, 0, 0, 0, 1, 0, 0, 5},
             {0, 0, 0, 4, 2, 2, 0, 0, 0, 0, 4, 2, 2, 0, 0, 0, 5, 4, 2, 0, 0}}};
}

// Distance (m) from the surface of the box, positive inside.
inline double depth_in_box(const float* point, const float* box) {
    const double dx = double{point[0]} - box[0], dy = double{point[1]} - box[1], dz = double{point[2]} - box[2];
    const double along = dx * std::cos(double{box[6]}) + dy * std::sin(double{box[6]});
    const double across = dy * std::cos(double{box[6]}) - dx * std::sin(double{box[6]});
    return std::min({box[3] / 2 - std::abs(along), box[4] / 2 - std::abs(across), box[5] / 2 - std::abs(dz)});
}

// Checks first(points, point_count, boxes, box_count, result) and all(points, point_count, boxes, box_count, inside). A point
// closer than 10 um to a surface, but not on it, may be on either side.
template <typename T, typename First, typename All>
void check_points_in_boxes(const First& first, const All& all) {
    for (const PointsAndBoxes& input : points_and_boxes()) {
        const auto point_count = static_cast<std::int64_t>(input.points.size() / 3);
        const auto box_count = static_cast<std::int64_t>(input.boxes.size() / 7);
        const std::vector<T> points(input.points.begin(), input.points.end()), boxes(input.boxes.begin(), input.boxes.end());
        auto result = garbage<std::int64_t>(point_count);
        for (std::int64_t& index : result) index = -99;
        const std::unique_ptr<bool[]> inside(new bool[static_cast<std::size_t>(point_count * box_count)]());
        const bool ok = first(points.data(), point_count, boxes.data(), box_count, result.data()) == perception::Status::ok &&
                        all(points.data(), point_count, boxes.data(), box_count, inside.get()) == perception::Status::ok;
        if (!ok) report(__FILE__, __LINE__, input.name);
        for (std::int64_t i = 0; i < point_count; ++i) {
            std::int64_t expected = -1;
            for (std::int64_t k = 0; k < box_count; ++k) {
                const double depth = depth_in_box(input.points.data() + 3 * i, input.boxes.data() + 7 * k);
                const bool is_inside = inside[static_cast<std::size_t>(i * box_count + k)];
                if (depth == 0.0 || std::abs(depth) > 1e-5) {
                    if (is_inside != (depth >= 0)) report(__FILE__, __LINE__, input.name);
                }
                if (is_inside && expected < 0) expected = k;
            }
            if (result[static_cast<std::size_t>(i)] != expected) report(__FILE__, __LINE__, input.name);
        }
    }
}

}  // namespace testing
