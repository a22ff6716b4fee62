// What every kernel header includes: host-device functions, 16-bit floats, workspaces, status. No torch, no CUDA needed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
// Before a function that the CPU and the GPU both run: `PERCEPTION_HD inline float area(...)`.
#define PERCEPTION_HD __host__ __device__
#else
#define PERCEPTION_HD
#endif

struct CUstream_st;

namespace perception {

// The same type as cudaStream_t, without CUDA's headers.
using Stream = CUstream_st*;

// What a kernel's entry function returns. Kernels never throw: the caller turns a status into its own error.
enum class Status : int {
    ok = 0,
    bad_argument,         // a size, a pointer or an option that the kernel cannot work with
    workspace_too_small,  // fewer bytes than <op>_workspace_bytes(...) asked for
    launch_failed,        // the CUDA runtime refused the launch
};

inline const char* describe(Status status) {
    switch (status) {
        case Status::ok: return "ok";
        case Status::bad_argument: return "bad argument";
        case Status::workspace_too_small: return "workspace too small";
        case Status::launch_failed: return "kernel launch failed";
    }
    return "unknown status";
}

// 16-bit floats: storage only, the same bits as at::Half / __half and at::BFloat16 / __nv_bfloat16.
// Arithmetic happens in float: `widen` before, `narrow` after (to nearest, ties to even).
struct Half {
    std::uint16_t bits;
};
struct BFloat16 {
    std::uint16_t bits;
};

// The type in which values of T are computed and summed.
template <typename T>
struct AccumulateType {
    using type = float;
};
template <>
struct AccumulateType<double> {
    using type = double;
};
template <typename T>
using Accumulate = typename AccumulateType<T>::type;

PERCEPTION_HD inline float widen(float value) { return value; }
PERCEPTION_HD inline double widen(double value) { return value; }

PERCEPTION_HD inline float widen(BFloat16 value) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

PERCEPTION_HD inline float widen(Half value) {
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(value.bits));
#else
    // Shift exponent and mantissa into place; the multiplication rebiases the exponent and normalises subnormals.
    const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
    const std::uint32_t magnitude = static_cast<std::uint32_t>(value.bits & 0x7fffu) << 13;
    const float rebiased = std::bit_cast<float>(magnitude) * 0x1p112f;
    const std::uint32_t special = (value.bits & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;  // infinity or NaN
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(rebiased) | special | sign);
#endif
}

namespace detail {

PERCEPTION_HD inline BFloat16 to_bfloat16(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return BFloat16{static_cast<std::uint16_t>(nan ? 0x7fc0u : rounded)};
}

PERCEPTION_HD inline Half to_half(float value) {
#if defined(__CUDA_ARCH__)
    return Half{__half_as_ushort(__float2half_rn(value))};
#else
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    std::uint32_t result;
    if (magnitude > 0x7f800000u) {
        result = 0x7e00u;  // NaN
    } else if (magnitude >= 0x477ff000u) {
        result = 0x7c00u;  // 65520 and more round to infinity
    } else if (magnitude < 0x38800000u) {
        // Subnormal in half: adding 0.5 leaves the rounded multiple of 2^-24 in the low mantissa bits.
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        result = std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u;
    } else {
        result = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    }
    return Half{static_cast<std::uint16_t>(result | sign)};
#endif
}

}  // namespace detail

// narrow<T>(x): x as T, T one of float, double, Half, BFloat16.
template <typename T>
PERCEPTION_HD inline T narrow(Accumulate<T> value) {
    if constexpr (std::is_same_v<T, Half>) {
        return detail::to_half(value);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
        return detail::to_bfloat16(value);
    } else {
        return value;
    }
}

PERCEPTION_HD constexpr std::int64_t ceil_div(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

// Carves arrays out of memory that the caller gave. With no memory it only counts, so that one function lays out a
// workspace and tells its size:
//     Scratch layout(Workspace& w, int64_t n) { return {w.take<int>(n), w.take<float>(n)}; }
//     size_t op_workspace_bytes(int64_t n) { Workspace w; layout(w, n); return w.bytes(); }
//     Status op_cuda(..., void* memory, size_t bytes, Stream s) { Workspace w(memory, bytes); auto scratch = layout(w, n);
//                                                                 if (!w.fits()) return Status::workspace_too_small; ... }
class Workspace {
public:
    static constexpr std::size_t alignment = 256;  // what cudaMalloc and torch's allocator give on the GPU

    Workspace() = default;
    Workspace(void* memory, std::size_t capacity) : base_(static_cast<std::byte*>(memory)), capacity_(capacity) {}

    template <typename T>
    T* take(std::int64_t count) {
        const std::size_t begin = used_;
        const std::size_t end = begin + static_cast<std::size_t>(count) * sizeof(T);
        used_ = (end + gap + alignment - 1) / alignment * alignment;
        if (base_ == nullptr || used_ > capacity_) return nullptr;
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(base_ + begin, end - begin);
        __asan_poison_memory_region(base_ + end, used_ - end);
#endif
        return reinterpret_cast<T*>(base_ + begin);
    }

    std::size_t bytes() const { return used_; }
    bool fits() const { return used_ <= capacity_; }

private:
#if defined(__SANITIZE_ADDRESS__)
    static constexpr std::size_t gap = 64;  // poisoned, so that the sanitizer sees one array run into the next
#else
    static constexpr std::size_t gap = 0;
#endif

    std::byte* base_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t used_ = 0;
};

}  // namespace perception
