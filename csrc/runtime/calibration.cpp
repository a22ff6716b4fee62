#include "calibration.h"

#include <algorithm>
#include <cmath>

namespace perception::runtime {
namespace {

constexpr double TOLERANCE = 1e-3;
constexpr int MAX_SIDE = 16384;

bool near(double value, double wanted) { return std::abs(value - wanted) <= TOLERANCE; }

}  // namespace

void check_rigid(const double* matrix, const std::string& name) {
    if (!std::all_of(matrix, matrix + 16, [](double v) { return std::isfinite(v); })) {
        fail(PERCEPTION_ERROR_CALIBRATION, name, " holds NaN or infinity");
    }
    bool rigid = near(matrix[12], 0) && near(matrix[13], 0) && near(matrix[14], 0) && near(matrix[15], 1);
    for (int a = 0; a < 3; ++a) {
        for (int b = 0; b < 3; ++b) {
            double dot = 0;
            for (int k = 0; k < 3; ++k) dot += matrix[a * 4 + k] * matrix[b * 4 + k];
            rigid &= near(dot, a == b ? 1 : 0);
        }
    }
    const auto minor = [&](int c, int d) { return matrix[4 + c] * matrix[8 + d] - matrix[4 + d] * matrix[8 + c]; };
    rigid &= matrix[0] * minor(1, 2) - matrix[1] * minor(0, 2) + matrix[2] * minor(0, 1) > 0;
    if (!rigid) fail(PERCEPTION_ERROR_CALIBRATION, name, " is not a rotation and a translation");
}

void check_intrinsics(const double* matrix, const std::string& name) {
    if (!std::all_of(matrix, matrix + 9, [](double v) { return std::isfinite(v); })) {
        fail(PERCEPTION_ERROR_CALIBRATION, name, " holds NaN or infinity");
    }
    if (!(matrix[0] > 0 && matrix[4] > 0 && near(matrix[6], 0) && near(matrix[7], 0) && near(matrix[8], 1))) {
        fail(PERCEPTION_ERROR_CALIBRATION, name, " is not a camera's matrix: fx 0 cx, 0 fy cy, 0 0 1");
    }
}

void update_camera(const Json& json, CameraCalibration& camera, const Where& where) {
    if (json.contains("camera_from_lidar")) {
        const Where inside = where.inside("camera_from_lidar");
        read_matrix(json["camera_from_lidar"], 4, camera.camera_from_lidar.data(), inside);
        check_rigid(camera.camera_from_lidar.data(), inside.name);
    }
    if (json.contains("intrinsics")) {
        const Where inside = where.inside("intrinsics");
        read_matrix(json["intrinsics"], 3, camera.intrinsics.data(), inside);
        check_intrinsics(camera.intrinsics.data(), inside.name);
    }
    if (json.contains("width")) camera.width = static_cast<int>(integer_member(json, "width", where, 1, MAX_SIDE));
    if (json.contains("height")) camera.height = static_cast<int>(integer_member(json, "height", where, 1, MAX_SIDE));
    // null: a lens without.
    if (json.contains("distortion") && !json["distortion"].is_null()) {
        fail(where.code, where.name, ": lens distortion is not undone here: straighten the images before (cv2.undistort "
             "or cv2.fisheye.undistortImage with the same intrinsics) and leave 'distortion' out");
    }
}

Calibration parse_calibration(std::string_view text, const std::string& name) {
    const Where where{name, PERCEPTION_ERROR_CALIBRATION};
    const Json json = parse_object(text, where);
    Calibration out;
    out.point_features =
        json.contains("point_features") ? static_cast<int>(integer_member(json, "point_features", where, 3, 64)) : 5;
    for (const auto& [camera, fields] : object_member(json, "cameras", where).items()) {
        const Where inside = where.inside("camera " + camera);
        if (!fields.is_object()) fail(where.code, inside.name, " is not an object");
        for (const char* key : {"camera_from_lidar", "intrinsics", "width", "height"}) member(fields, key, inside);
        update_camera(fields, out.cameras[camera], inside);
    }
    return out;
}

}  // namespace perception::runtime
