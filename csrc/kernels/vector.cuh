// Rows of channels in pieces of 16 bytes where their addresses allow it, else in single elements.
#pragma once

#include "cuda_platform.h"

namespace perception {

// N neighbouring elements, loaded and stored in one piece.
template <typename T, int N>
struct alignas(N * sizeof(T)) Vector {
    T v[N];
};

template <typename T, int N>
__device__ inline Vector<T, N> load_vector(const T* values) {
    return *reinterpret_cast<const Vector<T, N>*>(values);
}

// For `values` in global memory that begin at a multiple of the vector's size.
template <typename T, int N>
__device__ inline void store_vector(T* values, const Vector<T, N>& vector) {
#if defined(__CUDA_ARCH__)
    if constexpr (sizeof(vector) == 16) {  // as an instruction: nvcc cuts the plain assignment up
        __stwb(reinterpret_cast<uint4*>(values), std::bit_cast<uint4>(vector));
        return;
    }
#endif
    *reinterpret_cast<Vector<T, N>*>(values) = vector;
}

// Returns work(N). N, a std::integral_constant, is the number of elements of T in 16 bytes if the rows of `channels`
// elements that begin at each of the pointers can be cut into such pieces, else 1.
template <typename T, typename Work, typename... Pointers>
Status with_vectors(std::int64_t channels, const Work& work, Pointers... pointers) {
    constexpr int kWide = 16 / static_cast<int>(sizeof(T));
    const bool aligned = ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
    if (aligned && channels % kWide == 0) return work(std::integral_constant<int, kWide>{});
    return work(std::integral_constant<int, 1>{});
}

}  // namespace perception
