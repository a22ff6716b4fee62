#include "workers.h"

#include <atomic>
#include <stdexcept>

#include "latency.h"
#include "testing.h"

using namespace perception::runtime;
using namespace testing;

TEST(every_part_runs_once_on_any_number_of_threads) {
    for (const int threads : {1, 2, 5}) {
        Workers workers(threads);
        for (const int count : {0, 1, 7, 100}) {
            std::vector<std::atomic<int>> runs(static_cast<std::size_t>(count));
            workers.run(count, [&](int part) { ++runs[static_cast<std::size_t>(part)]; });
            for (const std::atomic<int>& r : runs) CHECK(r == 1);
        }
    }
}

TEST(the_first_of_several_errors_is_thrown_and_the_rest_still_runs) {
    Workers workers(3);
    std::atomic<int> runs = 0;
    std::string message;
    try {
        workers.run(20, [&](int part) {
            ++runs;
            if (part % 5 == 2) throw std::runtime_error(std::to_string(part));
        });
    } catch (const std::runtime_error& error) {
        message = error.what();
    }
    CHECK(message == "2");
    CHECK(runs == 20);
    workers.run(4, [&](int) { ++runs; });
    CHECK(runs == 24);
}

TEST(percentiles_are_samples) {
    Latency latency("stage");
    CHECK(latency.percentile(0.5) == 0.0);
    for (int i = 1000; i >= 1; --i) latency.add(i);
    CHECK(latency.percentile(0.5) == 500 && latency.percentile(0.99) == 990 && latency.percentile(0.999) == 999);
    CHECK(latency.percentile(1.0) == 1000);
}

int main() { return run_tests(); }
