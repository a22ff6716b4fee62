// Which frame comes next: those of a folder in order, the same ones again and again, or the newest that has arrived.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace perception::runtime {

class FrameSource {
  public:
    virtual ~FrameSource() = default;
    // Name of the next frame; nothing when there will be none.
    virtual std::optional<std::string> next() = 0;
    // Frames that were passed over for newer ones.
    virtual std::int64_t dropped() const { return 0; }
};

// The given frames, `count` in all: from the first again after the last.
class ListSource : public FrameSource {
  public:
    ListSource(std::vector<std::string> stems, std::int64_t count) : stems_(std::move(stems)), count_(count) {}
    std::optional<std::string> next() override;

  private:
    std::vector<std::string> stems_;
    std::int64_t count_, taken_ = 0;
};

// Frames that arrive from now on. A frame is announced by its description, FOLDER/frames/STEM.json, being closed after
// writing or moved there: write it last. Latest wins: of several that wait, the last one announced is taken and the
// others are dropped and counted.
class WatchSource : public FrameSource {
  public:
    // Throws Error when the folder cannot be watched. Ends when `stop` becomes true.
    WatchSource(const std::filesystem::path& folder, const std::atomic<bool>& stop);
    ~WatchSource() override;
    std::optional<std::string> next() override;
    std::int64_t dropped() const override { return dropped_; }

  private:
    const std::atomic<bool>& stop_;
    int queue_ = -1;
    std::atomic<std::int64_t> dropped_ = 0;
};

}  // namespace perception::runtime
