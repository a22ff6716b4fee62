#include "points_in_boxes_cases.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    for (const int threads : {1, 2, 3}) {
        const auto workspace_for = [](std::int64_t boxes) {
            return garbage<std::byte>(static_cast<std::int64_t>(points_in_boxes_workspace_bytes(boxes, sizeof(T))));
        };
        check_points_in_boxes<T>(
            [&](const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count, std::int64_t* first) {
                auto workspace = workspace_for(box_count);
                return points_in_boxes_cpu(points, point_count, boxes, box_count, first, workspace.data(), workspace.size(),
                                           threads);
            },
            [&](const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count, bool* inside) {
                auto workspace = workspace_for(box_count);
                return points_in_boxes_all_cpu(points, point_count, boxes, box_count, inside, workspace.data(),
                                               workspace.size(), threads);
            });
    }
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }

TEST(refuses_a_workspace_that_is_too_small) {
    const std::vector<float> points(6), boxes(21);
    std::vector<std::int64_t> first(2);
    bool inside[6];
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(points_in_boxes_workspace_bytes(3, sizeof(float))) - 1);
    CHECK(points_in_boxes_cpu(points.data(), 2, boxes.data(), 3, first.data(), workspace.data(), workspace.size(), 2) ==
          Status::workspace_too_small);
    CHECK(points_in_boxes_all_cpu(points.data(), 2, boxes.data(), 3, inside, workspace.data(), workspace.size(), 2) ==
          Status::workspace_too_small);
}

int main() { return run_tests(); }
