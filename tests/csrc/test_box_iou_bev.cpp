#include "bev_box_cases.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    for (const int threads : {1, 2, 3}) {
        const auto overlap = [&](const T* a, std::int64_t count_a, const T* b, std::int64_t count_b, BevOverlap kind, T* out) {
            auto workspace =
                garbage<std::byte>(static_cast<std::int64_t>(box_iou_bev_workspace_bytes(count_a, count_b, sizeof(T))));
            return box_iou_bev_cpu(a, count_a, b, count_b, kind, out, workspace.data(), workspace.size(), threads);
        };
        check_box_iou_bev<T>(overlap);
    }
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }

TEST(refuses_a_workspace_that_is_too_small) {
    const std::vector<float> boxes(15);
    std::vector<float> out(9);
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(box_iou_bev_workspace_bytes(3, 3, sizeof(float))) - 1);
    CHECK(box_iou_bev_cpu(boxes.data(), 3, boxes.data(), 3, BevOverlap::iou, out.data(), workspace.data(), workspace.size(),
                          2) == Status::workspace_too_small);
}

int main() { return run_tests(); }
