#include "segment_reduce_cases.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    for (const int threads : {1, 2, 3}) {
        check_segment_reduce<T>([&](auto... arguments) { return segment_reduce_cpu<T>(arguments..., threads); },
                                [&](auto... arguments) { return segment_reduce_backward_cpu<T>(arguments..., threads); });
    }
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }
TEST(half) { check<Half>(); }
TEST(bfloat16) { check<BFloat16>(); }

int main() { return run_tests(); }
