#include "pipeline.h"

#include <chrono>
#include <memory>

#include "error.h"

namespace perception::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct InputsDeleter {
    void operator()(perception_inputs* inputs) const { perception_inputs_destroy(inputs); }
};

// A frame on its way: free -> prepared -> free.
struct Slot {
    LoadedFrame frame;
    std::unique_ptr<perception_inputs, InputsDeleter> inputs;
    perception_status status = PERCEPTION_OK;
    std::string message;
    Clock::time_point start;
    double read_ms = 0;
};

// Hands slots from one thread to the other.
class Handover {
  public:
    // After `close` nobody takes it: it is let go.
    void put(Slot* slot) {
        {
            const std::unique_lock lock = wait([this] { return slot_ == nullptr || closed_; });
            if (slot_ == nullptr) slot_ = slot;
        }
        changed_.notify_all();
    }

    // nullptr after `close`, when nothing is left.
    Slot* take() {
        Slot* slot = nullptr;
        {
            const std::unique_lock lock = wait([this] { return slot_ != nullptr || closed_; });
            std::swap(slot, slot_);
        }
        changed_.notify_all();
        return slot;
    }

    void close() {
        {
            const std::lock_guard lock(mutex_);
            closed_ = true;
        }
        changed_.notify_all();
    }

  private:
    template <typename Condition>
    std::unique_lock<std::mutex> wait(const Condition& condition) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, condition);
        return lock;
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    Slot* slot_ = nullptr;
    bool closed_ = false;
};

// The thread that prepares; however its user ends, it is let go and waited for.
class Preparer {
  public:
    template <typename Work>
    Preparer(Handover& ready, Handover& free, const Work& work) : ready_(ready), free_(free), thread_(work) {}
    Preparer(const Preparer&) = delete;
    Preparer& operator=(const Preparer&) = delete;
    ~Preparer() {
        ready_.close();
        free_.close();
        thread_.join();
    }

  private:
    Handover &ready_, &free_;
    std::thread thread_;
};

void prepare(perception_runtime* runtime, const FrameFolder& folder, const PipelineOptions& options, Slot& slot) {
    try {
        folder.load(slot.frame.stem, slot.frame);
        slot.read_ms = ms_since(slot.start);
        if (!options.check_clock) perception_reset_clock(runtime);
        slot.status = perception_prepare(runtime, slot.inputs.get(), &slot.frame.frame);
        if (slot.status != PERCEPTION_OK) slot.message = perception_last_error();
    } catch (const Error& error) {
        slot.status = error.code, slot.message = error.what();
    } catch (const std::exception& error) {
        slot.status = PERCEPTION_ERROR_INTERNAL, slot.message = error.what();
    }
}

}  // namespace

void run_pipeline(perception_runtime* runtime, const FrameFolder& folder, FrameSource& source,
                  const PipelineOptions& options, const std::function<void(const FrameOutcome&)>& done) {
    std::array<Slot, 2> slots;
    for (Slot& slot : slots) {
        perception_inputs* inputs = nullptr;
        if (perception_inputs_create(runtime, &inputs) != PERCEPTION_OK) {
            throw Error(PERCEPTION_ERROR_INTERNAL, perception_last_error());
        }
        slot.inputs.reset(inputs);
    }
    Handover ready, free;
    const Preparer preparer(ready, free, [&] {
        Slot* slot = &slots[0];
        std::size_t used = 1;
        while (slot != nullptr) {
            const std::optional<std::string> stem = source.next();
            if (!stem) break;
            slot->frame.stem = *stem;
            slot->start = Clock::now();
            prepare(runtime, folder, options, *slot);
            ready.put(slot);
            slot = used < slots.size() ? &slots[used++] : free.take();
        }
        ready.close();
        free.close();
    });
    while (Slot* slot = ready.take()) {
        perception_result result{};
        if (slot->status == PERCEPTION_OK) {
            slot->status = perception_detect(runtime, slot->inputs.get(), &result);
            if (slot->status != PERCEPTION_OK) slot->message = perception_last_error();
        }
        done({slot->frame, slot->status, slot->message, result, slot->read_ms, ms_since(slot->start)});
        free.put(slot);
    }
}

}  // namespace perception::runtime
