#include "../csrc/bev_pool_cases.h"

#include "harness.h"

using namespace perception;
using namespace testing;

TEST(index_is_that_of_the_twin) {
    for (const PoolInput& input : pool_inputs(700)) {
        PoolIndexBuffers buffers(input);
        auto workspace = garbage<std::byte>(static_cast<std::int64_t>(pool_index_workspace_bytes_cuda(input.shape)));
        const Status status = pool_index_cuda(input.cell.data(), input.shape, buffers.output(), workspace.data(),
                                              workspace.size(), nullptr);
        if (status != Status::ok || !(buffers == expected_index(input))) report(__FILE__, __LINE__, input.name);
    }
}

template <typename T>
static void check() {
    const auto forward = [](const T* features, const T* depth, const PoolIndex& index, const PoolShape& shape,
                            std::int64_t channels, T* out) {
        auto workspace = garbage<std::byte>(
            static_cast<std::int64_t>(bev_pool_workspace_bytes_cuda(shape, channels, sizeof(Accumulate<T>))));
        return bev_pool_cuda(features, depth, index, shape, channels, out, workspace.data(), workspace.size(), nullptr);
    };
    check_bev_pool<T>(700, forward, [](auto... arguments) { return bev_pool_backward_cuda<T>(arguments..., nullptr); });
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }
TEST(half) { check<Half>(); }
TEST(bfloat16) { check<BFloat16>(); }

TEST(no_channels) {
    const PoolShape shape{1, 2, 3, 4, 5};
    const std::vector<std::int32_t> cell(24, 3);
    auto grad_depth = garbage<float>(24);
    CHECK_OK(bev_pool_backward_cuda<float>(nullptr, nullptr, nullptr, cell.data(), shape, 0, nullptr, grad_depth.data(),
                                           nullptr));
    CHECK(grad_depth == std::vector<float>(24));
}

TEST(refuses_a_workspace_that_is_too_small_and_too_many_points) {
    const PoolShape shape{1, 2, 3, 4, 5};
    const std::vector<std::int64_t> cell(24, 3);
    std::vector<std::int32_t> point(24), pixel(24), offsets(6), own(24);
    const PoolIndexOutput output{point.data(), pixel.data(), offsets.data(), own.data()};
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(pool_index_workspace_bytes_cuda(shape)) - 1);
    CHECK(pool_index_cuda(cell.data(), shape, output, workspace.data(), workspace.size(), nullptr) ==
          Status::workspace_too_small);
    const PoolIndex index{point.data(), pixel.data(), offsets.data(), own.data()};
    const std::vector<float> features(12 * 7), depth(24);
    std::vector<float> out(5 * 7);
    workspace = garbage<std::byte>(static_cast<std::int64_t>(bev_pool_workspace_bytes_cuda(shape, 7, 4)) - 1);
    CHECK(bev_pool_cuda(features.data(), depth.data(), index, shape, 7, out.data(), workspace.data(), workspace.size(),
                        nullptr) == Status::workspace_too_small);
    const PoolShape huge{60, 118, 1000, 1000, 129600};
    CHECK(pool_index_cuda(cell.data(), huge, output, workspace.data(), workspace.size(), nullptr) == Status::bad_argument);
}

int main() { return run_tests_in_all_orders(); }
