// The names of CUDA that csrc/kernels/*.cu use, on the CPU. For tests only.
//
// A launch runs block after block; the threads of a block are fibers of one operating system thread, each running until it
// meets a barrier or a warp operation. So every load and store is an ordinary one that the sanitizers see. What is checked
// besides: barriers and warp operations that not every thread reaches, barriers reached at different places, lanes that do not
// exist, shared memory past its capacity, launch limits. Shared memory starts as 0xff bytes (NaN, -1) in each block. The order
// in which blocks and threads run can be changed (set_order), which brings missing barriers to light.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

// ---------------------------------------------------------------------------------------------------------------------
// Built-in types and variables

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline uint3 threadIdx{};
inline uint3 blockIdx{};
inline dim3 blockDim;
inline dim3 gridDim;
constexpr int warpSize = 32;

#define PERCEPTION_SHIM_VECTOR(T, name)                                           \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                            \
    struct name##3 { T x, y, z; };                                                \
    struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; }; \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                    \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }            \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
PERCEPTION_SHIM_VECTOR(float, float)
PERCEPTION_SHIM_VECTOR(double, double)
PERCEPTION_SHIM_VECTOR(int, int)
PERCEPTION_SHIM_VECTOR(short, short)
PERCEPTION_SHIM_VECTOR(unsigned short, ushort)
PERCEPTION_SHIM_VECTOR(unsigned char, uchar)
PERCEPTION_SHIM_VECTOR(long long, longlong)
#undef PERCEPTION_SHIM_VECTOR
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---------------------------------------------------------------------------------------------------------------------
// The machine

namespace cuda_shim {

// What a kernel does that a GPU would answer with a hang, a fault or garbage.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Order { ascending, descending, shuffled };

// The order in which the blocks of a launch and the threads of a block run; `shuffled` changes after every barrier.
void set_order(Order order, std::uint64_t seed = 0);

// Runs `thread` for every thread of every block. False where the CUDA runtime would refuse the launch; throws Error.
bool run(dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, const std::function<void()>& thread);

constexpr std::size_t max_static_shared_bytes = 48 * 1024;
constexpr std::size_t max_shared_bytes = 163 * 1024;  // sm_80, the smallest of the supported GPUs

void* dynamic_shared_memory();
void* static_shared_memory(const void* declaration, std::size_t bytes);
bool is_shared(const void* pointer);

using Where = std::source_location;

// Ends the launch with an Error from within a kernel.
[[noreturn]] void fail(const char* what, Where where);

// Lets other threads run: called by atomics on which a kernel may spin.
void yield();

struct BarrierVotes {
    int count;    // threads with a true predicate
    int threads;  // threads at the barrier
};
BarrierVotes barrier(bool predicate, Where where);

// One warp operation: every lane in `mask` gives a payload and gets those of all lanes.
constexpr int payload_words = 6;
using Payload = std::array<std::uint32_t, payload_words>;
using Gathered = std::array<Payload, 32>;
const Gathered& exchange(unsigned mask, const Payload& payload, int words, Where where);
int lane();

template <typename T>
constexpr int words_of = static_cast<int>((sizeof(T) + 3) / 4);

template <typename T>
Payload to_payload(const T& value) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(Payload));
    Payload payload{};
    std::memcpy(payload.data(), &value, sizeof(T));
    return payload;
}

template <typename T>
T from_payload(const Payload& payload) {
    T value;
    std::memcpy(&value, payload.data(), sizeof(T));
    return value;
}

// The value that `source` (a lane of the own segment, or the own lane) gave.
template <typename T>
T shuffle(unsigned mask, const T& value, int source, Where where) {
    const Gathered& all = exchange(mask, to_payload(value), words_of<T>, where);
    if ((mask >> source & 1u) == 0) fail("a shuffle reads a lane outside of its mask", where);
    return from_payload<T>(all[static_cast<std::size_t>(source)]);
}

// C[16,8] += A[16,16] B[16,8] with the ownership that csrc/kernels/cuda_platform.h describes.
template <typename Widen>
void mma_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Widen widen,
                 Where where = Where::current()) {
    const Gathered& all = exchange(0xffffffffu, {a[0], a[1], a[2], a[3], b[0], b[1]}, 6, where);
    const auto half_of = [&](int from_lane, int word, int k) {
        const std::uint32_t packed = all[static_cast<std::size_t>(from_lane)][static_cast<std::size_t>(word)];
        return widen(static_cast<std::uint16_t>(k % 2 == 0 ? packed : packed >> 16));
    };
    const int group = lane() / 4;
    const int pair = lane() % 4;
    for (int i = 0; i < 4; ++i) {
        const int row = group + i / 2 * 8;
        const int column = 2 * pair + i % 2;
        for (int k = 0; k < 16; ++k) {
            const int k_pair = k % 8 / 2;
            c[i] += half_of(row % 8 * 4 + k_pair, row / 8 + k / 8 * 2, k) * half_of(column * 4 + k_pair, 4 + k / 8, k);
        }
    }
}

template <typename T>
std::uint32_t pair_of(const T& low, const T& high) {
    static_assert(sizeof(T) == 2);
    return std::bit_cast<std::uint16_t>(low) | static_cast<std::uint32_t>(std::bit_cast<std::uint16_t>(high)) << 16;
}

template <typename T>
void check_tile(const T* tile, int stride, Where where) {
    if (!is_shared(tile)) fail("a tile is loaded from outside of shared memory", where);
    if (reinterpret_cast<std::uintptr_t>(tile) % 16 != 0 || stride % 8 != 0) fail("tile rows are not 16-byte aligned", where);
}

template <typename T>
void load_a(std::uint32_t (&r)[4], const T* tile, int stride, Where where = Where::current()) {
    check_tile(tile, stride, where);
    for (int i = 0; i < 4; ++i) {
        const T* pair = tile + (lane() / 4 + i % 2 * 8) * stride + lane() % 4 * 2 + i / 2 * 8;
        r[i] = pair_of(pair[0], pair[1]);
    }
}

template <typename T>
void load_a_transposed(std::uint32_t (&r)[4], const T* tile, int stride, Where where = Where::current()) {
    check_tile(tile, stride, where);
    for (int i = 0; i < 4; ++i) {
        const T* first = tile + (lane() % 4 * 2 + i / 2 * 8) * stride + lane() / 4 + i % 2 * 8;
        r[i] = pair_of(first[0], first[stride]);
    }
}

template <typename T>
void load_b(std::uint32_t (&r)[2], const T* tile, int stride, Where where = Where::current()) {
    check_tile(tile, stride, where);
    for (int i = 0; i < 2; ++i) {
        const T* first = tile + (lane() % 4 * 2 + i * 8) * stride + lane() / 4;
        r[i] = pair_of(first[0], first[stride]);
    }
}

template <typename T>
void load_b_transposed(std::uint32_t (&r)[2], const T* tile, int stride, Where where = Where::current()) {
    check_tile(tile, stride, where);
    for (int i = 0; i < 2; ++i) {
        const T* pair = tile + lane() / 4 * stride + lane() % 4 * 2 + i * 8;
        r[i] = pair_of(pair[0], pair[1]);
    }
}

}  // namespace cuda_shim

#define PERCEPTION_SHARED(type, name, ...)    \
    using name##_shape = type __VA_ARGS__;    \
    static const char name##_declaration = 0; \
    auto& name = *static_cast<name##_shape*>(::cuda_shim::static_shared_memory(&name##_declaration, sizeof(name##_shape)))
#define PERCEPTION_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::cuda_shim::dynamic_shared_memory())

// ---------------------------------------------------------------------------------------------------------------------
// Barriers and warp operations

inline void __syncthreads(cuda_shim::Where where = cuda_shim::Where::current()) { cuda_shim::barrier(false, where); }
inline int __syncthreads_count(int predicate, cuda_shim::Where where = cuda_shim::Where::current()) {
    return cuda_shim::barrier(predicate != 0, where).count;
}
inline int __syncthreads_or(int predicate, cuda_shim::Where where = cuda_shim::Where::current()) {
    return cuda_shim::barrier(predicate != 0, where).count > 0;
}
inline int __syncthreads_and(int predicate, cuda_shim::Where where = cuda_shim::Where::current()) {
    const cuda_shim::BarrierVotes votes = cuda_shim::barrier(predicate != 0, where);
    return votes.count == votes.threads;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, cuda_shim::Where where = cuda_shim::Where::current()) {
    cuda_shim::exchange(mask, {}, 0, where);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, cuda_shim::Where where = cuda_shim::Where::current()) {
    const int segment = cuda_shim::lane() / width * width;
    return cuda_shim::shuffle(mask, value, segment + (source & (width - 1)), where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, cuda_shim::Where where = cuda_shim::Where::current()) {
    const int lane = cuda_shim::lane();
    const int source = lane ^ flip;
    return cuda_shim::shuffle(mask, value, source / width <= lane / width ? source : lane, where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, cuda_shim::Where where = cuda_shim::Where::current()) {
    const int lane = cuda_shim::lane();
    const int source = lane - static_cast<int>(delta);
    return cuda_shim::shuffle(mask, value, source >= lane / width * width ? source : lane, where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   cuda_shim::Where where = cuda_shim::Where::current()) {
    const int lane = cuda_shim::lane();
    const int source = lane + static_cast<int>(delta);
    return cuda_shim::shuffle(mask, value, source < (lane / width + 1) * width ? source : lane, where);
}

// Bits of the lanes in `mask` whose payload fulfils `test`.
namespace cuda_shim {
template <typename Test>
unsigned lanes_where(unsigned mask, const Payload& payload, Where where, Test test) {
    const Gathered& all = exchange(mask, payload, 2, where);
    unsigned bits = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if ((mask >> lane & 1u) != 0 && test(all[lane])) bits |= 1u << lane;
    }
    return bits;
}
}  // namespace cuda_shim

inline unsigned __ballot_sync(unsigned mask, int predicate, cuda_shim::Where where = cuda_shim::Where::current()) {
    const auto is_set = [](const cuda_shim::Payload& payload) { return payload[0] != 0; };
    return cuda_shim::lanes_where(mask, {static_cast<std::uint32_t>(predicate != 0)}, where, is_set);
}
inline int __any_sync(unsigned mask, int predicate, cuda_shim::Where where = cuda_shim::Where::current()) {
    return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, cuda_shim::Where where = cuda_shim::Where::current()) {
    return __ballot_sync(mask, predicate, where) == mask;
}
template <typename T>
    requires(sizeof(T) == 4 || sizeof(T) == 8)
unsigned __match_any_sync(unsigned mask, T value, cuda_shim::Where where = cuda_shim::Where::current()) {
    const cuda_shim::Payload own = cuda_shim::to_payload(value);
    return cuda_shim::lanes_where(mask, own, where, [&](const cuda_shim::Payload& payload) { return payload == own; });
}
template <typename T>
    requires(std::same_as<T, int> || std::same_as<T, unsigned>)
T __reduce_add_sync(unsigned mask, T value, cuda_shim::Where where = cuda_shim::Where::current()) {
    const cuda_shim::Gathered& all = cuda_shim::exchange(mask, cuda_shim::to_payload(value), 1, where);
    unsigned sum = 0;
    for (unsigned lane = 0; lane < 32; ++lane) sum += (mask >> lane & 1u) != 0 ? all[lane][0] : 0u;
    return static_cast<T>(sum);
}

inline void __threadfence() {}
inline void __threadfence_block() {}

// ---------------------------------------------------------------------------------------------------------------------
// Atomics: the types that CUDA has them for. They return the old value.

namespace cuda_shim {
template <typename T>
concept Word = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;
template <typename T>
concept Ordered = Word<T> || std::same_as<T, long long>;
template <typename T>
concept Addable = Word<T> || std::same_as<T, float> || std::same_as<T, double>;

template <typename T, typename Change>
T update(T* address, Change change) {
    const T old = *address;
    *address = change(old);
    return old;
}
}  // namespace cuda_shim

template <cuda_shim::Addable T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
    return cuda_shim::update(address, [&](T old) -> T {
        if constexpr (std::same_as<T, int>) return static_cast<int>(static_cast<unsigned>(old) + static_cast<unsigned>(value));
        return old + value;
    });
}
template <typename T>
    requires(std::same_as<T, int> || std::same_as<T, unsigned>)
T atomicSub(T* address, std::type_identity_t<T> value) {
    return cuda_shim::update(address, [&](T old) { return static_cast<T>(old - value); });
}
template <cuda_shim::Ordered T>
T atomicMax(T* address, std::type_identity_t<T> value) {
    return cuda_shim::update(address, [&](T old) { return std::max(old, value); });
}
template <cuda_shim::Ordered T>
T atomicMin(T* address, std::type_identity_t<T> value) {
    return cuda_shim::update(address, [&](T old) { return std::min(old, value); });
}
template <cuda_shim::Word T>
T atomicOr(T* address, std::type_identity_t<T> value) {
    return cuda_shim::update(address, [&](T old) { return old | value; });
}
template <cuda_shim::Word T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
    return cuda_shim::update(address, [&](T old) { return old & value; });
}
template <cuda_shim::Word T>
T atomicXor(T* address, std::type_identity_t<T> value) {
    return cuda_shim::update(address, [&](T old) { return old ^ value; });
}
template <typename T>
    requires(cuda_shim::Word<T> || std::same_as<T, float>)
T atomicExch(T* address, std::type_identity_t<T> value) {
    cuda_shim::yield();
    return cuda_shim::update(address, [&](T) { return value; });
}
template <typename T>
    requires(cuda_shim::Word<T> || std::same_as<T, unsigned short>)
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    cuda_shim::yield();
    return cuda_shim::update(address, [&](T old) { return old == expected ? value : old; });
}

// ---------------------------------------------------------------------------------------------------------------------
// Arithmetic

template <typename T>
T __ldg(const T* address) {
    return *address;
}
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __saturatef(float x) { return std::clamp(x, 0.0f, 1.0f); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline int __float2int_rd(float x) { return static_cast<int>(std::floor(x)); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }

// ---------------------------------------------------------------------------------------------------------------------
// Runtime

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3 };
using cudaStream_t = struct CUstream_st*;

inline cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t = nullptr) {
    std::memset(pointer, value, bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* target, const void* source, std::size_t bytes, cudaMemcpyKind,
                                   cudaStream_t = nullptr) {
    std::memcpy(target, source, bytes);
    return cudaSuccess;
}
