// Rows of a window as tensor-core tiles: loading, lengths, storing. For blocks of four warps that own 16 rows each.
#pragma once

#include <algorithm>

#include "attention_rows.cuh"
#include "vector.cuh"

namespace perception::attention_tiles {

constexpr int kThreads = 128;
constexpr int kTile = 64;  // rows of a block, and others in shared memory
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kNothing = -HUGE_VALF;
static_assert(kTile == 16 * kThreads / kWarp && kThreads == 2 * kTile, "16 rows a warp, two threads to load a row");

template <typename T, int kWidth>  // channels, rounded up to a multiple of 16
struct alignas(16) Others {
    T first[kTile][kWidth + 8];   // keys, or queries where the block owns keys
    T second[kTile][kWidth + 8];  // values, or gradients of out
    float factor[kTile];          // of the row's logits; 0 past the end
    float bias[kTile];            // of the row's logits, in base 2: -log_sum of a query, -infinity past the end
    float delta[kTile];           // out.grad_out of a query
};

template <typename T>
__device__ inline float low(std::uint32_t pair) {
    return widen(T{static_cast<std::uint16_t>(pair)});
}
template <typename T>
__device__ inline float high(std::uint32_t pair) {
    return widen(T{static_cast<std::uint16_t>(pair >> 16)});
}
// The two B of 16 columns that load_a or load_a_transposed reads at once.
__device__ inline TileB left(const TileA& tile) { return {{tile.r[0], tile.r[2]}}; }
__device__ inline TileB right(const TileA& tile) { return {{tile.r[1], tile.r[3]}}; }

template <typename T>
__device__ inline TileA pack_tile(const TileC& first, const TileC& second) {
    return {{pack<T>(first.v[0], first.v[1]), pack<T>(first.v[2], first.v[3]), pack<T>(second.v[0], second.v[1]),
             pack<T>(second.v[2], second.v[3])}};
}

// The sum over the four lanes that share a row of a tile.
__device__ inline float quad_sum(float value) {
    value += __shfl_xor_sync(kFullMask, value, 1);
    return value + __shfl_xor_sync(kFullMask, value, 2);
}
__device__ inline float quad_max(float value) {
    value = std::max(value, __shfl_xor_sync(kFullMask, value, 1));
    return std::max(value, __shfl_xor_sync(kFullMask, value, 2));
}

// N channels of a row; 0 beyond its end.
template <int N, typename T>
__device__ inline Vector<T, N> load_channels(const T* row, int channel, int channels) {
    return channel < channels ? load_vector<T, N>(row + channel) : Vector<T, N>{};
}

// For shared memory, where store_vector must not be used.
template <typename T>
__device__ inline void store_shared(T* values, const Vector<T, 8>& vector) {
#if defined(__CUDA_ARCH__)
    const uint4 words = std::bit_cast<uint4>(vector);
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(values));
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};"
                 :: "r"(address), "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w) : "memory");
#else
    *reinterpret_cast<Vector<T, 8>*>(values) = vector;
#endif
}

// Length of a row, the largest power of two in it, and what is then left.
struct Length {
    float length, power;
    __device__ explicit Length(float square)
        : length(std::max(sqrtf(square), float{kLeastLength})),
          power(std::bit_cast<float>(std::bit_cast<std::uint32_t>(length) & 0x7f800000u)) {}
    __device__ float factor() const { return power / length; }
};

// The 16 rows of a warp as tile A. A lane has parts of two of them, lane / 4 and 8 more.
template <typename T, int kSteps>
struct OwnTile {
    TileA tile[kSteps];

    // `rows`: null past the end.
    __device__ void load(const T* const (&rows)[2], int channels) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int channel = 16 * step + i / 2 * 8 + static_cast<int>(threadIdx.x) % 4 * 2;
                const int end = rows[i % 2] == nullptr ? 0 : channels;
                tile[step].r[i] = std::bit_cast<std::uint32_t>(load_channels<2>(rows[i % 2], channel, end));
            }
        }
    }

    // Products of the rows with those of another tile.
    __device__ void product(const OwnTile& other, float (&sums)[2]) const {
        sums[0] = sums[1] = 0.0f;
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const std::uint32_t x = tile[step].r[i], y = other.tile[step].r[i];
                sums[i % 2] += low<T>(x) * low<T>(y) + high<T>(x) * high<T>(y);
            }
        }
        for (float& sum : sums) sum = quad_sum(sum);
    }

    // Divides the rows by the power of two in their length.
    __device__ void normalize(float (&lengths)[2], float (&factors)[2]) {
        float squares[2];
        product(*this, squares);
        const Length of[2] = {Length(squares[0]), Length(squares[1])};
        const float shrink[2] = {1.0f / of[0].power, 1.0f / of[1].power};
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                std::uint32_t& pair = tile[step].r[i];
                pair = pack<T>(low<T>(pair) * shrink[i % 2], high<T>(pair) * shrink[i % 2]);
            }
        }
        for (int r = 0; r < 2; ++r) lengths[r] = of[r].length, factors[r] = of[r].factor();
    }
};

// Loads the `count` others from position `start` on. Two threads share a row.
template <typename T, int kWidth, Pass pass>
__device__ inline void load_others(Others<T, kWidth>& others, const AttentionTask<T>& task, int head, int start,
                                   int count) {
    constexpr int kPieces = kWidth / 16;
    const int row = static_cast<int>(threadIdx.x) / 2, half = static_cast<int>(threadIdx.x) % 2;
    const RowPair<T> from = rows_of(task, head, pass != Pass::keys);
    const bool real = row < count;
    const int channels = real ? static_cast<int>(task.shape.channels) : 0;
    const std::int64_t token = real ? task.windows.order[start + row] : 0;
    const std::int64_t at = token * task.shape.heads + head;

    Vector<T, 8> first[kPieces], second[kPieces];
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
        const int channel = 8 * (2 * i + half);
        first[i] = load_channels<8>(from.first + token * from.first_stride, channel, channels);
        second[i] = load_channels<8>(from.second + token * from.second_stride, channel, channels);
    }
    float factor = 1.0f;
    if (task.input.temperature != nullptr) {
        float square = 0.0f;
#pragma unroll
        for (int i = 0; i < kPieces * 8; ++i) square += widen(first[i / 8].v[i % 8]) * widen(first[i / 8].v[i % 8]);
        const Length length(square + __shfl_xor_sync(kFullMask, square, 1));
        const float shrink = 1.0f / length.power;
        factor = length.factor();
#pragma unroll
        for (int i = 0; i < kPieces * 8; ++i) first[i / 8].v[i % 8] = narrow<T>(widen(first[i / 8].v[i % 8]) * shrink);
    }
    float delta = 0.0f;
    if constexpr (pass == Pass::keys) {
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
            const T* row_out = task.out + at * task.shape.channels;
            const Vector<T, 8> out = load_channels<8>(row_out, 8 * (2 * i + half), channels);
            for (int c = 0; c < 8; ++c) delta += widen(out.v[c]) * widen(second[i].v[c]);
        }
        delta += __shfl_xor_sync(kFullMask, delta, 1);
    }
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
        store_shared(&others.first[row][8 * (2 * i + half)], first[i]);
        store_shared(&others.second[row][8 * (2 * i + half)], second[i]);
    }
    if (half == 0) {
        others.factor[row] = real ? factor : 0.0f;
        others.bias[row] = !real ? kNothing : pass == Pass::keys ? -kLog2E * task.log_sum[at] : 0.0f;
        others.delta[row] = delta;
    }
}

// Stores rows of a C that are as wide as kTiles of it.
template <typename T, int kTiles>
__device__ inline void store_rows(const TileC (&sums)[kTiles], T* const (&rows)[2], int channels) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
        const int channel = 8 * n + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            if (rows[r] == nullptr || channel >= channels) continue;
            const std::uint32_t pair = pack<T>(sums[n].v[2 * r], sums[n].v[2 * r + 1]);
            store_vector(rows[r] + channel, std::bit_cast<Vector<T, 2>>(pair));
        }
    }
}

// The tokens of a lane's two rows, -1 past the end.
struct LaneRows {
    int token[2];

    template <typename T>
    __device__ LaneRows(const AttentionTask<T>& task, const BlockRows& rows) {
        const int row = static_cast<int>(threadIdx.x) / kWarp * 16 + static_cast<int>(threadIdx.x) % kWarp / 4;
        for (int r = 0; r < 2; ++r) {
            const int position = rows.first + row + 8 * r;
            token[r] = position < rows.end ? static_cast<int>(task.windows.order[position]) : -1;
        }
    }
    template <typename T>
    __device__ void in(T* array, std::int64_t stride, T* (&rows)[2]) const {
        for (int r = 0; r < 2; ++r) rows[r] = token[r] < 0 ? nullptr : array + token[r] * stride;
    }
};

}  // namespace perception::attention_tiles
