#include "../csrc/window_attention_cases.h"

#include "harness.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check(std::int64_t most_tokens = INT64_MAX) {
    check_window_attention<T>([](auto... arguments) { return window_attention_cuda<T>(arguments..., nullptr); },
                              [](auto... arguments) { return window_attention_backward_cuda<T>(arguments..., nullptr); },
                              most_tokens);
}

// Double and half run the code of float and bfloat16, and fibers are slow: the large cases are left to those.
TEST(float32) { check<float>(250); }
TEST(float64) { check<double>(100); }
TEST(half) { check<Half>(100); }
TEST(bfloat16) { check<BFloat16>(); }

int main() { return run_tests_in_all_orders(); }
