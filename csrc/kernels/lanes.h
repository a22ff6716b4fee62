// Vectors of the CPU kernels: a few numbers side by side, by the compiler's vector extension, with what they share.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "platform.h"

namespace perception {

#if defined(__AVX512F__)
constexpr std::size_t kVectorBytes = 64;
#else
constexpr std::size_t kVectorBytes = 32;
#endif

template <typename A>
struct LanesOf {
    typedef A type __attribute__((vector_size(kVectorBytes)));
};
template <typename A>
using Lanes = typename LanesOf<A>::type;
template <typename A>
constexpr std::int64_t kLanes = kVectorBytes / sizeof(A);

constexpr std::int64_t round_up(std::int64_t count, std::int64_t multiple) { return ceil_div(count, multiple) * multiple; }

template <typename A>
struct ExpConstants;
template <>
struct ExpConstants<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa = 23, bias = 127, degree = 7;
    static constexpr float least = -87.33f;                                           // below, e^x has no normal float
    static constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cf79abcap-20f;  // their sum is ln 2
};
template <>
struct ExpConstants<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa = 52, bias = 1023, degree = 13;
    static constexpr double least = -708.39;
    static constexpr double ln2_high = 0x1.62e42fefap-1, ln2_low = 0x1.cf79abc9e3b3ap-40;
};

// e^x in place, to a few roundings, for x at most about 1; 0 far below. x = n ln 2 + r, e^x = 2^n times the series of e^r.
template <typename A>
inline void exponential(Lanes<A>& x) {
    using C = ExpConstants<A>;
    using Bits = Lanes<typename C::Bits>;
    constexpr A round = A{1.5} * static_cast<A>(std::uint64_t{1} << C::mantissa);  // adding it leaves n in the low bits
    constexpr auto inverse_factorial = [] {
        std::array<A, C::degree + 1> values{1};
        for (int i = 1; i <= C::degree; ++i) values[i] = values[i - 1] / static_cast<A>(i);
        return values;
    }();
    const auto vanishes = x < C::least;
    const Lanes<A> bounded = vanishes ? Lanes<A>{} + C::least : x;
    const Lanes<A> shifted = bounded * static_cast<A>(1.4426950408889634) + round;
    const Lanes<A> n = shifted - round;
    const Lanes<A> r = bounded - n * C::ln2_high - n * C::ln2_low;
    Lanes<A> series = Lanes<A>{} + inverse_factorial[C::degree];
    for (int i = C::degree - 1; i >= 0; --i) series = series * r + inverse_factorial[i];
    const Bits power = (std::bit_cast<Bits>(shifted) - std::bit_cast<typename C::Bits>(round) + C::bias) << C::mantissa;
    x = vanishes ? Lanes<A>{} : series * std::bit_cast<Lanes<A>>(power);
}

// As many values as there are, then zeros.
template <typename T, typename A = Accumulate<T>>
inline Lanes<A> load(const T* values, std::int64_t count) {
    Lanes<A> lanes{};
    if (std::is_same_v<T, A> && count >= kLanes<A>) {
        std::memcpy(&lanes, values, sizeof lanes);
    } else {
        for (std::int64_t i = 0; i < std::min(count, kLanes<A>); ++i) lanes[i] = widen(values[i]);
    }
    return lanes;
}

// The first `count` of the lanes to memory.
template <typename T, typename A = Accumulate<T>>
inline void store(const Lanes<A>& lanes, std::int64_t count, T* values) {
    if (std::is_same_v<T, A> && count >= kLanes<A>) {
        std::memcpy(values, &lanes, sizeof lanes);
    } else {
        for (std::int64_t i = 0; i < std::min(count, kLanes<A>); ++i) values[i] = narrow<T>(lanes[i]);
    }
}

// Transposes a square: interleaving its upper with its lower half turns the bits of every index round by one.
template <typename A>
inline void transpose(const Lanes<A>* from, Lanes<A>* to) {
    constexpr std::int64_t size = kLanes<A>;
    using Places = Lanes<std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>>;
    Places low{}, high{};
    for (std::int64_t i = 0; i < size; ++i) {
        low[i] = i / 2 + i % 2 * size;
        high[i] = low[i] + size / 2;
    }
    Lanes<A> square[size], turned[size];
    for (std::int64_t i = 0; i < size; ++i) square[i] = from[i];
    for (std::int64_t done = 1; done < size; done *= 2) {
#pragma GCC unroll 8
        for (std::int64_t i = 0; i < size / 2; ++i) {
            turned[2 * i] = __builtin_shuffle(square[i], square[i + size / 2], low);
            turned[2 * i + 1] = __builtin_shuffle(square[i], square[i + size / 2], high);
        }
#pragma GCC unroll 16
        for (std::int64_t i = 0; i < size; ++i) square[i] = turned[i];
    }
    for (std::int64_t i = 0; i < size; ++i) to[i] = square[i];
}

// The caller's memory from the first boundary on that vectors may be loaded from.
inline Workspace aligned_workspace(void* memory, std::size_t bytes) {
    if (std::align(kVectorBytes, 0, memory, bytes) == nullptr) return Workspace(memory, 0);
    return Workspace(memory, bytes);
}

}  // namespace perception
