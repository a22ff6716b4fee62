// Two frames under way: while the network runs on one, the next is read, decoded and merged on other threads.
#pragma once

#include <array>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "frame_folder.h"
#include "frame_source.h"
#include "perception.h"

namespace perception::runtime {

// What became of one frame. `result` is valid during the call that hands it over, and only if status is PERCEPTION_OK.
struct FrameOutcome {
    const LoadedFrame& frame;
    perception_status status;
    std::string message;
    perception_result result;
    double read_ms;   // reading its files
    double total_ms;  // from its choice to its boxes
};

struct PipelineOptions {
    bool check_clock = true;  // false: every frame may be of any time, as when a recording is repeated
};

// Runs the source's frames through the runtime until there are none; calls `done` for each, in order, on this thread.
// What `done` throws ends it, once the source hands out the next frame or ends: end it first.
void run_pipeline(perception_runtime* runtime, const FrameFolder& folder, FrameSource& source,
                  const PipelineOptions& options, const std::function<void(const FrameOutcome&)>& done);

}  // namespace perception::runtime
