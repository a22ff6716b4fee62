#include "../csrc/sparse_to_bev_cases.h"

#include "harness.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    const auto forward = [](const T* features, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                            const BevGrid& grid, T* bev, std::int64_t*) {
        auto workspace = garbage<std::byte>(static_cast<std::int64_t>(sparse_to_bev_workspace_bytes_cuda(grid)));
        return sparse_to_bev_cuda(features, coords, tokens, channels, grid, bev, workspace.data(), workspace.size(), nullptr);
    };
    check_sparse_to_bev<T>(forward, [](auto... arguments) { return sparse_to_bev_backward_cuda<T>(arguments..., nullptr); });
}

TEST(bits16) { check<std::uint16_t>(); }
TEST(bits32) { check<std::uint32_t>(); }
TEST(bits64) { check<std::uint64_t>(); }

TEST(refuses_a_workspace_that_is_too_small) {
    const BevGrid grid{{2, 4, 5}, 2};
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(sparse_to_bev_workspace_bytes_cuda(grid)) - 1);
    std::vector<std::uint32_t> bev(80);
    CHECK(sparse_to_bev_cuda<std::uint32_t>(nullptr, nullptr, 0, 1, grid, bev.data(), workspace.data(), workspace.size(),
                                            nullptr) == Status::workspace_too_small);
}

int main() { return run_tests_in_all_orders(); }
