// A few threads that share the independent parts of one job, such as the images of a frame.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace perception::runtime {

class Workers {
  public:
    // `threads` in all, the caller of `run` among them.
    explicit Workers(int threads);
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    ~Workers();

    // Calls part(0) .. part(count - 1), in any order and on any thread; returns when all are done. If some throw, the
    // exception of the lowest index is thrown on, so that a message does not depend on chance.
    void run(int count, const std::function<void(int)>& part);

  private:
    void loop();
    bool take(std::unique_lock<std::mutex>& lock);

    std::mutex one_job_, mutex_;
    std::condition_variable changed_;
    const std::function<void(int)>* part_ = nullptr;
    int count_ = 0, next_ = 0, running_ = 0, failed_ = -1;
    std::exception_ptr error_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace perception::runtime
