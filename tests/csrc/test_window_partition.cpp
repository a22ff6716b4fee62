#include "window_partition_cases.h"

using namespace perception;
using namespace testing;

TEST(same_as_the_twin_with_any_number_of_threads) {
    for (const WindowInput& input : window_inputs(60000)) {
        const WindowResult expected[2] = {expected_partition(input, false), expected_partition(input, true)};
        for (const int threads : {1, 2, 3}) {
            PartitionBuffers unshifted(input, false), shifted(input, true);
            std::int64_t outside = -1;
            auto workspace =
                garbage<std::byte>(static_cast<std::int64_t>(window_partition_workspace_bytes_cpu(input.tokens(), threads)));
            const Status status =
                window_partition_cpu(input.coords.data(), input.tokens(), input.grid, unshifted.partition, shifted.partition,
                                     &outside, workspace.data(), workspace.size(), threads);
            const bool same = unshifted.result() == expected[0] && shifted.result() == expected[1];
            if (status != Status::ok || outside != 0 || !same) report(__FILE__, __LINE__, input.name);
        }
    }
}

TEST(counts_tokens_outside) {
    const WindowInput input = tokens_outside();
    PartitionBuffers unshifted(input, false), shifted(input, true);
    std::int64_t outside = -1;
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(window_partition_workspace_bytes_cpu(input.tokens(), 2)));
    const Status status = window_partition_cpu(input.coords.data(), input.tokens(), input.grid, unshifted.partition,
                                               shifted.partition, &outside, workspace.data(), workspace.size(), 2);
    CHECK(status == Status::ok);
    CHECK(outside == 4);
    CHECK(unshifted.result() == expected_outside());
}

int main() { return run_tests(); }
