// Calibration of cameras, and the check that a matrix is what it claims to be.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>

#include "json.h"

namespace perception::runtime {

struct CameraCalibration {
    std::array<double, 16> camera_from_lidar;
    std::array<double, 9> intrinsics;
    int width, height;  // px, of the recorded image
};

struct Calibration {
    std::map<std::string, CameraCalibration> cameras;
    int point_features;
};

// Both throw Error(PERCEPTION_ERROR_CALIBRATION) naming what is wrong: numbers that are not finite, a rotation that is
// none (to 1e-3, as float32 matrices are), a last row that is not 0 0 0 1; focal lengths that are not positive.
void check_rigid(const double* matrix, const std::string& name);
void check_intrinsics(const double* matrix, const std::string& name);

// calibration.json, as perception/datasets/frames.py describes it.
Calibration parse_calibration(std::string_view text, const std::string& name);

// Fields of one camera, over those that it has already.
void update_camera(const Json& json, CameraCalibration& camera, const Where& where);

}  // namespace perception::runtime
