// Times of many frames, and what to say of them.
#pragma once

#include <string>
#include <vector>

namespace perception::runtime {

class Latency {
  public:
    explicit Latency(std::string stage) : stage_(std::move(stage)) {}
    void add(double ms) { samples_ms_.push_back(ms); }
    // The smallest sample that at least the fraction `q` of all are not above; 0 without samples.
    double percentile(double q) const;
    // "stage p50 p99 p99.9 max" as a row of the table whose heading is `heading`.
    std::string row() const;
    static std::string heading();

  private:
    std::string stage_;
    std::vector<double> samples_ms_;
};

}  // namespace perception::runtime
