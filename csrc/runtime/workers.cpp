#include "workers.h"

#include <utility>

namespace perception::runtime {

Workers::Workers(int threads) {
    for (int i = 1; i < threads; ++i) threads_.emplace_back([this] { loop(); });
}

Workers::~Workers() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

// Does one part of the job if one is left; the lock is held before and after.
bool Workers::take(std::unique_lock<std::mutex>& lock) {
    if (next_ >= count_) return false;
    const int index = next_++;
    const std::function<void(int)>& part = *part_;
    ++running_;
    lock.unlock();
    std::exception_ptr error;
    try {
        part(index);
    } catch (...) {
        error = std::current_exception();
    }
    lock.lock();
    if (error && (failed_ < 0 || index < failed_)) failed_ = index, error_ = error;
    if (--running_ == 0 && next_ >= count_) changed_.notify_all();
    return true;
}

void Workers::loop() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return stopping_ || next_ < count_; });
        if (stopping_) return;
        take(lock);
    }
}

void Workers::run(int count, const std::function<void(int)>& part) {
    const std::lock_guard job(one_job_);
    std::unique_lock lock(mutex_);
    part_ = &part, count_ = count, next_ = 0, failed_ = -1, error_ = nullptr;
    changed_.notify_all();
    while (take(lock)) {
    }
    changed_.wait(lock, [this] { return running_ == 0; });
    count_ = next_ = 0;
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace perception::runtime
