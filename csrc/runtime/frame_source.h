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
    // What became of the frames that were not handed out; for a person to read.
    virtual std::string account() const { return ""; }
};

// The given frames, `count` in all: from the first again after the last. Ends early when `stop` becomes true.
class ListSource : public FrameSource {
  public:
    ListSource(std::vector<std::string> stems, std::int64_t count, const std::atomic<bool>& stop)
        : stems_(std::move(stems)), count_(count), stop_(stop) {}
    std::optional<std::string> next() override;

  private:
    std::vector<std::string> stems_;
    std::int64_t count_, taken_ = 0;
    const std::atomic<bool>& stop_;
};

// Frames that arrive from now on. A frame is announced by its description, FOLDER/frames/STEM.json, being closed after
// writing or moved there: write it last. Latest wins: of several that wait, the last one announced is taken and the
// others are dropped and counted.
class WatchSource : public FrameSource {
  public:
    // Throws Error when the folder cannot be watched. Ends after `count` frames, or when `stop` becomes true.
    WatchSource(const std::filesystem::path& folder, std::int64_t count, const std::atomic<bool>& stop);
    ~WatchSource() override;
    std::optional<std::string> next() override;
    std::string account() const override;

  private:
    // The last of the announcements that wait, if there is one.
    std::optional<std::string> take_newest();

    std::int64_t count_, taken_ = 0, dropped_ = 0, left_ = 0, overflows_ = 0;
    const std::atomic<bool>& stop_;
    int queue_ = -1;
};

}  // namespace perception::runtime
