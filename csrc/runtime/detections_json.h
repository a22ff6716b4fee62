// Detections as one line of JSON per frame, each box with the fields of a nuScenes result.
#pragma once

#include <string>

#include "frame_folder.h"
#include "manifest.h"
#include "perception.h"

namespace perception::runtime {

// Boxes are moved by the frame's global_from_lidar; without one they stay in the LiDAR frame.
std::string detections_line(const LoadedFrame& frame, const perception_result& result, double read_ms,
                            const Manifest& manifest);

std::string error_line(const std::string& stem, perception_status code, const std::string& message);

}  // namespace perception::runtime
