#include "../csrc/window_partition_cases.h"

#include "harness.h"

using namespace perception;
using namespace testing;

static bool partitions_to(const WindowInput& input, const WindowResult& unshifted_result, const WindowResult& shifted_result) {
    PartitionBuffers unshifted(input, false), shifted(input, true);
    auto workspace =
        garbage<std::byte>(static_cast<std::int64_t>(window_partition_workspace_bytes_cuda(input.tokens(), input.grid)));
    const Status status = window_partition_cuda(input.coords.data(), input.tokens(), input.grid, unshifted.partition,
                                                shifted.partition, workspace.data(), workspace.size(), nullptr);
    return status == Status::ok && unshifted.result() == unshifted_result && shifted.result() == shifted_result;
}

TEST(same_as_the_twin) {
    for (const WindowInput& input : window_inputs(6000)) {
        if (!partitions_to(input, expected_partition(input, false), expected_partition(input, true))) {
            report(__FILE__, __LINE__, input.name);
        }
    }
}

TEST(tokens_outside_land_in_no_window) {
    WindowResult shifted = expected_outside();
    for (const int axis : {7, 8}) shifted.position[static_cast<std::size_t>(axis)] += 6;
    CHECK(partitions_to(tokens_outside(), expected_outside(), shifted));
}

TEST(refuses_a_workspace_that_is_too_small) {
    const WindowInput input = window_inputs(100)[2];
    PartitionBuffers unshifted(input, false), shifted(input, true);
    auto workspace =
        garbage<std::byte>(static_cast<std::int64_t>(window_partition_workspace_bytes_cuda(input.tokens(), input.grid)) - 1);
    CHECK(window_partition_cuda(input.coords.data(), input.tokens(), input.grid, unshifted.partition, shifted.partition,
                                workspace.data(), workspace.size(), nullptr) == Status::workspace_too_small);
}

int main() { return run_tests_in_all_orders(); }
