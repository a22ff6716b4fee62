#include "detections_json.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "json.h"

namespace perception::runtime {
namespace {

using Quaternion = std::array<double, 4>;  // w x y z

// Of the rotation of a [4,4] matrix (Shepperd, 1978): the largest of the four is found first, so none is divided by a
// small number. w >= 0.
Quaternion quaternion_of(const double* m) {
    const double diagonal[3] = {m[0], m[5], m[10]}, trace = m[0] + m[5] + m[10];
    Quaternion q{};
    const int axis = static_cast<int>(std::max_element(diagonal, diagonal + 3) - diagonal);
    if (trace >= diagonal[axis]) {
        q = {1 + trace, m[9] - m[6], m[2] - m[8], m[4] - m[1]};
    } else {
        const int j = (axis + 1) % 3, k = (axis + 2) % 3;
        q[0] = m[k * 4 + j] - m[j * 4 + k];
        q[axis + 1] = 1 + diagonal[axis] - diagonal[j] - diagonal[k];
        q[j + 1] = m[j * 4 + axis] + m[axis * 4 + j];
        q[k + 1] = m[k * 4 + axis] + m[axis * 4 + k];
    }
    double norm = 0;
    for (const double v : q) norm += v * v;
    const double scale = (q[0] < 0 ? -1 : 1) / std::sqrt(norm);
    for (double& v : q) v *= scale;
    return q;
}

Quaternion product(const Quaternion& a, const Quaternion& b) {
    Quaternion q{
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3], a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1], a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0]};
    if (q[0] < 0) {
        for (double& v : q) v = -v;
    }
    return q;
}

Json box_json(const perception_detection& d, const LoadedFrame& frame, const Quaternion& turn,
              const Manifest& manifest) {
    const std::array<double, 16>& m = frame.description.global_from_lidar;
    const double c[3] = {d.centre_m[0], d.centre_m[1], d.centre_m[2]}, v[2] = {d.velocity_mps[0], d.velocity_mps[1]};
    std::array<double, 3> centre{};
    std::array<double, 2> velocity{};
    for (int r = 0; r < 3; ++r) centre[r] = m[r * 4] * c[0] + m[r * 4 + 1] * c[1] + m[r * 4 + 2] * c[2] + m[r * 4 + 3];
    for (int r = 0; r < 2; ++r) velocity[r] = m[r * 4] * v[0] + m[r * 4 + 1] * v[1];
    const double half = 0.5 * static_cast<double>(d.yaw_rad);
    const std::string& name = manifest.classes[static_cast<std::size_t>(d.label)];
    const auto& [moving, resting] = manifest.attributes.at(name);
    return {{"sample_token", frame.stem},
            {"translation", centre},
            // nuScenes orders sizes as width, length, height.
            {"size", {d.size_m[1], d.size_m[0], d.size_m[2]}},
            {"rotation", product(turn, {std::cos(half), 0, 0, std::sin(half)})},
            {"velocity", velocity},
            {"detection_name", name},
            {"detection_score", d.score},
            {"attribute_name", std::hypot(v[0], v[1]) > manifest.moving_speed_mps ? moving : resting}};
}

}  // namespace

std::string detections_line(const LoadedFrame& frame, const perception_result& result, double read_ms,
                            const Manifest& manifest) {
    Json cameras = Json::array(), boxes = Json::array();
    for (std::size_t i = 0; i < manifest.cameras.size(); ++i) {
        if (result.cameras_used >> i & 1) cameras.push_back(manifest.cameras[i]);
    }
    const Quaternion turn = quaternion_of(frame.description.global_from_lidar.data());
    for (int32_t i = 0; i < result.detection_count; ++i)
        boxes.push_back(box_json(result.detections[i], frame, turn, manifest));
    const perception_timing& timing = result.timing;
    const Json line{{"frame", frame.stem},
                    {"sensors", {{"lidar", result.lidar_used != 0}, {"cameras", cameras}}},
                    {"latency_ms",
                     {{"read", read_ms},
                      {"images", timing.images_ms},
                      {"points", timing.points_ms},
                      {"network", timing.network_ms}}},
                    {"detections", boxes}};
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string error_line(const std::string& stem, perception_status code, const std::string& message) {
    const Json line{{"frame", stem}, {"error", {{"code", perception_status_name(code)}, {"message", message}}}};
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace perception::runtime
