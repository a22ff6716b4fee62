#include "../csrc/voxelize_cases.h"

#include "harness.h"

using namespace perception;
using namespace testing;

TEST(same_as_the_twin) {
    for (const VoxelInput& input : voxel_inputs(8000)) {
        const VoxelResult expected = expected_voxels(input);
        const auto count = static_cast<std::int64_t>(input.points.size());
        for (const std::int64_t stride : {3, 5}) {
            VoxelBuffers buffers(input, stride);
            auto workspace = garbage<std::byte>(static_cast<std::int64_t>(voxelize_workspace_bytes_cuda(count, input.grid)));
            const Status status = voxelize_cuda(buffers.points.data(), stride, input.batch.data(), count, input.grid,
                                                buffers.output, workspace.data(), workspace.size(), nullptr);
            if (status != Status::ok || !(buffers.result() == expected)) report(__FILE__, __LINE__, input.name);
        }
    }
}

TEST(refuses_a_workspace_that_is_too_small) {
    const VoxelInput input = voxel_inputs(100)[4];
    const auto count = static_cast<std::int64_t>(input.points.size());
    VoxelBuffers buffers(input, 3);
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(voxelize_workspace_bytes_cuda(count, input.grid)) - 1);
    CHECK(voxelize_cuda(buffers.points.data(), 3, input.batch.data(), count, input.grid, buffers.output, workspace.data(),
                        workspace.size(), nullptr) == Status::workspace_too_small);
}

int main() { return run_tests_in_all_orders(); }
