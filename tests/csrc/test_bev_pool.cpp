#include "bev_pool_cases.h"

using namespace perception;
using namespace testing;

TEST(index_is_that_of_the_twin_with_any_number_of_threads) {
    for (const PoolInput& input : pool_inputs(700)) {
        for (const int threads : {1, 2, 3}) {
            PoolIndexBuffers buffers(input);
            auto workspace =
                garbage<std::byte>(static_cast<std::int64_t>(pool_index_workspace_bytes_cpu(input.shape, threads)));
            const Status status = pool_index_cpu(input.cell.data(), input.shape, buffers.output(), workspace.data(),
                                                 workspace.size(), threads);
            if (status != Status::ok || !(buffers == expected_index(input))) report(__FILE__, __LINE__, input.name);
        }
    }
}

template <typename T>
static void check() {
    for (const int threads : {1, 2, 3}) {
        const auto forward = [&](const T* features, const T* depth, const PoolIndex& index, const PoolShape& shape,
                                 std::int64_t channels, T* out) {
            auto workspace = garbage<std::byte>(
                static_cast<std::int64_t>(bev_pool_workspace_bytes_cpu(shape, channels, sizeof(Accumulate<T>))));
            return bev_pool_cpu(features, depth, index, shape, channels, out, workspace.data(), workspace.size(), threads);
        };
        const auto backward = [&](const T* grad, const T* features, const T* depth, const std::int32_t* cell,
                                  const PoolShape& shape, std::int64_t channels, T* grad_features, T* grad_depth) {
            auto workspace = garbage<std::byte>(static_cast<std::int64_t>(
                bev_pool_backward_workspace_bytes_cpu(channels, sizeof(Accumulate<T>), threads)));
            return bev_pool_backward_cpu(grad, features, depth, cell, shape, channels, grad_features, grad_depth,
                                         workspace.data(), workspace.size(), threads);
        };
        check_bev_pool<T>(700, forward, backward);
    }
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }
TEST(half) { check<Half>(); }
TEST(bfloat16) { check<BFloat16>(); }

TEST(refuses_a_workspace_that_is_too_small_and_too_many_points) {
    const PoolShape shape{1, 2, 3, 4, 5};
    const std::vector<std::int64_t> cell(24, 3);
    std::vector<std::int32_t> point(24), pixel(24), offsets(6), own(24);
    const PoolIndexOutput output{point.data(), pixel.data(), offsets.data(), own.data()};
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(pool_index_workspace_bytes_cpu(shape, 2)) - 1);
    CHECK(pool_index_cpu(cell.data(), shape, output, workspace.data(), workspace.size(), 2) == Status::workspace_too_small);
    const PoolIndex index{point.data(), pixel.data(), offsets.data(), own.data()};
    const std::vector<float> features(12 * 7), depth(24);
    std::vector<float> out(5 * 7);
    workspace = garbage<std::byte>(static_cast<std::int64_t>(bev_pool_workspace_bytes_cpu(shape, 7, 4)) - 1);
    CHECK(bev_pool_cpu(features.data(), depth.data(), index, shape, 7, out.data(), workspace.data(), workspace.size(), 2) ==
          Status::workspace_too_small);
    const PoolShape huge{60, 118, 1000, 1000, 129600};
    CHECK(pool_index_cpu(cell.data(), huge, output, workspace.data(), workspace.size(), 2) == Status::bad_argument);
}

int main() { return run_tests(); }
