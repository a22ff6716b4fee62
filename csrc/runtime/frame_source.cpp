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
    if (stems_.empty() || taken_ >= count_) return std::nullopt;
    return stems_[static_cast<std::size_t>(taken_++) % stems_.size()];
}

WatchSource::WatchSource(const std::filesystem::path& folder, const std::atomic<bool>& stop) : stop_(stop) {
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
    constexpr std::string_view SUFFIX = ".json";
    alignas(inotify_event) char buffer[1 << 14];
    std::optional<std::string> newest;
    while (!stop_) {
        const ssize_t bytes = read(queue_, buffer, sizeof(buffer));
        if (bytes <= 0) {
            // The queue is empty: what came last is the newest.
            if (newest) return newest;
            pollfd waiting{queue_, POLLIN, 0};
            poll(&waiting, 1, LOOK_AT_STOP_MS);
            continue;
        }
        for (const char* at = buffer; at < buffer + bytes;) {
            const auto* event = reinterpret_cast<const inotify_event*>(at);
            at += sizeof(inotify_event) + event->len;
            const std::string_view name = event->len > 0 ? event->name : "";
            // Files that are being written under a hidden name are not frames.
            if (name.size() <= SUFFIX.size() || !name.ends_with(SUFFIX) || name.front() == '.') continue;
            if (newest) ++dropped_;
            newest = name.substr(0, name.size() - SUFFIX.size());
        }
    }
    return std::nullopt;
}

}  // namespace perception::runtime
