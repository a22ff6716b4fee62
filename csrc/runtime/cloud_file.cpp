#include "cloud_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.h"

namespace perception::runtime {

void check_count(std::int64_t count, std::int64_t most) {
    if (count > most)
        fail(PERCEPTION_ERROR_POINT_COUNT, "a cloud has ", count, " points, the artifact's bound is ", most);
}

void check_finite(const std::vector<float>& points, std::size_t first) {
    // A sum over zeros times the values is NaN where any value is not finite, and compilers vectorise it.
    float zero = 0.0f;
    for (std::size_t i = first; i < points.size(); ++i) zero += 0.0f * points[i];
    if (zero == 0.0f) return;
    std::int64_t bad = 0;
    for (std::size_t i = first; i < points.size(); i += CLOUD_FEATURES) {
        bad += !std::all_of(&points[i], &points[i] + CLOUD_FEATURES, [](float v) { return std::isfinite(v); });
    }
    fail(PERCEPTION_ERROR_POINTS, bad, " points of ", (points.size() - first) / CLOUD_FEATURES,
         " of a cloud hold NaN or infinity");
}

std::int64_t read_rows(Bytes file, int features, std::int64_t most, std::vector<float>& points) {
    if (features < 3) fail(PERCEPTION_ERROR_POINTS, "a point needs at least x y z, not ", features, " numbers");
    const std::size_t row = sizeof(float) * static_cast<std::size_t>(features);
    if (file.size() % row != 0) {
        fail(PERCEPTION_ERROR_POINTS, "a cloud is truncated: ", file.size(), " bytes are not a multiple of ", row, " (",
             features, " float32 per point)");
    }
    const std::size_t count = file.size() / row, first = points.size();
    check_count(static_cast<std::int64_t>(count), most);
    points.resize(first + count * CLOUD_FEATURES, 0.0f);
    const std::size_t taken = sizeof(float) * static_cast<std::size_t>(std::min(features, CLOUD_FEATURES));
    for (std::size_t i = 0; i < count; ++i) {
        std::memcpy(&points[first + i * CLOUD_FEATURES], file.data() + i * row, taken);
        if (features < CLOUD_FEATURES) points[first + i * CLOUD_FEATURES + 3] = 0.0f;
    }
    check_finite(points, first);
    return static_cast<std::int64_t>(count);
}

}  // namespace perception::runtime
