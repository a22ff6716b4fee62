#include "../csrc/roi_align_cases.h"
#include "harness.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    using A = Accumulate<T>;
    const auto forward = [](const T* features, const A* rois, const RoiAlignShape& shape, T* out) {
        return roi_align_cuda(features, rois, shape, out, nullptr);
    };
    const auto backward = [](const T* grad, const A* rois, const RoiAlignShape& shape, T* grad_features) {
        auto workspace = garbage<std::byte>(
            static_cast<std::int64_t>(roi_align_backward_workspace_bytes_cuda(shape, sizeof(T), sizeof(A))));
        return roi_align_backward_cuda(grad, rois, shape, grad_features, workspace.data(), workspace.size(), nullptr);
    };
    check_roi_align<T>(forward, backward);
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }
TEST(half) { check<Half>(); }
TEST(bfloat16) { check<BFloat16>(); }

TEST(reads_zeros_for_rois_that_are_not_finite_or_name_no_image) {
    const RoiAlignShape shape{2, 4, 4, 3, 1, 2, 2, 1.0, 0, true};
    const std::vector<float> features(2 * 4 * 4 * 3, 1.0f), grad(2 * 2 * 3, 1.0f);
    for (const std::vector<float>& roi : unusable_rois()) {
        auto out = garbage<float>(2 * 2 * 3), grad_features = garbage<float>(2 * 4 * 4 * 3);
        CHECK_OK(roi_align_cuda(features.data(), roi.data(), shape, out.data(), nullptr));
        CHECK_OK(roi_align_backward_cuda(grad.data(), roi.data(), shape, grad_features.data(), nullptr, 0, nullptr));
        CHECK(out == std::vector<float>(out.size()));
        CHECK(grad_features == std::vector<float>(grad_features.size()));
    }
}

TEST(a_roi_longer_than_float32_reaches_reads_zeros) {
    const RoiAlignShape shape{1, 4, 4, 1, 1, 1, 1, 1.0, 0, true};
    const std::vector<float> features(16, 1.0f), roi{0, 1, -3e38f, 2, 3e38f};
    auto out = garbage<float>(1);
    CHECK_OK(roi_align_cuda(features.data(), roi.data(), shape, out.data(), nullptr));
    CHECK(out[0] == 0.0f);
}

TEST(refuses_a_workspace_that_is_too_small_and_an_empty_map) {
    const RoiAlignShape shape{1, 4, 4, 3, 1, 2, 2, 1.0, 0, true}, empty{1, 0, 4, 3, 1, 2, 2, 1.0, 0, true};
    const std::vector<float> roi{0, 0, 0, 3, 3};
    std::vector<Half> out(2 * 2 * 3), values(4 * 4 * 3);
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(roi_align_backward_workspace_bytes_cuda(shape, 2, 4)) - 1);
    CHECK(roi_align_backward_cuda(out.data(), roi.data(), shape, values.data(), workspace.data(), workspace.size(),
                                  nullptr) == Status::workspace_too_small);
    CHECK(roi_align_cuda(values.data(), roi.data(), empty, out.data(), nullptr) == Status::bad_argument);
}

int main() { return run_tests_in_all_orders(); }
