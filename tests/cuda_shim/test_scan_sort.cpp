#include "../csrc/scan_sort_cases.h"

#include "harness.h"
#include "look_back.cuh"

using namespace perception;
using namespace testing;

// Blocks of the shim find all earlier tiles complete; on a GPU most are not yet.
static __global__ void look_back_in_both_ways(const std::uint32_t* words, int tile, std::uint32_t* sums) {
    if (threadIdx.x == 0) sums[0] = look_back::sum_before(words, 1, tile);
    const std::uint32_t by_warp = look_back::sum_before_by_warp(words, tile);
    if (threadIdx.x == 0) sums[1] = by_warp;
}

TEST(sums_over_earlier_tiles) {
    for (const int tile : {0, 1, 2, 16, 17, 32, 33, 65, 100}) {
        for (const int complete : {-1, 0, 1, 15, 16, 31, 32, 64, 99}) {
            if (complete >= tile) continue;
            // Tile `complete` and a few before it know their sums; before those is what may not be added.
            std::vector<std::uint32_t> words;
            std::uint32_t expected = 0;
            for (int t = 0; t < tile; ++t) {
                const auto own = static_cast<std::uint32_t>(t * t + 1);
                expected += own;
                const bool knows = t == 0 || (t <= complete && t > complete - 3);
                words.push_back(knows ? look_back::kUpToTile | expected : look_back::kOfTile | own);
            }
            auto sums = garbage<std::uint32_t>(2);
            CHECK_OK(launch(look_back_in_both_ways, 1, 32, 0, nullptr, words.data(), tile, sums.data()));
            CHECK(sums[0] == expected && sums[1] == expected);
        }
    }
}

TEST(same_as_the_twin) {
    check_grouping([](auto* packed, auto* spare, std::int64_t items, KeyLayout layout, const Runs& runs) {
        auto workspace = garbage<std::byte>(static_cast<std::int64_t>(group_workspace_bytes_cuda(items, layout)));
        return group_cuda(packed, spare, items, layout, runs, workspace.data(), workspace.size(), nullptr);
    });
}

TEST(refuses_what_it_cannot_group) {
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(group_workspace_bytes_cuda(100, {7, 17})) - 1);
    std::vector<std::uint64_t> packed(100), spare(100);
    const Runs none{};
    CHECK(group_cuda(packed.data(), spare.data(), 100, {7, 17}, none, workspace.data(), workspace.size(), nullptr) ==
          Status::workspace_too_small);
    CHECK(group_cuda(packed.data(), spare.data(), 100, {30, 35}, none, workspace.data(), workspace.size(), nullptr) ==
          Status::bad_argument);
    CHECK(group_cuda(packed.data(), spare.data(), std::int64_t{1} << 30, {30, 17}, none, workspace.data(), workspace.size(),
                     nullptr) == Status::bad_argument);
}

int main() { return run_tests_in_all_orders(); }
