#include "sparse_to_bev_cases.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    for (const int threads : {1, 2, 3}) {
        const auto forward = [&](const T* features, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                                 const BevGrid& grid, T* bev, std::int64_t* outside) {
            *outside = -1;
            auto workspace =
                garbage<std::byte>(static_cast<std::int64_t>(sparse_to_bev_workspace_bytes_cpu<T>(tokens, channels)));
            return sparse_to_bev_cpu(features, coords, tokens, channels, grid, bev, outside, workspace.data(), workspace.size(),
                                     threads);
        };
        check_sparse_to_bev<T>(forward,
                               [&](auto... arguments) { return sparse_to_bev_backward_cpu<T>(arguments..., threads); });
    }
}

TEST(bits16) { check<std::uint16_t>(); }
TEST(bits32) { check<std::uint32_t>(); }
TEST(bits64) { check<std::uint64_t>(); }

int main() { return run_tests(); }
