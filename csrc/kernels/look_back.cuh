// Sums over the tiles before one's own within one kernel: "decoupled look-back" (Merrill & Garland 2016). Every tile tells
// its own sum, then, when it knows it, the sum up to itself; later tiles add what they find, back to the nearest such sum.
#pragma once

#include "cuda_platform.h"

namespace perception::look_back {

// What a tile tells is one word, so that value and state appear together; 0 means nothing yet.
constexpr std::uint32_t kOfTile = 1u << 30;    // the value is the tile's own
constexpr std::uint32_t kUpToTile = 1u << 31;  // the value is the sum of this and all earlier tiles
constexpr std::uint32_t kValue = kOfTile - 1;

__device__ inline void tell(std::uint32_t* word, std::uint32_t value) {
    *static_cast<volatile std::uint32_t*>(word) = value;
}
__device__ inline std::uint32_t ask(const std::uint32_t* word) { return *static_cast<const volatile std::uint32_t*>(word); }

// Tiles in the order in which blocks start, so that nobody waits for a block that has not started. All threads of a block
// call it, once in a kernel.
__device__ inline int take_tile(std::uint32_t* ticket) {
    PERCEPTION_SHARED(int, tile, [1]);
    if (threadIdx.x == 0) tile[0] = static_cast<int>(atomicAdd(ticket, 1u));
    __syncthreads();
    return tile[0];
}

// Sum over the tiles before `tile`, by one thread. Tile t's word is words[t * stride].
__device__ inline std::uint32_t sum_before(const std::uint32_t* words, std::int64_t stride, int tile) {
    constexpr int kAhead = 16;  // tiles asked at a time, so that their latencies overlap
    std::uint32_t sum = 0;
    for (int last = tile - 1;; last -= kAhead) {
        std::uint32_t found[kAhead];
#pragma unroll
        for (int k = 0; k < kAhead; ++k) found[k] = last - k >= 0 ? ask(words + (last - k) * stride) : kUpToTile;
#pragma unroll
        for (int k = 0; k < kAhead; ++k) {
            while (found[k] == 0) found[k] = ask(words + (last - k) * stride);
            sum += found[k] & kValue;
            if ((found[k] & kUpToTile) != 0) return sum;
        }
    }
}

// The same by one warp. words [tiles].
__device__ inline std::uint32_t sum_before_by_warp(const std::uint32_t* words, int tile) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    std::uint32_t sum = 0;
    for (int last = tile - 1;; last -= kWarp) {
        std::uint32_t found = kUpToTile;
        if (last - lane >= 0) {
            do {
                found = ask(words + last - lane);
            } while (found == 0);
        }
        const unsigned complete = __ballot_sync(kFullMask, (found & kUpToTile) != 0);
        const bool counts = complete == 0 || lane < __ffs(static_cast<int>(complete));
        sum += warp_sum(counts ? found & kValue : 0u);
        if (complete != 0) return sum;
    }
}

}  // namespace perception::look_back
