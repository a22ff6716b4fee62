// Point clouds as files hold them: raw rows of float32 (nuScenes' .pcd.bin) and PCD (ascii, binary, binary_compressed).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace perception::runtime {

constexpr int CLOUD_FEATURES = 4;  // x y z (m), intensity (0 where the file has none)

using Bytes = std::span<const std::byte>;

// Both append rows of CLOUD_FEATURES to `points` and return their number. They throw Error(PERCEPTION_ERROR_POINTS) for
// a damaged file or a number that is not finite, and Error(PERCEPTION_ERROR_POINT_COUNT) for more than `most` points,
// before memory for them is taken.
std::int64_t read_rows(Bytes file, int features, std::int64_t most, std::vector<float>& points);
std::int64_t read_pcd(Bytes file, std::int64_t most, std::vector<float>& points);

// What both check: the number of points of a cloud, and its values from index `first` on.
void check_count(std::int64_t count, std::int64_t most);
void check_finite(const std::vector<float>& points, std::size_t first);

}  // namespace perception::runtime
