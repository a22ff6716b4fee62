#include "roi_align_cases.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    using A = Accumulate<T>;
    for (const int threads : {1, 2, 3}) {
        const auto forward = [&](const T* features, const A* rois, const RoiAlignShape& shape, T* out) {
            auto workspace =
                garbage<std::byte>(static_cast<std::int64_t>(roi_align_workspace_bytes_cpu(shape, sizeof(A), threads)));
            return roi_align_cpu(features, rois, shape, out, workspace.data(), workspace.size(), threads);
        };
        const auto backward = [&](const T* grad, const A* rois, const RoiAlignShape& shape, T* grad_features) {
            auto workspace = garbage<std::byte>(static_cast<std::int64_t>(
                roi_align_backward_workspace_bytes_cpu(shape, sizeof(T), sizeof(A), threads)));
            return roi_align_backward_cpu(grad, rois, shape, grad_features, workspace.data(), workspace.size(), threads);
        };
        check_roi_align<T>(forward, backward);
    }
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }
TEST(half) { check<Half>(); }
TEST(bfloat16) { check<BFloat16>(); }

TEST(refuses_rois_that_are_not_finite_or_name_no_image) {
    const RoiAlignShape shape{2, 4, 4, 3, 1, 2, 2, 1.0, 0, true};
    const std::vector<float> features(2 * 4 * 4 * 3);
    std::vector<float> out(2 * 2 * 3), grad_features(features.size());
    for (const std::vector<float>& roi : unusable_rois()) {
        auto workspace = garbage<std::byte>(static_cast<std::int64_t>(roi_align_workspace_bytes_cpu(shape, 4, 2)));
        CHECK(roi_align_cpu(features.data(), roi.data(), shape, out.data(), workspace.data(), workspace.size(), 2) ==
              Status::bad_argument);
        CHECK(roi_align_backward_cpu(out.data(), roi.data(), shape, grad_features.data(), workspace.data(), workspace.size(),
                                     2) == Status::bad_argument);
    }
}

TEST(refuses_a_workspace_that_is_too_small) {
    const RoiAlignShape shape{1, 4, 4, 3, 1, 2, 2, 1.0, 0, true};
    const std::vector<Half> features(4 * 4 * 3);
    const std::vector<float> roi{0, 0, 0, 3, 3};
    std::vector<Half> out(2 * 2 * 3), grad_features(features.size());
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(roi_align_workspace_bytes_cpu(shape, 4, 2)) - 1);
    CHECK(roi_align_cpu(features.data(), roi.data(), shape, out.data(), workspace.data(), workspace.size(), 2) ==
          Status::workspace_too_small);
    workspace = garbage<std::byte>(static_cast<std::int64_t>(roi_align_backward_workspace_bytes_cpu(shape, 2, 4, 2)) - 1);
    CHECK(roi_align_backward_cpu(out.data(), roi.data(), shape, grad_features.data(), workspace.data(), workspace.size(),
                                 2) == Status::workspace_too_small);
}

int main() { return run_tests(); }
