// Inputs of roi_align with a plain twin, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>

#include "roi_align.h"
#include "testing.h"

namespace testing {

struct RoiInput {
    const char* name;
    perception::RoiAlignShape shape;
    std::vector<float> rois;  // [rois,5] image x1 y1 x2 y2
    std::int64_t out_size() const {
        return shape.rois * shape.pooled_height * shape.pooled_width * shape.channels;
    }
};

inline std::vector<RoiInput> roi_inputs() {
    std::vector<RoiInput> inputs;
    const std::vector<float> rois{0, 3,   2,    17,  21,   1, 0,  0,  64,  48, 0, -30,  -20, 10, 9,   1, 50,   40,  90, 70,
                                  1, 5.5f, 6.5f, 5.5f, 6.5f, 0, 20, 20, 10, 5,  1, 100, 100, 120, 130, 0, 1.25f, 2.75f, 61, 47.5f};
    for (const bool aligned : {false, true}) {
        for (const std::int64_t ratio : {0, 2}) {
            inputs.push_back({"scattered", {2, 12, 16, 37, 8, 7, 5, 0.25, ratio, aligned}, rois});
        }
    }
    inputs.push_back({"long and thin", {1, 5, 7, 3, 2, 2, 2, 1.0, 0, true}, {0, -4000, 1, 9000, 4, 0, 1, -300, 5, 700}});
    inputs.push_back({"no rois", {1, 4, 4, 3, 0, 2, 2, 1.0, 0, true}, {}});
    inputs.push_back({"one pixel", {1, 1, 1, 1, 1, 3, 3, 1.0, 0, true}, {0, 0, 0, 1, 1}});
    inputs.push_back({"no channels", {1, 4, 4, 0, 1, 2, 2, 1.0, 0, true}, {0, 0, 0, 3, 3}});
    return inputs;
}

// Of a batch of two images: refused on the CPU, zeros on the GPU.
inline std::vector<std::vector<float>> unusable_rois() {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    return {{-1, 0, 0, 3, 3},  {2, 0, 0, 3, 3},         {nan, 0, 0, 3, 3},
            {0, nan, 0, 3, 3}, {0, 0, -infinity, 3, 3}, {1, 0, 0, infinity, 3}};
}

// Calls visit(output, pixel, weight) for every term of the average of bilinear samples, straight from its definition.
inline void for_roi_terms(const RoiInput& input, const std::function<void(std::int64_t, std::int64_t, double)>& visit) {
    const perception::RoiAlignShape& shape = input.shape;
    const double shift = shape.aligned ? 0.5 : 0.0;
    for (std::int64_t r = 0; r < shape.rois; ++r) {
        const float* roi = input.rois.data() + 5 * r;
        const double x1 = roi[1] * shape.spatial_scale - shift, y1 = roi[2] * shape.spatial_scale - shift;
        double width = roi[3] * shape.spatial_scale - shift - x1, height = roi[4] * shape.spatial_scale - shift - y1;
        if (!shape.aligned) {
            width = std::max(width, 1.0);
            height = std::max(height, 1.0);
        }
        const double bin_width = width / static_cast<double>(shape.pooled_width);
        const double bin_height = height / static_cast<double>(shape.pooled_height);
        const auto samples = [&](double bin) {
            if (shape.sampling_ratio > 0) return shape.sampling_ratio;
            return std::max(static_cast<std::int64_t>(std::ceil(bin)), std::int64_t{0});
        };
        const std::int64_t across = samples(bin_width), down = samples(bin_height);
        for (std::int64_t bin = 0; bin < shape.pooled_height * shape.pooled_width; ++bin) {
            for (std::int64_t sample = 0; sample < across * down; ++sample) {
                const auto at = [](double start, std::int64_t index, double size, std::int64_t part, std::int64_t parts) {
                    return start + static_cast<double>(index) * size +
                           (static_cast<double>(part) + 0.5) * size / static_cast<double>(parts);
                };
                double y = at(y1, bin / shape.pooled_width, bin_height, sample / across, down);
                double x = at(x1, bin % shape.pooled_width, bin_width, sample % across, across);
                if (y < -1 || y > static_cast<double>(shape.height) || x < -1 || x > static_cast<double>(shape.width)) continue;
                y = std::min(std::max(y, 0.0), static_cast<double>(shape.height - 1));
                x = std::min(std::max(x, 0.0), static_cast<double>(shape.width - 1));
                const auto top = static_cast<std::int64_t>(y), left = static_cast<std::int64_t>(x);
                for (int corner = 0; corner < 4; ++corner) {
                    const std::int64_t row = top + corner / 2, column = left + corner % 2;
                    const double below = std::abs(y - static_cast<double>(row)), right = std::abs(x - static_cast<double>(column));
                    const double weight = (1 - below) * (1 - right);
                    if (weight <= 0) continue;
                    const std::int64_t pixel = (static_cast<std::int64_t>(roi[0]) * shape.height + row) * shape.width + column;
                    const std::int64_t output = r * shape.pooled_height * shape.pooled_width + bin;
                    visit(output, pixel, weight / static_cast<double>(across * down));
                }
            }
        }
    }
}

// Checks forward(features, rois, shape, out) and backward(grad, rois, shape, grad_features) on every input.
template <typename T, typename Forward, typename Backward>
void check_roi_align(const Forward& forward, const Backward& backward) {
    for (const RoiInput& input : roi_inputs()) {
        Random random(8);
        const std::int64_t channels = input.shape.channels;
        const auto features = narrow_all<T>(random.normals(input.shape.pixels() * channels));
        const auto grad = narrow_all<T>(random.normals(input.out_size()));
        const std::vector<perception::Accumulate<T>> rois(input.rois.begin(), input.rois.end());
        auto out = garbage<T>(input.out_size());
        auto grad_features = garbage<T>(input.shape.pixels() * channels);
        const bool ok =
            forward(features.data(), rois.data(), input.shape, out.data()) == perception::Status::ok &&
            backward(grad.data(), rois.data(), input.shape, grad_features.data()) == perception::Status::ok;
        if (!ok) report(__FILE__, __LINE__, input.name);
        const auto wide_features = widen_all(features), wide_grad = widen_all(grad);
        std::vector<double> expected(out.size()), expected_grad(features.size());
        for_roi_terms(input, [&](std::int64_t bin, std::int64_t pixel, double weight) {
            for (std::int64_t c = 0; c < channels; ++c) {
                const auto at_bin = static_cast<std::size_t>(bin * channels + c);
                const auto at_pixel = static_cast<std::size_t>(pixel * channels + c);
                expected[at_bin] += weight * wide_features[at_pixel];
                expected_grad[at_pixel] += weight * wide_grad[at_bin];
            }
        });
        const double absolute = (std::is_same_v<T, double> ? 1e-13 : 2e-5) + tiny<T>;
        CHECK_CLOSE(widen_all(out), expected, rounding<T>, absolute);
        CHECK_CLOSE(widen_all(grad_features), expected_grad, rounding<T>, absolute);
    }
}

}  // namespace testing
