// A folder of frames, by the convention of perception/datasets/frames.py, read into memory that is used again.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "calibration.h"
#include "perception.h"

namespace perception::runtime {

constexpr double UNKNOWN_S = std::numeric_limits<double>::quiet_NaN();

// The content of frames/STEM.json; what it does not say is as in calibration.json, or unknown.
struct FrameDescription {
    struct OlderSweep {
        std::string file;  // relative to the folder
        double timestamp_s;
        std::array<double, 16> lidar_from_sweep;
    };
    double timestamp_s = UNKNOWN_S;
    std::vector<OlderSweep> sweeps;
    std::map<std::string, CameraCalibration> cameras;
    std::map<std::string, double> camera_timestamps_s;
    std::array<double, 16> global_from_lidar{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
};

// Throws Error(PERCEPTION_ERROR_CALIBRATION) naming `name` and the field.
FrameDescription parse_frame(std::string_view text, const Calibration& calibration, const std::string& name);

// One frame's files, and the view of them that perception_prepare takes.
struct LoadedFrame {
    std::string stem;
    FrameDescription description;
    std::vector<std::vector<std::byte>> sweep_files, image_files;
    std::vector<perception_sweep> sweeps;
    std::vector<perception_image> images;
    perception_frame frame{};
};

class FrameFolder {
  public:
    // `cameras`: the artifact's, in its order. Throws Error when calibration.json is missing or damaged, or its cameras
    // are others.
    FrameFolder(std::filesystem::path folder, std::vector<std::string> cameras);

    // Names of the frames: whatever has a cloud, an image or a description. Those without a time come first, by name,
    // then the others by time.
    std::vector<std::string> stems() const;

    // Reads one frame's files; sensors whose file is absent are missing. Throws Error.
    void load(const std::string& stem, LoadedFrame& out) const;

    const std::filesystem::path& path() const { return folder_; }

  private:
    std::filesystem::path folder_;
    std::vector<std::string> cameras_;
    Calibration calibration_;
};

}  // namespace perception::runtime
