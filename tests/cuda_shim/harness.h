// For tests of .cu files on the shim: TEST bodies run once per order of threads and blocks.
#pragma once

#include "../csrc/testing.h"
#include "cuda_platform.h"

namespace testing {

// Main of a shim test: every test in three orders. A kernel that lacks a barrier gives different results in them.
inline int run_tests_in_all_orders() {
    int result = 0;
    const std::pair<const char*, cuda_shim::Order> orders[] = {{"ascending", cuda_shim::Order::ascending},
                                                               {"descending", cuda_shim::Order::descending},
                                                               {"shuffled", cuda_shim::Order::shuffled}};
    for (const auto& [name, order] : orders) {
        std::printf("%s\n", name);
        cuda_shim::set_order(order, 1);
        result |= run_tests();
    }
    return result;
}

}  // namespace testing

#define CHECK_OK(status) CHECK((status) == perception::Status::ok)
