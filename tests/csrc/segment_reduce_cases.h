// Inputs of segment_reduce with a plain twin, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include <algorithm>
#include <numeric>

#include "segment_reduce.h"
#include "testing.h"

namespace testing {

struct SegmentInput {
    const char* name;
    std::vector<std::int64_t> order, offsets;
    std::int64_t channels;
    perception::Segments segments() const {
        return {order.data(), offsets.data(), static_cast<std::int64_t>(offsets.size()) - 1,
                static_cast<std::int64_t>(order.size())};
    }
};

inline std::vector<SegmentInput> segment_inputs() {
    Random random(3);
    const auto build = [&](const char* name, std::vector<int> lengths, int in_none, std::int64_t channels) {
        SegmentInput input{name, {}, {0}, channels};
        for (const int length : lengths) input.offsets.push_back(input.offsets.back() + length);
        input.order.resize(static_cast<std::size_t>(input.offsets.back() + in_none));
        std::iota(input.order.begin(), input.order.end(), std::int64_t{0});
        for (std::size_t i = input.order.size(); i > 1; --i) {
            std::swap(input.order[i - 1], input.order[static_cast<std::size_t>(random.integer(static_cast<int>(i)))]);
        }
        for (std::size_t s = 0; s + 1 < input.offsets.size(); ++s) {
            std::sort(input.order.begin() + input.offsets[s], input.order.begin() + input.offsets[s + 1]);
        }
        return input;
    };
    std::vector<int> scattered(173);
    for (int& length : scattered) length = random.integer(9);
    return {build("no rows", {}, 0, 5),
            build("rows in no segment", {}, 7, 3),
            build("one row", {1}, 0, 1),
            build("all in one", {1000}, 0, 33),
            build("no channels", {2, 3}, 1, 0),
            build("empty segments", {0, 2, 0}, 1, 70),
            build("scattered", scattered, 19, 64),
            build("odd width", scattered, 3, 131),
            build("long among short", {3, 400, 0, 129, 128, 1, 200}, 5, 64),
            build("long and wide", {2, 300, 7, 131}, 0, 288)};
}

// What segment_reduce promises, in double.
inline std::vector<double> expected_reduction(const SegmentInput& input, const std::vector<double>& values,
                                              perception::Reduction reduction) {
    const perception::Segments segments = input.segments();
    std::vector<double> out(static_cast<std::size_t>(segments.count * input.channels));
    for (std::int64_t s = 0; s < segments.count; ++s) {
        for (std::int64_t c = 0; c < input.channels; ++c) {
            double sum = 0.0, largest = -HUGE_VAL;
            for (std::int64_t i = input.offsets[static_cast<std::size_t>(s)];
                 i < input.offsets[static_cast<std::size_t>(s) + 1]; ++i) {
                const double value = values[static_cast<std::size_t>(segments.order[i] * input.channels + c)];
                sum += value;
                largest = std::max(largest, value);
            }
            const std::int64_t length = segments.offsets[s + 1] - segments.offsets[s];
            double& result = out[static_cast<std::size_t>(s * input.channels + c)];
            if (length == 0) continue;
            if (reduction == perception::Reduction::max) result = largest;
            if (reduction == perception::Reduction::sum) result = sum;
            if (reduction == perception::Reduction::mean) result = sum / static_cast<double>(length);
        }
    }
    return out;
}

inline std::vector<double> expected_segment_gradient(const SegmentInput& input, const std::vector<double>& grad,
                                                     const std::vector<double>& values, const std::vector<double>& out,
                                                     perception::Reduction reduction) {
    const perception::Segments segments = input.segments();
    std::vector<double> result(static_cast<std::size_t>(segments.rows * input.channels), 0.0);
    for (std::int64_t s = 0; s < segments.count; ++s) {
        const std::int64_t length = segments.offsets[s + 1] - segments.offsets[s];
        for (std::int64_t c = 0; c < input.channels; ++c) {
            const auto at = static_cast<std::size_t>(s * input.channels + c);
            for (std::int64_t i = segments.offsets[s]; i < segments.offsets[s + 1]; ++i) {
                const auto row = static_cast<std::size_t>(segments.order[i] * input.channels + c);
                if (reduction == perception::Reduction::sum) result[row] = grad[at];
                if (reduction == perception::Reduction::mean) result[row] = grad[at] / static_cast<double>(length);
                if (reduction == perception::Reduction::max && values[row] == out[at]) {
                    result[row] = grad[at];
                    break;
                }
            }
        }
    }
    return result;
}

// Checks forward(values, channels, segments, reduction, out) and backward(grad, values, out, channels, segments, reduction,
// grad_values) on every input.
template <typename T, typename Forward, typename Backward>
void check_segment_reduce(const Forward& forward, const Backward& backward) {
    using perception::Reduction;
    for (const SegmentInput& input : segment_inputs()) {
        for (const Reduction reduction : {Reduction::sum, Reduction::mean, Reduction::max}) {
            const perception::Segments segments = input.segments();
            Random random(5);
            auto values = narrow_all<T>(random.normals(segments.rows * input.channels));
            if (values.size() > 2) values[1] = values[0];  // a tie, when they share a segment
            const auto grad = narrow_all<T>(random.normals(segments.count * input.channels));
            auto out = garbage<T>(segments.count * input.channels);
            auto grad_values = garbage<T>(segments.rows * input.channels);
            const bool ok = forward(values.data(), input.channels, segments, reduction, out.data()) == perception::Status::ok &&
                            backward(grad.data(), values.data(), out.data(), input.channels, segments, reduction,
                                     grad_values.data()) == perception::Status::ok;
            if (!ok) report(__FILE__, __LINE__, input.name);
            // Sums cancel: in float they are off by roundings of the largest partial sum.
            const double cancelled = rounding<T> < 1e-5 ? 40 * rounding<T> : tiny<T>;
            CHECK_CLOSE(widen_all(out), expected_reduction(input, widen_all(values), reduction), rounding<T>, cancelled);
            CHECK_CLOSE(widen_all(grad_values),
                        expected_segment_gradient(input, widen_all(grad), widen_all(values), widen_all(out), reduction),
                        rounding<T>, tiny<T>);
        }
    }
}

}  // namespace testing
