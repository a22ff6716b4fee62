#include "bev_box_cases.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    check_nms_bev<T>([](const T* boxes, const T* scores, std::int64_t count, T threshold, std::int64_t* kept,
                        std::int64_t* kept_count) {
        auto workspace = garbage<std::byte>(static_cast<std::int64_t>(nms_bev_workspace_bytes_cpu(count, sizeof(T))));
        return nms_bev_cpu(boxes, scores, count, threshold, kept, kept_count, workspace.data(), workspace.size());
    });
    check_circle_nms<T>([](const T* centres, const T* scores, std::int64_t count, T radius, std::int64_t* kept,
                           std::int64_t* kept_count) {
        auto workspace = garbage<std::byte>(static_cast<std::int64_t>(circle_nms_workspace_bytes_cpu(count, sizeof(T))));
        return circle_nms_cpu(centres, scores, count, radius, kept, kept_count, workspace.data(), workspace.size());
    });
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }

TEST(refuses_a_workspace_that_is_too_small) {
    const std::vector<float> boxes(15), scores(3);
    std::vector<std::int64_t> kept(3);
    std::int64_t kept_count = 0;
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(nms_bev_workspace_bytes_cpu(3, sizeof(float))) - 1);
    CHECK(nms_bev_cpu(boxes.data(), scores.data(), 3, 0.5f, kept.data(), &kept_count, workspace.data(), workspace.size()) ==
          Status::workspace_too_small);
    workspace = garbage<std::byte>(static_cast<std::int64_t>(circle_nms_workspace_bytes_cpu(3, sizeof(float))) - 1);
    CHECK(circle_nms_cpu(boxes.data(), scores.data(), 3, 0.5f, kept.data(), &kept_count, workspace.data(),
                         workspace.size()) == Status::workspace_too_small);
}

int main() { return run_tests(); }
