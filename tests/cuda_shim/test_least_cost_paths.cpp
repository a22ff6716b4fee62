#include "../csrc/least_cost_paths_cases.h"
#include "harness.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    check_least_cost_paths<T>([](const T* costs, const std::int64_t* sources, int count, int images, int height, int width,
                                 T* distance, std::int32_t* nearest) {
        auto workspace = garbage<std::byte>(
            static_cast<std::int64_t>(least_cost_paths_workspace_bytes_cuda(images, height, width, sizeof(T))));
        return least_cost_paths_cuda(costs, sources, count, images, height, width, distance, nearest, workspace.data(),
                                     workspace.size(), nullptr);
    });
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }

TEST(refuses_a_workspace_that_is_too_small) {
    const std::vector<float> costs(4 * 6);
    const std::vector<std::int64_t> sources(3);
    std::vector<float> distance(6);
    std::vector<std::int32_t> nearest(6);
    auto workspace =
        garbage<std::byte>(static_cast<std::int64_t>(least_cost_paths_workspace_bytes_cuda(1, 2, 3, sizeof(float))) - 1);
    CHECK(least_cost_paths_cuda(costs.data(), sources.data(), 1, 1, 2, 3, distance.data(), nearest.data(), workspace.data(),
                                workspace.size(), nullptr) == Status::workspace_too_small);
}

int main() { return run_tests_in_all_orders(); }
