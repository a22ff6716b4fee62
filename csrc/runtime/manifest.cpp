#include "manifest.h"

#include <algorithm>

#include "json.h"
#include "preprocess_points.h"

namespace perception::runtime {
namespace {

constexpr int MAX_CAMERAS = 32;  // as many as perception_result.cameras_used has bits
constexpr std::int64_t MAX_SIDE = 16384, MAX_POINTS = 100'000'000;

std::vector<std::string> strings(const Json& object, const char* key, const Where& where) {
    const Json& list = member(object, key, where);
    if (!list.is_array()) fail(where.code, where.name, ": '", key, "' is not a list");
    std::vector<std::string> out;
    for (const Json& item : list) {
        if (!item.is_string()) fail(where.code, where.name, ": '", key, "' holds something that is not a string");
        out.push_back(item.get<std::string>());
    }
    return out;
}

PointPreprocessing point_preprocessing(const Json& json, const Where& where) {
    PointPreprocessing out{integer_member(json, "sweeps", where, 0, 1000),
                           integer_member(json, "every", where, 1, 1000), number_member(json, "remove_close_m", where),
                           std::nullopt};
    const Json& range = member(json, "range_m", where);
    if (range.is_null()) return out;
    if (!range.is_array() || range.size() != 6 ||
        !std::all_of(range.begin(), range.end(), [](const Json& v) { return v.is_number(); })) {
        fail(where.code, where.name, ": 'range_m' is not six numbers");
    }
    out.range_m.emplace();
    for (std::size_t i = 0; i < 6; ++i) (*out.range_m)[i] = range[i].get<float>();
    return out;
}

std::array<int, 2> rows_columns(const Json& json, const char* key, const Where& where) {
    const Json& pair = member(json, key, where);
    std::array<int, 2> out{};
    for (std::size_t i = 0; i < 2; ++i) {
        if (!pair.is_array() || pair.size() != 2 || !pair[i].is_number_unsigned() || pair[i].get<std::uint64_t>() < 1 ||
            pair[i].get<std::uint64_t>() > MAX_SIDE) {
            fail(where.code, where.name, ": '", key, "' is not rows and columns from 1 to ", MAX_SIDE);
        }
        out[i] = pair[i].get<int>();
    }
    return out;
}

ImagePreprocessing image_preprocessing(const Json& json, const Where& where) {
    const std::array<int, 2> size = rows_columns(json, "size_hw", where);
    ImagePreprocessing out{size[0],
                           size[1],
                           std::nullopt,
                           number_member(json, "scale", where),
                           number_member(json, "crop_x", where),
                           number_member(json, "crop_y", where)};
    if (out.scale < 1e-3 || out.scale > 1e3) fail(where.code, where.name, ": 'scale' is out of reason");
    if (!member(json, "decode_min_hw", where).is_null()) out.decode_min_hw = rows_columns(json, "decode_min_hw", where);
    return out;
}

void read_postprocessing(const Json& json, Manifest& manifest, const Where& where) {
    manifest.score_threshold = number_member(json, "score_threshold", where);
    manifest.moving_speed_mps = number_member(json, "moving_speed_mps", where);
    const Json& attributes = object_member(json, "attributes", where);
    if (attributes.size() != manifest.classes.size()) fail(where.code, where.name, ": 'attributes' are of other classes");
    for (const std::string& name : manifest.classes) {
        const std::vector<std::string> pair = strings(attributes, name.c_str(), where.inside("attributes"));
        if (pair.size() != 2) fail(where.code, where.name, ": attributes of '", name, "' are not two strings");
        manifest.attributes[name] = {pair[0], pair[1]};
    }
}

struct Input {
    const char *name, *dtype;
    std::vector<std::int64_t> shape;
};

// What the network is given, in the order of its arguments.
std::vector<Input> given_inputs(const Manifest& manifest) {
    std::vector<Input> out;
    if (manifest.points) {
        out.push_back({"points", "float32", {manifest.max_points, POINT_FEATURES}});
        out.push_back({"lidar_mask", "bool", {1}});
    }
    if (manifest.images) {
        const auto cameras = static_cast<std::int64_t>(manifest.cameras.size());
        out.push_back({"images", "uint8", {cameras, 3, manifest.images->rows, manifest.images->columns}});
        out.push_back({"image_from_lidar", "float32", {cameras, 4, 4}});
        out.push_back({"camera_mask", "bool", {cameras}});
    }
    return out;
}

// The network looks at no size of what it is given: it would read past the end of images that are smaller than it was
// made for. So what the runtime gives must be what the network was exported with.
void check_inputs(const Json& inputs, const Manifest& manifest, const Where& where) {
    const std::vector<Input> given = given_inputs(manifest);
    if (!inputs.is_array() || given.empty() || inputs.size() != given.size()) {
        fail(where.code, where.name, ": 'inputs' are not those that its sensors give");
    }
    for (std::size_t i = 0; i < given.size(); ++i) {
        const Where inside = where.inside(std::string("input ") + given[i].name);
        if (!inputs[i].is_object() || string_member(inputs[i], "name", inside) != given[i].name ||
            string_member(inputs[i], "dtype", inside) != given[i].dtype) {
            fail(where.code, where.name, ": 'inputs' are not those that its sensors give");
        }
        const Json& shape = member(inputs[i], "shape", inside);
        bool same = shape.is_array() && shape.size() == given[i].shape.size();
        for (std::size_t axis = 0; same && axis < shape.size(); ++axis) {
            // An axis of free size has a bound.
            const Json& size = shape[axis].is_object() ? member(shape[axis], "max", inside) : shape[axis];
            same = size.is_number_integer() && size.get<std::int64_t>() == given[i].shape[axis];
        }
        if (!same) fail(where.code, inside.name, ": its shape is not that of the cameras, preprocessing and limits");
    }
}

}  // namespace

Manifest parse_manifest(std::string_view text, const std::string& name) {
    const Where where{name, PERCEPTION_ERROR_MANIFEST};
    const Json json = parse_object(text, where);
    const std::int64_t version = integer_member(json, "format_version", where, 0, 1'000'000);
    if (version != FORMAT_VERSION) {
        fail(where.code, name, " has format version ", version, ", this runtime reads ", FORMAT_VERSION,
             ": export the model again");
    }
    Manifest out;
    const Json& artifact = object_member(json, "artifact", where);
    const Where inside = where.inside("artifact");
    out.file = string_member(artifact, "file", inside);
    out.sha256 = string_member(artifact, "sha256", inside);
    out.cpu_capability = string_member(artifact, "cpu_capability", inside);
    if (out.file.empty() || out.file.find('/') != std::string::npos)
        fail(where.code, name, ": 'file' is not a file's name");
    if (string_member(artifact, "target", inside) != "aoti" || string_member(artifact, "device", inside) != "cpu") {
        fail(where.code, name, ": this runtime runs artifacts of target aoti and device cpu");
    }

    out.torch_version = string_member(object_member(json, "versions", where), "torch", where.inside("versions"));

    out.classes = strings(json, "classes", where);
    out.cameras = strings(json, "cameras", where);
    if (out.classes.empty()) fail(where.code, name, ": 'classes' is empty");
    if (out.cameras.size() > MAX_CAMERAS) fail(where.code, name, ": more than ", MAX_CAMERAS, " cameras");

    const Json& preprocessing = object_member(json, "preprocessing", where);
    const Json& points = member(preprocessing, "points", where.inside("preprocessing"));
    const Json& images = member(preprocessing, "images", where.inside("preprocessing"));
    if (points.is_object()) out.points = point_preprocessing(points, where.inside("preprocessing of points"));
    if (images.is_object()) out.images = image_preprocessing(images, where.inside("preprocessing of images"));
    if (out.images.has_value() == out.cameras.empty())
        fail(where.code, name, ": cameras and their preprocessing disagree");
    read_postprocessing(object_member(json, "postprocessing", where), out, where.inside("postprocessing"));

    const Json& limits = object_member(json, "limits", where);
    out.max_points = integer_member(limits, "max_points", where.inside("limits"), 1, MAX_POINTS);
    out.max_camera_lidar_gap_s = number_member(limits, "max_camera_lidar_gap_s", where.inside("limits"));
    check_inputs(member(json, "inputs", where), out, where);
    return out;
}

}  // namespace perception::runtime
