// manifest.json, as perception/export/manifest.py writes it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace perception::runtime {

// perception/export/preprocessing.py says what the numbers mean.
struct PointPreprocessing {
    std::int64_t sweeps, every;
    double remove_close_m;
    std::optional<std::array<float, 6>> range_m;
};

struct ImagePreprocessing {
    int rows, columns;
    std::optional<std::array<int, 2>> decode_min_hw;
    double scale, crop_x, crop_y;
};

struct Manifest {
    std::string file, sha256, cpu_capability, torch_version;
    std::vector<std::string> classes, cameras;
    std::optional<PointPreprocessing> points;
    std::optional<ImagePreprocessing> images;
    double score_threshold, moving_speed_mps;
    std::map<std::string, std::pair<std::string, std::string>> attributes;  // class -> moving, at rest
    std::int64_t max_points;
    double max_camera_lidar_gap_s;
};

constexpr std::int64_t FORMAT_VERSION = 1;

// Throws Error(PERCEPTION_ERROR_MANIFEST) naming `name` and the field that is missing or wrong.
Manifest parse_manifest(std::string_view text, const std::string& name);

}  // namespace perception::runtime
