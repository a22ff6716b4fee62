// The few lines that the C++ tests need: TEST(name) { CHECK(...); CHECK_CLOSE(...); } and run_tests().
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "platform.h"

namespace testing {

struct Test {
    const char* name;
    void (*run)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

inline int failures = 0;

struct Register {
    Register(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

inline void report(const char* file, int line, const std::string& what) {
    if (++failures <= 20) std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

// |value - expected| <= absolute + relative * |expected|; equal infinities and two NaN agree.
inline bool close(double value, double expected, double relative, double absolute) {
    if (std::isnan(expected)) return std::isnan(value);
    if (std::isinf(expected)) return value == expected;
    return std::abs(value - expected) <= absolute + relative * std::abs(expected);
}

template <typename A, typename B>
void check_close(const A& values, const B& expected, double relative, double absolute, const char* file, int line) {
    if (values.size() != expected.size()) {
        report(file, line, "sizes " + std::to_string(values.size()) + " and " + std::to_string(expected.size()));
        return;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!close(values[i], expected[i], relative, absolute)) {
            report(file, line,
                   "at " + std::to_string(i) + ": " + std::to_string(values[i]) + ", expected " + std::to_string(expected[i]));
            return;
        }
    }
}

// An array that ends where its memory ends, filled with 0xff (NaN, -1): what a kernel forgets to write stands out.
template <typename T>
std::vector<T> garbage(std::int64_t count) {
    std::vector<T> values(static_cast<std::size_t>(count));
    if (count > 0) std::memset(static_cast<void*>(values.data()), 0xff, sizeof(T) * values.size());
    return values;
}

// The values as T, and as double.
template <typename T>
std::vector<T> narrow_all(const std::vector<float>& values) {
    std::vector<T> narrowed(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        narrowed[i] = perception::narrow<T>(static_cast<perception::Accumulate<T>>(values[i]));
    }
    return narrowed;
}
template <typename T>
std::vector<double> widen_all(const std::vector<T>& values) {
    std::vector<double> widened(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) widened[i] = perception::widen(values[i]);
    return widened;
}

// Relative error of one rounding to T, generously.
template <typename T>
constexpr double rounding = std::is_same_v<T, double>             ? 1e-14
                            : std::is_same_v<T, float>            ? 1e-6
                            : std::is_same_v<T, perception::Half> ? 1e-3
                                                                  : 8e-3;

// Absolute error of that rounding near zero, where half has no more bits.
template <typename T>
constexpr double tiny = std::is_same_v<T, perception::Half> ? 6e-8 : 0.0;

// Seeded random numbers, the same on every machine.
class Random {
public:
    explicit Random(std::uint32_t seed) : engine_(seed) {}
    float uniform(float low, float high) { return low + (high - low) * static_cast<float>(engine_() >> 8) * 0x1p-24f; }
    float normal() {  // Irwin-Hall: enough for tests
        float sum = -6.0f;
        for (int i = 0; i < 12; ++i) sum += uniform(0.0f, 1.0f);
        return sum;
    }
    int integer(int end) { return static_cast<int>(engine_() % static_cast<std::uint32_t>(end)); }
    std::vector<float> normals(std::int64_t count) {
        std::vector<float> values(static_cast<std::size_t>(count));
        for (float& value : values) value = normal();
        return values;
    }

private:
    std::mt19937 engine_;
};

inline int run_tests() {
    for (const Test& test : tests()) {
        const int before = failures;
        try {
            test.run();
        } catch (const std::exception& error) {
            report(test.name, 0, error.what());
        }
        std::printf("%s %s\n", failures == before ? "ok  " : "FAIL", test.name);
    }
    return failures == 0 ? 0 : 1;
}

}  // namespace testing

#define TEST(name)                                                      \
    static void test_##name();                                          \
    static const testing::Register register_##name(#name, test_##name); \
    static void test_##name()
#define CHECK(condition)                                                                \
    do {                                                                                \
        if (!(condition)) testing::report(__FILE__, __LINE__, "not true: " #condition); \
    } while (false)
#define CHECK_CLOSE(values, expected, relative, absolute) \
    testing::check_close(values, expected, relative, absolute, __FILE__, __LINE__)
