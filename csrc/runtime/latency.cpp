#include "latency.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace perception::runtime {

double Latency::percentile(double q) const {
    if (samples_ms_.empty()) return 0.0;
    std::vector<double> sorted = samples_ms_;
    std::sort(sorted.begin(), sorted.end());
    const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(sorted.size())));
    return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

std::string Latency::row() const {
    char text[128];
    std::snprintf(text, sizeof(text), "%-10s %8.2f %8.2f %8.2f %8.2f", stage_.c_str(), percentile(0.5),
                  percentile(0.99), percentile(0.999), percentile(1.0));
    return text;
}

std::string Latency::heading() {
    char text[128];
    std::snprintf(text, sizeof(text), "%-10s %8s %8s %8s %8s", "ms", "p50", "p99", "p99.9", "max");
    return text;
}

}  // namespace perception::runtime
