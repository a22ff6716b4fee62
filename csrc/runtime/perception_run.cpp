// perception-run: an artifact on a folder of frames, or on frames as they arrive.
#include <malloc.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <memory>
#include <string>

#include "detections_json.h"
#include "error.h"
#include "frame_folder.h"
#include "frame_source.h"
#include "latency.h"
#include "manifest.h"
#include "pipeline.h"

using namespace perception::runtime;

namespace {

constexpr char USAGE[] =
    R"(usage: perception-run ARTIFACT FOLDER [options]      every frame of a folder, in order
       perception-run ARTIFACT --watch FOLDER [options]   frames as they arrive; the latest wins

ARTIFACT is a directory of tools/export.py. FOLDER has calibration.json, lidar/STEM.bin or .pcd and NAME/STEM.jpg or .png
for each camera NAME, and where they are known times, older sweeps and poses in frames/STEM.json; see
perception/datasets/frames.py. With --watch a frame is announced by its frames/STEM.json: write it last. A sensor whose
file is absent is done without. Prints one line of JSON per frame: sensors used, times, boxes as nuScenes' results.

  --out FILE            write the lines there instead of to standard output
  --benchmark           print percentiles of every stage instead of boxes
  --frames N            stop after N frames; of a folder, from the first again after the last
  --threads N           threads of the network (default: OMP_NUM_THREADS, or all cores)
  --input-threads N     threads that decode images and read clouds (default: 2)
)";

std::atomic<bool> stop = false;

struct Arguments {
    std::string artifact, folder, out;
    bool watch = false, benchmark = false;
    std::int64_t frames = 0;
    perception_options options{};
};

std::int64_t number(const std::string& name, const char* text) {
    std::int64_t value = 0;
    const char* end = text + std::strlen(text);
    const auto [at, error] = std::from_chars(text, end, value);
    if (error != std::errc() || at != end || value < 1 || value > 1'000'000'000) {
        fail(PERCEPTION_ERROR_ARGUMENT, name, " takes a number from 1 on, not '", text, "'");
    }
    return value;
}

Arguments parse(int count, char** values) {
    Arguments out;
    std::vector<std::string> places;
    for (int i = 1; i < count; ++i) {
        const std::string name = values[i];
        const auto value = [&] {
            if (++i >= count) fail(PERCEPTION_ERROR_ARGUMENT, name, " needs a value");
            return values[i];
        };
        if (name == "--out") out.out = value();
        else if (name == "--watch") out.watch = true;
        else if (name == "--benchmark") out.benchmark = true;
        else if (name == "--frames") out.frames = number(name, value());
        else if (name == "--threads") out.options.network_threads = static_cast<int32_t>(number(name, value()));
        else if (name == "--input-threads") out.options.input_threads = static_cast<int32_t>(number(name, value()));
        else if (name.starts_with("--")) fail(PERCEPTION_ERROR_ARGUMENT, "unknown option ", name, "\n", USAGE);
        else places.push_back(name);
    }
    if (places.size() != 2) fail(PERCEPTION_ERROR_ARGUMENT, "an artifact and a folder are needed\n", USAGE);
    out.artifact = places[0], out.folder = places[1];
    return out;
}

Manifest read_manifest(const std::string& artifact) {
    const std::string path = artifact + "/manifest.json";
    std::ifstream file(path, std::ios::binary);
    if (!file.is_open()) fail(PERCEPTION_ERROR_FILE, path, " cannot be read: is this an artifact of tools/export.py?");
    return parse_manifest(std::string{std::istreambuf_iterator<char>(file), {}}, path);
}

double resident_mib() {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) / 1024.0;
    }
    return 0.0;
}

class Benchmark {
  public:
    void add(const FrameOutcome& outcome) {
        const perception_timing& timing = outcome.result.timing;
        const double values[] = {outcome.read_ms, timing.points_ms, timing.images_ms, timing.network_ms,
                                 outcome.total_ms};
        for (std::size_t i = 0; i < std::size(values); ++i) stages_[i].add(values[i]);
        if (++frames_ == WARM_UP) start_ = std::chrono::steady_clock::now();
        if (frames_ == next_look_) {
            char text[64];
            std::snprintf(text, sizeof(text), "%.1f MiB after %lld frames, ", resident_mib(),
                          static_cast<long long>(frames_));
            memory_ += text;
            next_look_ *= 10;
        }
    }

    void print() const {
        std::cout << Latency::heading() << '\n';
        for (const Latency& stage : stages_) std::cout << stage.row() << '\n';
        if (frames_ <= WARM_UP) return;
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
        std::printf("%.1f frames/s over %lld frames; resident memory %s%.1f MiB at the end\n",
                    static_cast<double>(frames_ - WARM_UP) / seconds, static_cast<long long>(frames_), memory_.c_str(),
                    resident_mib());
    }

  private:
    static constexpr int WARM_UP = 10;
    std::array<Latency, 5> stages_{Latency("read"), Latency("points"), Latency("images"), Latency("network"),
                                   Latency("total")};
    std::int64_t frames_ = 0, next_look_ = WARM_UP;
    std::chrono::steady_clock::time_point start_;
    std::string memory_;  // what it was after 10, 100, 1000, ... frames
};

std::unique_ptr<FrameSource> source_of(const Arguments& arguments, const FrameFolder& folder) {
    constexpr std::int64_t NO_END = std::numeric_limits<std::int64_t>::max();
    if (arguments.watch) {
        return std::make_unique<WatchSource>(arguments.folder, arguments.frames > 0 ? arguments.frames : NO_END, stop);
    }
    std::vector<std::string> stems = folder.stems();
    if (stems.empty()) fail(PERCEPTION_ERROR_FILE, arguments.folder, " has no frames");
    const auto all = static_cast<std::int64_t>(stems.size());
    return std::make_unique<ListSource>(std::move(stems), arguments.frames > 0 ? arguments.frames : all, stop);
}

// Every frame takes and frees the same megabytes. By default glibc gives them back to the system each time, and the system
// clears each page anew.
void keep_freed_memory() {
    constexpr int KEPT_BYTES = 1 << 30, LARGEST_KEPT_BYTES = 1 << 25;  // glibc takes no more for the second
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES);
}

int run(const Arguments& arguments) {
    const Manifest manifest = read_manifest(arguments.artifact);
    const FrameFolder folder(arguments.folder, manifest.cameras);
    perception_runtime* made = nullptr;
    if (const auto status = perception_create(arguments.artifact.c_str(), &arguments.options, &made);
        status != PERCEPTION_OK) {
        throw Error(status, perception_last_error());
    }
    const std::unique_ptr<perception_runtime, decltype(&perception_destroy)> runtime(made, perception_destroy);
    const std::unique_ptr<FrameSource> source = source_of(arguments, folder);

    std::ofstream file;
    if (!arguments.out.empty()) {
        file.open(arguments.out);
        if (!file) fail(PERCEPTION_ERROR_FILE, arguments.out, " cannot be written");
    }
    std::ostream& lines = arguments.out.empty() ? std::cout : file;
    Benchmark benchmark;
    std::int64_t good = 0, bad = 0;
    if (arguments.watch) std::cerr << "watching " << arguments.folder << std::endl;
    run_pipeline(runtime.get(), folder, *source, {.check_clock = arguments.frames == 0 || arguments.watch},
                 [&](const FrameOutcome& outcome) {
                     const bool ok = outcome.status == PERCEPTION_OK;
                     ++(ok ? good : bad);
                     if (!ok) {
                         std::cerr << outcome.frame.stem << ": " << perception_status_name(outcome.status) << ": "
                                   << outcome.message << std::endl;
                         lines << error_line(outcome.frame.stem, outcome.status, outcome.message) << std::endl;
                     } else if (arguments.benchmark) {
                         benchmark.add(outcome);
                     } else {
                         lines << detections_line(outcome.frame, outcome.result, outcome.read_ms, manifest)
                               << std::endl;
                     }
                     if (!lines) {
                         stop = true;
                         fail(PERCEPTION_ERROR_FILE, "the results cannot be written: is the disk full?");
                     }
                 });
    if (arguments.benchmark) benchmark.print();
    std::cerr << good << " frames, " << bad << " with errors" << source->account() << std::endl;
    if (!std::cout.flush()) fail(PERCEPTION_ERROR_FILE, "standard output cannot be written");
    return bad == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** values) {
    if (count == 2 && (std::strcmp(values[1], "--help") == 0 || std::strcmp(values[1], "-h") == 0)) {
        std::cout << USAGE;
        return 0;
    }
    std::signal(SIGINT, [](int) { stop = true; });
    std::signal(SIGTERM, [](int) { stop = true; });
    keep_freed_memory();
    try {
        return run(parse(count, values));
    } catch (const Error& error) {
        std::cerr << "perception-run: " << perception_status_name(error.code) << ": " << error.what() << std::endl;
    } catch (const std::exception& error) {
        std::cerr << "perception-run: error: " << error.what() << std::endl;
    }
    return 2;
}
