// Sweeps to the one cloud that the network takes.
#pragma once

#include <span>
#include <vector>

#include "manifest.h"

namespace perception::runtime {

constexpr int POINT_FEATURES = 5;  // x y z (m), intensity, age (s)

// A sweep's points [count,4] in its own frame, its age before the key sweep, and where its frame lies in the key
// sweep's.
struct Sweep {
    std::span<const float> points;
    float age_s;
    const double* lidar_from_sweep;  // [4,4]; nullptr for the key sweep
};

// Appends the points that the network sees to `out` as rows of POINT_FEATURES; returns their number.
std::int64_t merge_sweep(const Sweep& sweep, const PointPreprocessing& preprocessing, std::vector<float>& out);

}  // namespace perception::runtime
