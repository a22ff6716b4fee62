// platform.h: every half and bfloat16 against arithmetic from the formats' definitions; workspaces.
#include "platform.h"

#include <array>
#include <limits>

#include "testing.h"

using namespace perception;

namespace {

// The value of a 16-bit float with `exponent_bits`, from the definition of IEEE 754.
double decode(std::uint16_t bits, int exponent_bits) {
    const int mantissa_bits = 15 - exponent_bits;
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
    const int mantissa = bits & ((1 << mantissa_bits) - 1);
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1) return mantissa != 0 ? std::nan("") : sign * HUGE_VAL;
    if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

// Every value comes back from float; between neighbours the nearer one is taken, the even one in the middle.
template <typename T>
void check_format(int exponent_bits) {
    const auto infinity = static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << (15 - exponent_bits));
    int wrong = 0;
    for (int i = 0; i < 0x10000; ++i) {
        const auto bits = static_cast<std::uint16_t>(i);
        const double value = decode(bits, exponent_bits);
        const float wide = widen(T{bits});
        if (std::isnan(value)) {
            wrong += !std::isnan(wide) || !std::isnan(widen(narrow<T>(wide)));
            continue;
        }
        wrong += static_cast<double>(wide) != value || std::signbit(wide) != std::signbit(value);
        wrong += narrow<T>(wide).bits != bits;
        if ((bits & 0x7fff) + 1 >= infinity) continue;
        const auto next = static_cast<std::uint16_t>(bits + 1);
        const double middle = (value + decode(next, exponent_bits)) / 2;
        const auto at = static_cast<float>(middle);
        wrong += static_cast<double>(at) != middle;  // the middle is a float: the comparisons below are exact
        wrong += narrow<T>(at).bits != (bits % 2 == 0 ? bits : next);
        wrong += narrow<T>(std::nextafterf(at, 0.0f)).bits != bits;
        wrong += narrow<T>(std::nextafterf(at, at < 0 || std::signbit(wide) ? -HUGE_VALF : HUGE_VALF)).bits != next;
    }
    CHECK(wrong == 0);
    CHECK(narrow<T>(std::numeric_limits<float>::max()).bits == infinity);
    CHECK(narrow<T>(-std::numeric_limits<float>::infinity()).bits == (infinity | 0x8000));
}

}  // namespace

TEST(half) { check_format<Half>(5); }

TEST(bfloat16) { check_format<BFloat16>(8); }

TEST(workspace) {
    const auto layout = [](Workspace& workspace) {
        return std::array<void*, 3>{workspace.take<char>(1), workspace.take<double>(100), workspace.take<int>(0)};
    };
    Workspace counting;
    layout(counting);
    std::vector<unsigned char> memory(counting.bytes());
    Workspace exact(memory.data(), memory.size());
    const std::array<void*, 3> arrays = layout(exact);
    CHECK(exact.fits());
    CHECK(arrays[0] == memory.data());
    CHECK(static_cast<unsigned char*>(arrays[1]) - memory.data() == Workspace::alignment);
    Workspace short_by_one(memory.data(), memory.size() - 1);
    layout(short_by_one);
    CHECK(!short_by_one.fits());
}

int main() { return testing::run_tests(); }
