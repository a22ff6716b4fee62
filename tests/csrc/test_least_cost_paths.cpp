#include "least_cost_paths_cases.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check(int threads) {
    check_least_cost_paths<T>([&](const T* costs, const std::int64_t* sources, int count, int images, int height, int width,
                                  T* distance, std::int32_t* nearest) {
        auto workspace = garbage<std::byte>(
            static_cast<std::int64_t>(least_cost_paths_workspace_bytes_cpu(images, height, width, threads)));
        return least_cost_paths_cpu(costs, sources, count, images, height, width, distance, nearest, workspace.data(),
                                    workspace.size(), threads);
    });
}

TEST(float32) { check<float>(1); }
TEST(float64_by_two_threads) { check<double>(2); }

TEST(refuses_a_workspace_that_is_too_small) {
    const std::vector<float> costs(4 * 6);
    const std::vector<std::int64_t> sources(3);
    std::vector<float> distance(6);
    std::vector<std::int32_t> nearest(6);
    auto workspace =
        garbage<std::byte>(static_cast<std::int64_t>(least_cost_paths_workspace_bytes_cpu(1, 2, 3, 1)) - 1);
    CHECK(least_cost_paths_cpu(costs.data(), sources.data(), 1, 1, 2, 3, distance.data(), nearest.data(), workspace.data(),
                               workspace.size(), 1) == Status::workspace_too_small);
}

int main() { return run_tests(); }
