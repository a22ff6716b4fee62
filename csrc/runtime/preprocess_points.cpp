#include "preprocess_points.h"

#include <array>
#include <cmath>

namespace perception::runtime {

std::int64_t merge_sweep(const Sweep& sweep, const PointPreprocessing& preprocessing, std::vector<float>& out) {
    const std::size_t count = sweep.points.size() / 4, first = out.size();
    out.resize(first + count * POINT_FEATURES);
    float* to = out.data() + first;
    std::array<float, 12> pose{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
    const bool older = sweep.lidar_from_sweep != nullptr;
    if (older) {
        for (std::size_t i = 0; i < 12; ++i) pose[i] = static_cast<float>(sweep.lidar_from_sweep[i]);
    }
    const float close_m = static_cast<float>(preprocessing.remove_close_m);
    for (std::size_t i = 0; i < count; ++i) {
        const float* p = sweep.points.data() + i * 4;
        float xyz[3] = {p[0], p[1], p[2]};
        if (older) {
            if (std::abs(p[0]) < close_m && std::abs(p[1]) < close_m) continue;
            for (std::size_t r = 0; r < 3; ++r) {
                xyz[r] = p[0] * pose[r * 4] + p[1] * pose[r * 4 + 1] + p[2] * pose[r * 4 + 2] + pose[r * 4 + 3];
            }
        }
        if (preprocessing.range_m) {
            const std::array<float, 6>& range = *preprocessing.range_m;
            bool inside = true;
            for (int axis = 0; axis < 3; ++axis) inside &= xyz[axis] >= range[axis] && xyz[axis] < range[axis + 3];
            if (!inside) continue;
        }
        to[0] = xyz[0], to[1] = xyz[1], to[2] = xyz[2], to[3] = p[3], to[4] = sweep.age_s;
        to += POINT_FEATURES;
    }
    out.resize(static_cast<std::size_t>(to - out.data()));
    return static_cast<std::int64_t>((out.size() - first) / POINT_FEATURES);
}

}  // namespace perception::runtime
