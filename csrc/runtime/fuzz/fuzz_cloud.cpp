// Point clouds: the first byte says which format the rest is read as.
#include <cmath>
#include <cstdlib>

#include "cloud_file.h"
#include "error.h"

using namespace perception::runtime;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    constexpr std::int64_t MOST = 100'000;
    const Bytes file(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
    std::vector<float> points;
    try {
        const std::int64_t count = data[0] < 32 ? read_rows(file, data[0], MOST, points) : read_pcd(file, MOST, points);
        // What is not refused is whole and finite.
        if (static_cast<std::int64_t>(points.size()) != count * CLOUD_FEATURES) std::abort();
        for (const float value : points) {
            if (!std::isfinite(value)) std::abort();
        }
    } catch (const Error&) {
    }
    return 0;
}
