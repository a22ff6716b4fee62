#include "frame_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <optional>
#include <set>

#include "error.h"

namespace perception::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 3> CLOUD_SUFFIXES{".pcd.bin", ".bin", ".pcd"},
    IMAGE_SUFFIXES{".jpg", ".jpeg", ".png"};

// What both kinds of file have in common: a name, and the suffix that says what it is.
std::optional<std::string> stem_of(const std::string& name, const std::array<const char*, 3>& suffixes) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    for (const std::string suffix : suffixes) {
        if (lower.size() > suffix.size() && lower.ends_with(suffix)) return name.substr(0, name.size() - suffix.size());
    }
    return std::nullopt;
}

std::optional<fs::path> find_file(const fs::path& folder, const std::string& stem,
                                  const std::array<const char*, 3>& suffixes) {
    for (const char* suffix : suffixes) {
        if (fs::path file = folder / (stem + suffix); fs::is_regular_file(file)) return file;
    }
    return std::nullopt;
}

template <typename Buffer>
void read_file(const fs::path& path, Buffer& out) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const std::streamoff size = file.is_open() ? static_cast<std::streamoff>(file.tellg()) : -1;
    if (size < 0) fail(PERCEPTION_ERROR_FILE, path.string(), " cannot be read");
    out.resize(static_cast<std::size_t>(size));
    file.seekg(0);
    if (size > 0 && !file.read(reinterpret_cast<char*>(out.data()), size)) {
        fail(PERCEPTION_ERROR_FILE, path.string(), " cannot be read to its end");
    }
}

void collect(const fs::path& folder, const std::array<const char*, 3>& suffixes, std::set<std::string>& stems) {
    if (!fs::is_directory(folder)) return;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
        if (const auto stem = stem_of(entry.path().filename().string(), suffixes)) stems.insert(*stem);
    }
}

// Of a description's frame, to sort by; minus infinity where there is none. What is wrong with the file is said when
// its frame is loaded.
double time_of(const fs::path& path) {
    std::string text;
    if (fs::is_regular_file(path)) read_file(path, text);
    const Json json = Json::parse(text, nullptr, false);
    const bool known = json.is_object() && json.contains("timestamp_s") && json["timestamp_s"].is_number();
    return known ? json["timestamp_s"].get<double>() : -std::numeric_limits<double>::infinity();
}

bool is_pcd(const fs::path& path) { return stem_of(path.filename().string(), {".pcd", ".pcd", ".pcd"}).has_value(); }

}  // namespace

FrameDescription parse_frame(std::string_view text, const Calibration& calibration, const std::string& name) {
    const Where where{name, PERCEPTION_ERROR_CALIBRATION};
    const Json json = parse_object(text, where);
    FrameDescription out;
    out.cameras = calibration.cameras;
    if (json.contains("timestamp_s")) out.timestamp_s = number_member(json, "timestamp_s", where);
    if (json.contains("global_from_lidar")) {
        const Where inside = where.inside("global_from_lidar");
        read_matrix(json["global_from_lidar"], 4, out.global_from_lidar.data(), inside);
        check_rigid(out.global_from_lidar.data(), inside.name);
    }
    if (json.contains("cameras")) {
        for (const auto& [camera, fields] : object_member(json, "cameras", where).items()) {
            const Where inside = where.inside("camera " + camera);
            const auto known = out.cameras.find(camera);
            if (known == out.cameras.end()) fail(where.code, inside.name, " is not in calibration.json");
            if (!fields.is_object()) fail(where.code, inside.name, " is not an object");
            update_camera(fields, known->second, inside);
            if (fields.contains("timestamp_s"))
                out.camera_timestamps_s[camera] = number_member(fields, "timestamp_s", inside);
        }
    }
    if (!json.contains("sweeps")) return out;
    if (!json["sweeps"].is_array()) fail(where.code, name, ": 'sweeps' is not a list");
    for (const Json& sweep : json["sweeps"]) {
        const Where inside = where.inside("sweep " + std::to_string(out.sweeps.size() + 1));
        if (!sweep.is_object()) fail(where.code, inside.name, " is not an object");
        FrameDescription::OlderSweep& older = out.sweeps.emplace_back();
        older.file = string_member(sweep, "file", inside);
        older.timestamp_s = number_member(sweep, "timestamp_s", inside);
        read_matrix(member(sweep, "lidar_from_sweep", inside), 4, older.lidar_from_sweep.data(),
                    inside.inside("lidar_from_sweep"));
        check_rigid(older.lidar_from_sweep.data(), inside.name + ": lidar_from_sweep");
    }
    return out;
}

FrameFolder::FrameFolder(fs::path folder, std::vector<std::string> cameras)
    : folder_(std::move(folder)), cameras_(std::move(cameras)) {
    const fs::path path = folder_ / "calibration.json";
    std::string text;
    read_file(path, text);
    calibration_ = parse_calibration(text, path.string());
    if (cameras_.empty()) return;
    const bool same = calibration_.cameras.size() == cameras_.size() &&
                      std::all_of(cameras_.begin(), cameras_.end(),
                                  [&](const std::string& name) { return calibration_.cameras.contains(name); });
    if (same) return;
    std::string given, wanted;
    for (const auto& [name, unused] : calibration_.cameras) given += " " + name;
    for (const std::string& name : cameras_) wanted += " " + name;
    fail(PERCEPTION_ERROR_CAMERAS, path.string(), " has the cameras", given, "; the artifact is made for", wanted);
}

std::vector<std::string> FrameFolder::stems() const {
    std::set<std::string> stems;
    collect(folder_ / "lidar", CLOUD_SUFFIXES, stems);
    for (const std::string& camera : cameras_) collect(folder_ / camera, IMAGE_SUFFIXES, stems);
    collect(folder_ / "frames", {".json", ".json", ".json"}, stems);
    std::vector<std::pair<double, std::string>> timed;
    for (const std::string& stem : stems) timed.emplace_back(time_of(folder_ / "frames" / (stem + ".json")), stem);
    std::sort(timed.begin(), timed.end());
    std::vector<std::string> names;
    for (auto& [time_s, stem] : timed) names.push_back(std::move(stem));
    return names;
}

void FrameFolder::load(const std::string& stem, LoadedFrame& out) const {
    out.stem = stem;
    out.description = {};
    out.description.cameras = calibration_.cameras;
    if (const fs::path path = folder_ / "frames" / (stem + ".json"); fs::is_regular_file(path)) {
        std::string text;
        read_file(path, text);
        out.description = parse_frame(text, calibration_, path.string());
    }
    const FrameDescription& description = out.description;

    out.sweeps.clear();
    if (const auto key = find_file(folder_ / "lidar", stem, CLOUD_SUFFIXES)) {
        out.sweep_files.resize(std::max(out.sweep_files.size(), description.sweeps.size() + 1));
        for (std::size_t i = 0; i <= description.sweeps.size(); ++i) {
            const fs::path path = i == 0 ? *key : folder_ / description.sweeps[i - 1].file;
            std::vector<std::byte>& file = out.sweep_files[i];
            read_file(path, file);
            perception_sweep& sweep = out.sweeps.emplace_back();
            sweep.data = file.data(), sweep.bytes = file.size();
            sweep.format = is_pcd(path) ? PERCEPTION_CLOUD_PCD : PERCEPTION_CLOUD_FLOAT32;
            sweep.features = calibration_.point_features;
            sweep.timestamp_s = i == 0 ? description.timestamp_s : description.sweeps[i - 1].timestamp_s;
            if (i > 0) std::copy_n(description.sweeps[i - 1].lidar_from_sweep.begin(), 16, sweep.lidar_from_sweep);
        }
    }

    out.images.assign(cameras_.size(), {});
    out.image_files.resize(cameras_.size());
    for (std::size_t i = 0; i < cameras_.size(); ++i) {
        const auto path = find_file(folder_ / cameras_[i], stem, IMAGE_SUFFIXES);
        if (!path) continue;
        read_file(*path, out.image_files[i]);
        const CameraCalibration& camera = description.cameras.at(cameras_[i]);
        perception_image& image = out.images[i];
        // An empty file is a damaged image, not a missing camera.
        static constexpr std::uint8_t NOTHING = 0;
        image.data =
            out.image_files[i].empty() ? &NOTHING : reinterpret_cast<const std::uint8_t*>(out.image_files[i].data());
        image.bytes = out.image_files[i].size();
        image.format = PERCEPTION_IMAGE_ENCODED;
        image.width = camera.width, image.height = camera.height;
        const auto time = description.camera_timestamps_s.find(cameras_[i]);
        image.timestamp_s = time == description.camera_timestamps_s.end() ? UNKNOWN_S : time->second;
        std::copy_n(camera.camera_from_lidar.begin(), 16, image.camera_from_lidar);
        std::copy_n(camera.intrinsics.begin(), 9, image.intrinsics);
    }
    out.frame = {description.timestamp_s, out.sweeps.data(), static_cast<int32_t>(out.sweeps.size()), out.images.data(),
                 static_cast<int32_t>(out.images.size())};
}

}  // namespace perception::runtime
