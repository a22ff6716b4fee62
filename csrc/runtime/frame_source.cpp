#include "frame_source.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "error.h"

namespace perception::runtime {

std::optional<std::string> ListSource::next() {
    if (stems_.empty() || taken_ >= count_ || stop_) return std::nullopt;
    return stems_[static_cast<std::size_t>(taken_++) % stems_.size()];
}

WatchSource::WatchSource(const std::filesystem::path& folder, std::int64_t count, const std::atomic<bool>& stop)
    : count_(count), stop_(stop) {
    const std::filesystem::path announced = folder / "frames";
    std::error_code error;
    std::filesystem::create_directories(announced, error);
    queue_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (queue_ < 0 || inotify_add_watch(queue_, announced.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO) < 0) {
        const int reason = errno;
        if (queue_ >= 0) close(queue_);
        fail(PERCEPTION_ERROR_FILE, announced.string(), " cannot be watched: ", std::strerror(reason));
    }
}

WatchSource::~WatchSource() { close(queue_); }

std::optional<std::string> WatchSource::next() {
    constexpr int LOOK_AT_STOP_MS = 100;
    while (!stop_ && taken_ < count_) {
        if (std::optional<std::string> newest = take_newest()) {
            ++taken_;
            return newest;
        }
        pollfd waiting{queue_, POLLIN, 0};
        poll(&waiting, 1, LOOK_AT_STOP_MS);
    }
    left_ += take_newest().has_value();
    return std::nullopt;
}

std::optional<std::string> WatchSource::take_newest() {
    constexpr std::string_view SUFFIX = ".json";
    alignas(inotify_event) char buffer[1 << 14];
    std::optional<std::string> newest;
    while (true) {
        const ssize_t bytes = read(queue_, buffer, sizeof(buffer));
        // The queue is empty: what came last is the newest.
        if (bytes <= 0) return newest;
        for (const char* at = buffer; at < buffer + bytes;) {
            const auto* event = reinterpret_cast<const inotify_event*>(at);
            at += sizeof(inotify_event) + event->len;
            if (event->mask & IN_Q_OVERFLOW) ++overflows_;
            const std::string_view name = event->len > 0 ? event->name : "";
            // Files that are being written under a hidden name are not frames.
            if (name.size() <= SUFFIX.size() || !name.ends_with(SUFFIX) || name.front() == '.') continue;
            if (newest) ++dropped_;
            newest = name.substr(0, name.size() - SUFFIX.size());
        }
    }
}

std::string WatchSource::account() const {
    std::string text = ", " + std::to_string(dropped_) + " dropped for newer ones";
    if (left_ > 0) text += ", " + std::to_string(left_) + " left at the end";
    if (overflows_ > 0) {
        text += "; " + std::to_string(overflows_) + " times more frames waited than the system counts: some are missing here";
    }
    return text;
}

}  // namespace perception::runtime
