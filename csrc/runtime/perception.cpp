// The whole forward of a frame, from the sensors' bytes to boxes. Every step that is longer than a screen has a file of
// its own; what the numbers mean is in the manifest.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include "artifact.h"
#include "calibration.h"
#include "cloud_file.h"
#include "error.h"
#include "image_file.h"
#include "perception.h"
#include "preprocess_images.h"
#include "preprocess_points.h"
#include "workers.h"

using namespace perception::runtime;

namespace {

constexpr double NEVER_S = -std::numeric_limits<double>::infinity();
constexpr std::int64_t BOX_NUMBERS = 9;

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

struct perception_runtime {
    Artifact artifact;
    Workers workers;
    int network_threads;
    std::mutex network, infer;
    std::unique_ptr<perception_inputs> own_inputs;  // of perception_infer

    std::mutex clock;
    double last_frame_s = NEVER_S;
};

// What the network takes of one frame, and the memory that is used again for the next.
struct perception_inputs {
    std::vector<float> points;            // [P,5]
    std::vector<std::uint8_t> images;     // [N,3,H,W]
    std::vector<float> image_from_lidar;  // [N,4,4]
    std::unique_ptr<bool[]> camera_mask;  // [N]
    bool lidar_mask = false, ready = false;
    perception_timing timing{};

    std::vector<Image> decoded;                    // per camera
    std::vector<std::vector<std::uint8_t>> spare;  // per camera
    std::vector<float> cloud;
    std::vector<perception_detection> detections;
};

namespace {

// ---- 1. Is this a frame that the artifact can take?

void check_times(perception_runtime& runtime, const perception_frame& frame) {
    const double now_s = frame.timestamp_s, limit_s = runtime.artifact.manifest.max_camera_lidar_gap_s;
    if (std::isnan(now_s)) return;
    if (std::isinf(now_s)) fail(PERCEPTION_ERROR_CLOCK, "the frame's time is infinite");
    if (!(now_s > runtime.last_frame_s)) {
        const double last_s = std::exchange(runtime.last_frame_s, now_s);
        fail(PERCEPTION_ERROR_CLOCK, "the clock goes backwards: this frame is of ", std::to_string(now_s),
             " s, the one before of ", std::to_string(last_s), " s; the next has to be newer than this one");
    }
    if (frame.sweep_count == 0) return;
    for (int i = 0; i < frame.image_count; ++i) {
        const double gap_s = std::abs(frame.images[i].timestamp_s - now_s);
        if (frame.images[i].data != nullptr && gap_s > limit_s) {
            fail(PERCEPTION_ERROR_TIME_GAP, "camera ", runtime.artifact.manifest.cameras[static_cast<std::size_t>(i)],
                 " is ", std::to_string(gap_s), " s from the LiDAR, the limit is ", std::to_string(limit_s), " s");
        }
    }
}

void check_frame(perception_runtime& runtime, const perception_frame& frame) {
    const std::size_t cameras = runtime.artifact.manifest.cameras.size();
    if (frame.image_count < 0 || static_cast<std::size_t>(frame.image_count) != cameras) {
        fail(PERCEPTION_ERROR_CAMERAS, "the frame has ", frame.image_count, " cameras, the artifact is made for ",
             cameras);
    }
    if (frame.sweep_count < 0 || (frame.sweep_count > 0 && frame.sweeps == nullptr) ||
        (cameras > 0 && frame.images == nullptr)) {
        fail(PERCEPTION_ERROR_ARGUMENT, "sweeps or images of the frame are null, or their count is negative");
    }
    check_times(runtime, frame);
}

// ---- 2. The LiDAR: sweeps to one cloud in the key sweep's frame.

void prepare_points(const Manifest& manifest, const perception_frame& frame, perception_inputs& inputs) {
    const PointPreprocessing& how = *manifest.points;
    inputs.points.clear();
    inputs.lidar_mask = frame.sweep_count > 0;
    for (std::int64_t i = 0; i < frame.sweep_count; ++i) {
        // The key sweep, then every `every`-th older one until there are enough.
        if (i > 0 && (i % how.every != 0 || i / how.every > how.sweeps)) continue;
        const perception_sweep& sweep = frame.sweeps[i];
        const double age_s = i == 0 ? 0.0 : frame.timestamp_s - sweep.timestamp_s;
        if (i > 0 && !(age_s > 0.0 && std::isfinite(age_s))) {
            fail(PERCEPTION_ERROR_CLOCK, "older sweep ", i, " has no time before the frame's");
        }
        if (i > 0) check_rigid(sweep.lidar_from_sweep, "lidar_from_sweep of sweep " + std::to_string(i));
        if (sweep.data == nullptr && sweep.bytes > 0) fail(PERCEPTION_ERROR_ARGUMENT, "data of sweep ", i, " is null");
        const Bytes file(static_cast<const std::byte*>(sweep.data), sweep.bytes);
        inputs.cloud.clear();
        if (sweep.format == PERCEPTION_CLOUD_PCD) {
            read_pcd(file, manifest.max_points, inputs.cloud);
        } else if (sweep.format == PERCEPTION_CLOUD_FLOAT32) {
            read_rows(file, sweep.features, manifest.max_points, inputs.cloud);
        } else {
            fail(PERCEPTION_ERROR_ARGUMENT, "sweep ", i, " has the unknown format ", sweep.format);
        }
        merge_sweep({inputs.cloud, static_cast<float>(age_s), i == 0 ? nullptr : sweep.lidar_from_sweep}, how,
                    inputs.points);
    }
    check_count(static_cast<std::int64_t>(inputs.points.size() / POINT_FEATURES), manifest.max_points);
}

// ---- 3. A camera: its image decoded and brought to the network's size, and the matrix that goes with it.

void prepare_image(const Manifest& manifest, const perception_image& given, std::size_t camera,
                   perception_inputs& inputs) {
    const ImagePreprocessing& how = *manifest.images;
    const std::size_t pixels =
        std::size_t{3} * static_cast<std::size_t>(how.rows) * static_cast<std::size_t>(how.columns);
    std::uint8_t* planes = inputs.images.data() + camera * pixels;
    float* matrix = inputs.image_from_lidar.data() + camera * 16;
    inputs.camera_mask[camera] = given.data != nullptr;
    if (given.data == nullptr) {
        std::memset(planes, 0, pixels);
        for (int i = 0; i < 16; ++i) matrix[i] = i % 5 == 0 ? 1.0f : 0.0f;
        return;
    }
    try {
        check_rigid(given.camera_from_lidar, "camera_from_lidar");
        check_intrinsics(given.intrinsics, "intrinsics");
        Image& image = inputs.decoded[camera];
        int factor = 1;
        const ImageSize claimed{given.width, given.height};
        if (given.format == PERCEPTION_IMAGE_ENCODED) {
            const Bytes file(reinterpret_cast<const std::byte*>(given.data), given.bytes);
            const ImageSize size = read_image_size(file);
            if (size.width != claimed.width || size.height != claimed.height) {
                fail(PERCEPTION_ERROR_IMAGE_SIZE, "an image is ", size.width, " x ", size.height,
                     " px, its calibration is for ", claimed.width, " x ", claimed.height);
            }
            factor = reduction(size, how.decode_min_hw);
            read_image(file, factor, image, inputs.spare[camera]);
        } else if (given.format == PERCEPTION_IMAGE_RGB8) {
            const std::int64_t bytes = std::int64_t{3} * claimed.width * claimed.height;
            if (claimed.width < 1 || claimed.height < 1 || static_cast<std::int64_t>(given.bytes) != bytes) {
                fail(PERCEPTION_ERROR_IMAGE_SIZE, "an image has ", given.bytes, " bytes, which are not ", claimed.width,
                     " x ", claimed.height, " RGB pixels");
            }
            image.width = claimed.width, image.height = claimed.height;
            image.rgb.assign(given.data, given.data + bytes);
        } else {
            fail(PERCEPTION_ERROR_ARGUMENT, "an image has the unknown format ", given.format);
        }
        const PixelAffine affine = fit({image.width, image.height}, how);
        resize(image, affine, how, planes);
        const Matrix4 full = image_from_lidar(factor, affine, given.intrinsics, given.camera_from_lidar);
        for (std::size_t i = 0; i < full.size(); ++i) matrix[i] = static_cast<float>(full[i]);
    } catch (const Error& error) {
        fail(error.code, "camera ", manifest.cameras[camera], ": ", error.what());
    }
}

void prepare(perception_runtime& runtime, perception_inputs& inputs, const perception_frame& frame) {
    const std::lock_guard clock(runtime.clock);
    const Manifest& manifest = runtime.artifact.manifest;
    inputs.ready = false;
    check_frame(runtime, frame);
    std::mutex timing;
    const auto start = Clock::now();
    double points_ms = 0, images_end_ms = 0;
    const int clouds = manifest.points ? 1 : 0;
    runtime.workers.run(clouds + static_cast<int>(manifest.cameras.size()), [&](int part) {
        if (part < clouds) {
            prepare_points(manifest, frame, inputs);
            points_ms = ms_since(start);
            return;
        }
        const std::size_t camera = static_cast<std::size_t>(part - clouds);
        prepare_image(manifest, frame.images[camera], camera, inputs);
        const std::lock_guard lock(timing);
        images_end_ms = std::max(images_end_ms, ms_since(start));
    });
    inputs.timing = {images_end_ms, points_ms, 0.0};
    inputs.ready = true;
    if (!std::isnan(frame.timestamp_s)) runtime.last_frame_s = frame.timestamp_s;
}

// ---- 4. The network, and the boxes that it is sure enough of.

std::vector<at::Tensor> network_inputs(const Manifest& manifest, perception_inputs& inputs) {
    std::vector<at::Tensor> out;
    if (manifest.points) {
        const auto count = static_cast<std::int64_t>(inputs.points.size()) / POINT_FEATURES;
        out.push_back(at::from_blob(inputs.points.data(), {count, POINT_FEATURES}, at::kFloat));
        out.push_back(at::from_blob(&inputs.lidar_mask, {1}, at::kBool));
    }
    if (manifest.images) {
        const auto cameras = static_cast<std::int64_t>(manifest.cameras.size());
        out.push_back(at::from_blob(inputs.images.data(), {cameras, 3, manifest.images->rows, manifest.images->columns},
                                    at::kByte));
        out.push_back(at::from_blob(inputs.image_from_lidar.data(), {cameras, 4, 4}, at::kFloat));
        out.push_back(at::from_blob(inputs.camera_mask.get(), {cameras}, at::kBool));
    }
    return out;
}

std::vector<at::Tensor> run_network(perception_runtime& runtime, perception_inputs& inputs) {
    const c10::InferenceMode inference;
    if (runtime.network_threads > 0) at::set_num_threads(runtime.network_threads);
    try {
        return runtime.artifact.model->run(network_inputs(runtime.artifact.manifest, inputs));
    } catch (const std::exception& error) {
        fail(PERCEPTION_ERROR_NETWORK, "the network failed: ", error.what());
    }
}

void collect(const Manifest& manifest, const std::vector<at::Tensor>& outputs, std::vector<perception_detection>& out) {
    if (outputs.size() != 3) fail(PERCEPTION_ERROR_NETWORK, "the network gave ", outputs.size(), " outputs, not 3");
    const at::Tensor boxes = outputs[0].contiguous(), scores = outputs[1].contiguous(),
                     labels = outputs[2].contiguous();
    const std::int64_t count = scores.numel();
    if (boxes.numel() != count * BOX_NUMBERS || labels.numel() != count || boxes.scalar_type() != at::kFloat ||
        scores.scalar_type() != at::kFloat || labels.scalar_type() != at::kLong) {
        fail(PERCEPTION_ERROR_NETWORK, "the network's outputs are not the manifest's");
    }
    const float* box = boxes.const_data_ptr<float>();
    const float* score = scores.const_data_ptr<float>();
    const std::int64_t* label = labels.const_data_ptr<std::int64_t>();
    out.clear();
    for (std::int64_t i = 0; i < count; ++i, box += BOX_NUMBERS) {
        if (std::isnan(score[i])) fail(PERCEPTION_ERROR_NETWORK, "the network gave a score that is not a number");
        if (!(score[i] >= static_cast<float>(manifest.score_threshold))) continue;
        bool finite = label[i] >= 0 && label[i] < static_cast<std::int64_t>(manifest.classes.size());
        for (std::int64_t k = 0; k < BOX_NUMBERS; ++k) finite &= std::isfinite(box[k]);
        if (!finite) fail(PERCEPTION_ERROR_NETWORK, "the network gave a box that is not finite, or of no class");
        perception_detection& d = out.emplace_back();
        std::copy_n(box, 3, d.centre_m);
        std::copy_n(box + 3, 3, d.size_m);
        d.yaw_rad = box[6];
        std::copy_n(box + 7, 2, d.velocity_mps);
        d.score = score[i], d.label = static_cast<std::int32_t>(label[i]);
    }
}

void detect(perception_runtime& runtime, perception_inputs& inputs, perception_result& result) {
    const std::lock_guard lock(runtime.network);
    if (!inputs.ready) fail(PERCEPTION_ERROR_ARGUMENT, "these inputs hold no prepared frame");
    const Manifest& manifest = runtime.artifact.manifest;
    const auto start = Clock::now();
    collect(manifest, run_network(runtime, inputs), inputs.detections);
    inputs.timing.network_ms = ms_since(start);
    std::uint32_t cameras = 0;
    for (std::size_t i = 0; i < manifest.cameras.size(); ++i) cameras |= std::uint32_t{inputs.camera_mask[i]} << i;
    const bool lidar = manifest.points.has_value() && inputs.lidar_mask;
    result = {inputs.detections.data(), static_cast<std::int32_t>(inputs.detections.size()), lidar, cameras,
              inputs.timing};
}

std::unique_ptr<perception_inputs> new_inputs(const Manifest& manifest) {
    auto inputs = std::make_unique<perception_inputs>();
    const std::size_t cameras = manifest.cameras.size();
    if (manifest.images) {
        const auto rows = static_cast<std::size_t>(manifest.images->rows),
                   columns = static_cast<std::size_t>(manifest.images->columns);
        inputs->images.resize(cameras * 3 * rows * columns);
    }
    inputs->image_from_lidar.resize(cameras * 16);
    inputs->camera_mask = std::make_unique<bool[]>(cameras);
    inputs->decoded.resize(cameras);
    inputs->spare.resize(cameras);
    // Not null when the LiDAR is missing in the first frame.
    inputs->points.reserve(POINT_FEATURES);
    return inputs;
}

// Runs the network once, on black images and as many points as a frame may have, all over the map. What it compiles and
// takes at its first run it then has: the first frame is as fast as the others, and memory does not grow with frames.
void warm_up(perception_runtime& runtime) {
    constexpr float SIDE_M = 100.0f;
    const Manifest& manifest = runtime.artifact.manifest;
    const std::unique_ptr<perception_inputs> inputs = new_inputs(manifest);
    if (manifest.points) {
        inputs->points.assign(static_cast<std::size_t>(manifest.max_points * POINT_FEATURES), 0.0f);
        inputs->lidar_mask = true;
        std::minstd_rand random;
        std::uniform_real_distribution<float> place(-SIDE_M / 2, SIDE_M / 2);
        for (std::size_t i = 0; i < inputs->points.size(); i += POINT_FEATURES) {
            inputs->points[i] = place(random), inputs->points[i + 1] = place(random);
        }
    }
    for (std::size_t i = 0; i < manifest.cameras.size(); ++i) {
        inputs->camera_mask[i] = true;
        for (std::size_t k = 0; k < 16; k += 5) inputs->image_from_lidar[i * 16 + k] = 1.0f;
    }
    run_network(runtime, *inputs);
}

// ---- The C interface: exceptions become codes, messages stay with the thread.

thread_local std::string last_error;

perception_status failed(perception_status code, const std::string& message) {
    last_error = message;
    return code;
}

template <typename Work>
perception_status guarded(bool arguments, const Work& work) {
    if (!arguments) return failed(PERCEPTION_ERROR_ARGUMENT, "an argument is null");
    try {
        work();
        return PERCEPTION_OK;
    } catch (const Error& error) {
        return failed(error.code, error.what());
    } catch (const std::exception& error) {
        return failed(PERCEPTION_ERROR_INTERNAL, error.what());
    } catch (...) {
        return failed(PERCEPTION_ERROR_INTERNAL, "an unknown error");
    }
}

}  // namespace

perception_status perception_create(const char* directory, const perception_options* options,
                                    perception_runtime** runtime) {
    return guarded(directory != nullptr && runtime != nullptr, [&] {
        *runtime = nullptr;
        const perception_options chosen = options != nullptr ? *options : perception_options{};
        if (chosen.network_threads < 0 || chosen.input_threads < 0 || chosen.input_threads > 64) {
            fail(PERCEPTION_ERROR_ARGUMENT, "network_threads must be 0 or more, input_threads from 0 to 64");
        }
        std::unique_ptr<perception_runtime> made(new perception_runtime{
            load_artifact(directory), Workers(chosen.input_threads > 0 ? chosen.input_threads : 2),
            chosen.network_threads});
        made->own_inputs = new_inputs(made->artifact.manifest);
        warm_up(*made);
        *runtime = made.release();
    });
}

void perception_destroy(perception_runtime* runtime) { delete runtime; }

perception_status perception_inputs_create(perception_runtime* runtime, perception_inputs** inputs) {
    return guarded(runtime != nullptr && inputs != nullptr,
                   [&] { *inputs = new_inputs(runtime->artifact.manifest).release(); });
}

void perception_inputs_destroy(perception_inputs* inputs) { delete inputs; }

perception_status perception_prepare(perception_runtime* runtime, perception_inputs* inputs,
                                     const perception_frame* frame) {
    return guarded(runtime != nullptr && inputs != nullptr && frame != nullptr,
                   [&] { prepare(*runtime, *inputs, *frame); });
}

perception_status perception_detect(perception_runtime* runtime, perception_inputs* inputs, perception_result* result) {
    return guarded(runtime != nullptr && inputs != nullptr && result != nullptr,
                   [&] { detect(*runtime, *inputs, *result); });
}

perception_status perception_infer(perception_runtime* runtime, const perception_frame* frame,
                                   perception_result* result) {
    return guarded(runtime != nullptr && frame != nullptr && result != nullptr, [&] {
        const std::lock_guard lock(runtime->infer);
        prepare(*runtime, *runtime->own_inputs, *frame);
        detect(*runtime, *runtime->own_inputs, *result);
    });
}

void perception_reset_clock(perception_runtime* runtime) {
    if (runtime == nullptr) return;
    const std::lock_guard lock(runtime->clock);
    runtime->last_frame_s = NEVER_S;
}

int64_t perception_max_points(const perception_runtime* runtime) {
    return runtime == nullptr ? 0 : runtime->artifact.manifest.max_points;
}

int32_t perception_camera_count(const perception_runtime* runtime) {
    return runtime == nullptr ? 0 : static_cast<int32_t>(runtime->artifact.manifest.cameras.size());
}

const char* perception_camera_name(const perception_runtime* runtime, int32_t camera) {
    if (camera < 0 || camera >= perception_camera_count(runtime)) return "";
    return runtime->artifact.manifest.cameras[static_cast<std::size_t>(camera)].c_str();
}

int32_t perception_class_count(const perception_runtime* runtime) {
    return runtime == nullptr ? 0 : static_cast<int32_t>(runtime->artifact.manifest.classes.size());
}

const char* perception_class_name(const perception_runtime* runtime, int32_t label) {
    if (label < 0 || label >= perception_class_count(runtime)) return "";
    return runtime->artifact.manifest.classes[static_cast<std::size_t>(label)].c_str();
}

const char* perception_last_error(void) { return last_error.c_str(); }
