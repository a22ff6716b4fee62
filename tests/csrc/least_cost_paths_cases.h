// Inputs of least_cost_paths with a plain twin, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include <algorithm>
#include <limits>

#include "least_cost_paths.h"
#include "testing.h"

namespace testing {

struct Paths {
    std::vector<double> distance;
    std::vector<std::int32_t> nearest;
};

// Every edge is relaxed again and again until none helps. Source by source, so that the first of equally near ones stays.
template <typename T>
Paths expected_paths(const std::vector<T>& costs, const std::vector<std::int64_t>& sources, int images, int height, int width) {
    const int pixels = height * width;
    Paths out{std::vector<double>(images * pixels, std::numeric_limits<double>::infinity()),
              std::vector<std::int32_t>(images * pixels, -1)};
    for (int s = 0; s < static_cast<int>(sources.size()) / 3; ++s) {
        const std::int64_t image = sources[3 * s], y = sources[3 * s + 1], x = sources[3 * s + 2];
        if (image < 0 || image >= images || y < 0 || y >= height || x < 0 || x >= width) continue;
        std::vector<T> own(pixels, std::numeric_limits<T>::infinity());
        own[y * width + x] = 0;
        for (bool helped = true; helped;) {
            helped = false;
            for (int a = 0; a < pixels; ++a) {
                for (int edge = 0; edge < 4; ++edge) {
                    const int row = a / width + (edge > 0), column = a % width + (edge == 1 ? 0 : edge == 3 ? -1 : 1);
                    if (row >= height || column < 0 || column >= width) continue;
                    const T cost = costs[(image * 4 + edge) * pixels + a];
                    if (!(cost >= 0)) continue;
                    const int b = row * width + column;
                    for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
                        if (own[from] + cost < own[to]) own[to] = own[from] + cost, helped = true;
                    }
                }
            }
        }
        for (int p = 0; p < pixels; ++p) {
            if (own[p] < out.distance[image * pixels + p]) {
                out.distance[image * pixels + p] = own[p];
                out.nearest[image * pixels + p] = s;
            }
        }
    }
    return out;
}

// Checks paths(costs, sources, count, images, height, width, distance, nearest), bit by bit.
template <typename T, typename Run>
void check_least_cost_paths(const Run& run) {
    const int sizes[][4] = {{0, 3, 3, 2}, {1, 0, 5, 0}, {1, 1, 1, 1}, {1, 1, 9, 2}, {1, 9, 1, 2},
                            {2, 6, 7, 0}, {3, 8, 11, 9}, {2, 17, 33, 12}};  // images, rows, columns, sources
    for (const auto& [images, height, width, count] : sizes) {
        for (const bool whole : {true, false}) {  // whole numbers: many ways are equally long
            Random random(static_cast<std::uint32_t>(height * width + count));
            std::vector<T> costs;
            for (int i = 0; i < images * 4 * height * width; ++i) {
                const int kind = random.integer(20);
                const T cost = whole ? static_cast<T>(random.integer(3)) : static_cast<T>(random.uniform(0.0f, 1.0f));
                costs.push_back(kind == 0   ? std::numeric_limits<T>::infinity()
                                : kind == 1 ? T{-1}
                                : kind == 2 ? std::numeric_limits<T>::quiet_NaN()
                                            : cost);
            }
            std::vector<std::int64_t> sources;
            for (int s = 0; s < count; ++s) {  // now and then one outside
                sources.insert(sources.end(), {random.integer(images + 1), random.integer(height + 1) - (s % 5 == 4),
                                               random.integer(width + 1)});
            }
            if (count > 3) std::copy_n(sources.begin(), 3, sources.begin() + 6);  // two sources in one place
            auto distance = garbage<T>(images * height * width);
            auto nearest = garbage<std::int32_t>(images * height * width);
            CHECK(run(costs.data(), sources.data(), count, images, height, width, distance.data(), nearest.data()) ==
                  perception::Status::ok);
            const Paths expected = expected_paths(costs, sources, images, height, width);
            CHECK(nearest == expected.nearest);
            CHECK_CLOSE(distance, expected.distance, 0.0, 0.0);
        }
    }
}

}  // namespace testing
