// What every .cu file includes. Under nvcc: CUDA. Under g++ with -DPERCEPTION_CUDA_SHIM (tests/cuda_shim, tests only): the
// same names on the CPU, where the threads of a block are fibers, so that sanitizers see every index.
//
// Rules for a .cu file:
//   - Start kernels with `launch(kernel, grid, block, shared_bytes, stream, arguments...)`; an empty grid launches nothing.
//   - Shared memory only through PERCEPTION_SHARED(type, name, [n]...) and PERCEPTION_DYNAMIC_SHARED(type, name). Both hold
//     garbage at first. Raw `__shared__` does not compile under the shim.
//   - Blocks that use warp operations are one-dimensional, a multiple of 32 threads. Warp operations are the `_sync` ones;
//     every lane in the mask takes part at the same place in the source. All threads of a block that have not returned meet
//     at one and the same __syncthreads().
//   - Global memory is zeroed with `fill_bytes(pointer, 0, bytes, stream)`. Tensor cores only through `mma_16x8x16` below.
//   - No CUB, thrust, cooperative groups, textures, __constant__ or recursion; blocks never wait for later blocks.
//   - 16-bit floats are perception::Half and BFloat16 (widen, narrow); std::min and std::max work on both sides.
//
//     template <typename T>
//     __global__ void __launch_bounds__(256) row_sums(const T* __restrict__ values,  // [rows, columns]
//                                                     float* __restrict__ sums,      // [rows]
//                                                     int rows, int columns) {
//         PERCEPTION_SHARED(float, partial, [8]);
//         const int row = blockIdx.x, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
//         float sum = 0.0f;
//         for (int c = threadIdx.x; c < columns; c += blockDim.x) sum += widen(values[int64_t{row} * columns + c]);
//         sum = warp_sum(sum);
//         if (lane == 0) partial[warp] = sum;
//         __syncthreads();
//         if (threadIdx.x == 0) { ... sums[row] = ...; }
//     }
//     Status row_sums_cuda(...) { return launch(row_sums<Half>, rows, 256, 0, stream, values, sums, rows, columns); }
#pragma once

#include "platform.h"

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#define PERCEPTION_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#define PERCEPTION_DYNAMIC_SHARED(type, name)                                            \
    extern __shared__ __align__(16) unsigned char perception_dynamic_shared_memory[];    \
    type* const name = reinterpret_cast<type*>(perception_dynamic_shared_memory)

#elif defined(PERCEPTION_CUDA_SHIM)

#include "cuda_shim.h"

#else
#error "a .cu file is compiled by nvcc, or by g++ with -x c++ -DPERCEPTION_CUDA_SHIM -I tests/cuda_shim"
#endif

namespace perception {

constexpr int kWarp = 32;
constexpr unsigned kFullMask = 0xffffffffu;

// ---------------------------------------------------------------------------------------------------------------------
// Host side

// Starts `kernel` on the stream. Dynamic shared memory above 48 KiB is asked for here.
template <typename... Parameters, typename... Arguments>
Status launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Stream stream,
              Arguments... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return Status::ok;
#if defined(__CUDACC__)
    if (shared_bytes > 48 * 1024 &&
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_bytes)) != cudaSuccess) {
        return Status::launch_failed;
    }
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
    return cudaGetLastError() == cudaSuccess ? Status::ok : Status::launch_failed;
#else
    static_cast<void>(stream);
    const bool started = cuda_shim::run(grid, block, shared_bytes, [=] { kernel(static_cast<Parameters>(arguments)...); });
    return started ? Status::ok : Status::launch_failed;
#endif
}

// Sets `bytes` bytes to `value`, in stream order.
inline Status fill_bytes(void* pointer, int value, std::size_t bytes, Stream stream) {
    if (bytes == 0) return Status::ok;
    return cudaMemsetAsync(pointer, value, bytes, stream) == cudaSuccess ? Status::ok : Status::launch_failed;
}

// Copies device memory to device memory, in stream order.
inline Status copy_bytes(void* target, const void* source, std::size_t bytes, Stream stream) {
    if (bytes == 0) return Status::ok;
    const cudaError_t error = cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, stream);
    return error == cudaSuccess ? Status::ok : Status::launch_failed;
}

// Blocks needed for `count` items at `per_block` each.
inline unsigned blocks_for(std::int64_t count, int per_block) { return static_cast<unsigned>(ceil_div(count, per_block)); }

// ---------------------------------------------------------------------------------------------------------------------
// Warp reductions: every lane of the warp takes part and gets the result.

template <typename T>
__device__ inline T warp_sum(T value) {
    for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kFullMask, value, step);
    return value;
}

template <typename T>
__device__ inline T warp_max(T value) {
    for (int step = kWarp / 2; step > 0; step /= 2) {
        const T other = __shfl_xor_sync(kFullMask, value, step);
        value = other > value ? other : value;
    }
    return value;
}

// ---------------------------------------------------------------------------------------------------------------------
// Tensor-core tile product: C[16,8] += A[16,16] B[16,8], A and B of Half or BFloat16, C in float, one warp per tile.
//
// Ownership (PTX ISA, mma.m16n8k16), with g = lane / 4 and t = lane % 4; a register holds two neighbours, the first in its
// low half:
//     A: r[0] = A[g][2t, 2t+1]    r[1] = A[g+8][2t, 2t+1]    r[2] = A[g][2t+8, 2t+9]    r[3] = A[g+8][2t+8, 2t+9]
//     B: r[0] = B[2t, 2t+1][g]    r[1] = B[2t+8, 2t+9][g]
//     C: v[0], v[1] = C[g][2t, 2t+1]    v[2], v[3] = C[g+8][2t, 2t+1]
// so the C of two tiles side by side, packed, is an A: {pack(c0.v[0], c0.v[1]), pack(c0.v[2], c0.v[3]), pack(c1.v[0],
// c1.v[1]), pack(c1.v[2], c1.v[3])}.

struct TileA {
    std::uint32_t r[4];
};
struct TileB {
    std::uint32_t r[2];
};
struct TileC {
    float v[4];
};

// Two values as the T's of one register, `first` in the low half.
template <typename T>
__device__ inline std::uint32_t pack(float first, float second) {
#if defined(__CUDA_ARCH__)
    std::uint32_t packed;
    if constexpr (std::is_same_v<T, Half>) {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(second), "f"(first));
    } else {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(second), "f"(first));
    }
    return packed;
#else
    return narrow<T>(first).bits | static_cast<std::uint32_t>(narrow<T>(second).bits) << 16;
#endif
}

template <typename T>
__device__ inline void mma_16x8x16(TileC& c, const TileA& a, const TileB& b) {
    static_assert(std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>);
#if defined(__CUDA_ARCH__)
    if constexpr (std::is_same_v<T, Half>) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
            : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
            : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
    }
#elif defined(PERCEPTION_CUDA_SHIM)
    cuda_shim::mma_16x8x16(c.v, a.r, b.r, [](std::uint16_t bits) { return widen(T{bits}); });
#endif
}

// The next four read tiles from shared memory; the whole warp takes part. Rows start at multiples of 16 bytes, `stride` is the
// number of elements between them (a stride of 8 modulo 64 elements avoids bank conflicts).

// A[16,16], row-major.
template <typename T>
__device__ inline TileA load_a(const T* tile, int stride) {
    TileA a;
#if defined(__CUDA_ARCH__)
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const T* row = tile + (lane % 16) * stride + (lane / 16) * 8;
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a.r[0]), "=r"(a.r[1]), "=r"(a.r[2]), "=r"(a.r[3]) : "r"(address) : "memory");
#elif defined(PERCEPTION_CUDA_SHIM)
    cuda_shim::load_a(a.r, tile, stride);
#endif
    return a;
}

// A[16,16] held as its transpose, row-major.
template <typename T>
__device__ inline TileA load_a_transposed(const T* tile, int stride) {
    TileA a;
#if defined(__CUDA_ARCH__)
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const T* row = tile + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 8;
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a.r[0]), "=r"(a.r[1]), "=r"(a.r[2]), "=r"(a.r[3]) : "r"(address) : "memory");
#elif defined(PERCEPTION_CUDA_SHIM)
    cuda_shim::load_a_transposed(a.r, tile, stride);
#endif
    return a;
}

// B[16,8] held as its transpose, row-major [8,16]: keys in Q K^T.
template <typename T>
__device__ inline TileB load_b_transposed(const T* tile, int stride) {
    TileB b;
#if defined(__CUDA_ARCH__)
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const T* row = tile + (lane % 8) * stride + (lane / 8 % 2) * 8;
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(b.r[0]), "=r"(b.r[1]) : "r"(address) : "memory");
#elif defined(PERCEPTION_CUDA_SHIM)
    cuda_shim::load_b_transposed(b.r, tile, stride);
#endif
    return b;
}

// B[16,8], row-major [16,8]: values in P V.
template <typename T>
__device__ inline TileB load_b(const T* tile, int stride) {
    TileB b;
#if defined(__CUDA_ARCH__)
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const T* row = tile + (lane % 16) * stride;
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(b.r[0]), "=r"(b.r[1]) : "r"(address) : "memory");
#elif defined(PERCEPTION_CUDA_SHIM)
    cuda_shim::load_b(b.r, tile, stride);
#endif
    return b;
}

}  // namespace perception
