#include "../csrc/segment_reduce_cases.h"

#include "harness.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    check_segment_reduce<T>([](auto... arguments) { return segment_reduce_cuda<T>(arguments..., nullptr); },
                            [](auto... arguments) { return segment_reduce_backward_cuda<T>(arguments..., nullptr); });
}

TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }
TEST(half) { check<Half>(); }
TEST(bfloat16) { check<BFloat16>(); }

int main() { return run_tests_in_all_orders(); }
