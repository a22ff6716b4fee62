#include "scan_sort_cases.h"

using namespace perception;
using namespace testing;

TEST(same_as_the_twin_with_any_number_of_threads) {
    for (const int threads : {1, 2, 3}) {
        check_grouping([&](auto* packed, auto* spare, std::int64_t items, KeyLayout layout, const Runs& runs) {
            auto workspace = garbage<std::byte>(static_cast<std::int64_t>(group_workspace_bytes_cpu(items, threads)));
            return group_cpu(packed, spare, items, layout, runs, workspace.data(), workspace.size(), threads);
        });
    }
}

int main() { return run_tests(); }
