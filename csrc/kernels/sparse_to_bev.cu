#include "sparse_to_bev.h"

#include <algorithm>

#include "cuda_platform.h"
#include "vector.cuh"

namespace perception {
namespace {

constexpr int kThreads = 256;
constexpr int kCellVectors = 4;  // vectors of channels per thread: their loads share sectors
constexpr int kTile = 32;        // tokens and channels of a tile

__global__ void __launch_bounds__(kThreads) find_tokens(const std::int32_t* __restrict__ coords,  // [tokens,4]
                                                        int tokens, BevGrid grid,
                                                        std::int32_t* __restrict__ token_of) {  // [B, cells]
    const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    if (i >= tokens) return;
    const std::int64_t cell = bev_position(grid, 1, coords + std::int64_t{4} * i);
    if (cell >= 0) token_of[cell] = i;
}

// A thread fills N neighbouring cells of N channels at a time: it reads N channels of each of the cells' tokens in one piece
// and writes N cells of each channel in one piece. The map is written once, zeros included.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads, 3) fill_cells(const T* __restrict__ features,             // [tokens, channels]
                                                          const std::int32_t* __restrict__ token_of,  // [B, cells], -1: none
                                                          std::int64_t channels, std::int64_t cells,
                                                          T* __restrict__ bev) {  // [B, channels, cells]
    const std::int64_t cell = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
    if (cell >= cells) return;
    const std::int64_t sample = blockIdx.z;
    const Vector<std::int32_t, N> token = load_vector<std::int32_t, N>(token_of + sample * cells + cell);

    const std::int64_t begin = std::int64_t{blockIdx.y} * kCellVectors * N;
    const std::int64_t end = std::min<std::int64_t>(channels, begin + kCellVectors * N);
    for (std::int64_t c = begin; c < end; c += N) {
        Vector<T, N> of_token[N];
#pragma unroll
        for (int i = 0; i < N; ++i) {
            of_token[i] = token.v[i] >= 0 ? load_vector<T, N>(features + token.v[i] * channels + c) : Vector<T, N>{};
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
            Vector<T, N> of_channel;
            for (int i = 0; i < N; ++i) of_channel.v[i] = of_token[i].v[j];
            store_vector(bev + (sample * channels + c + j) * cells + cell, of_channel);
        }
    }
}

// A tile of tokens and channels through shared memory: neighbours read neighbouring cells, then write neighbouring channels.
template <typename T>
__global__ void __launch_bounds__(kThreads) collect_cells(const T* __restrict__ grad_bev,             // [B, channels, cells]
                                                          const std::int32_t* __restrict__ coords,  // [tokens,4]
                                                          std::int64_t tokens, std::int64_t channels, BevGrid grid,
                                                          T* __restrict__ grad_features) {  // [tokens, channels]
    PERCEPTION_SHARED(T, tile, [kTile][kTile + 1]);
    const int lane = static_cast<int>(threadIdx.x) % kTile, warp = static_cast<int>(threadIdx.x) / kTile;
    const std::int64_t first_token = std::int64_t{blockIdx.x} * kTile, first_channel = std::int64_t{blockIdx.y} * kTile;
    const std::int64_t token = first_token + lane;
    const std::int64_t position = token < tokens ? bev_position(grid, channels, coords + 4 * token) : -1;
#pragma unroll
    for (int c = warp; c < kTile; c += kThreads / kTile) {
        const bool inside = position >= 0 && first_channel + c < channels;
        tile[c][lane] = inside ? grad_bev[position + (first_channel + c) * grid.cells()] : T{0};
    }
    __syncthreads();
#pragma unroll
    for (int t = warp; t < kTile; t += kThreads / kTile) {
        if (first_token + t < tokens && first_channel + lane < channels) {
            grad_features[(first_token + t) * channels + first_channel + lane] = tile[lane][t];
        }
    }
}

}  // namespace

std::size_t sparse_to_bev_workspace_bytes_cuda(const BevGrid& grid) {
    Workspace workspace;
    workspace.take<std::int32_t>(grid.batch_size * grid.cells());
    return workspace.bytes();
}

template <typename T>
Status sparse_to_bev_cuda(const T* features, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                          const BevGrid& grid, T* bev, void* workspace, std::size_t workspace_bytes, Stream stream) {
    if (tokens < 0 || tokens > INT32_MAX || channels < 0) return Status::bad_argument;
    const std::int64_t cells = grid.cells();
    Workspace memory(workspace, workspace_bytes);
    std::int32_t* const token_of = memory.take<std::int32_t>(grid.batch_size * cells);
    if (!memory.fits()) return Status::workspace_too_small;

    const std::size_t bytes = static_cast<std::size_t>(grid.batch_size * cells) * sizeof(std::int32_t);
    Status status = fill_bytes(token_of, 0xff, bytes, stream);
    if (status == Status::ok) {
        status = launch(find_tokens, blocks_for(tokens, kThreads), kThreads, 0, stream, coords, tokens, grid, token_of);
    }
    if (status != Status::ok) return status;
    constexpr int kWide = 16 / static_cast<int>(sizeof(T));
    const auto work = [&](auto width) {
        constexpr int N = decltype(width)::value;
        const dim3 blocks(blocks_for(cells, N * kThreads), blocks_for(channels, kCellVectors * N),
                          static_cast<unsigned>(grid.batch_size));
        return launch(fill_cells<T, N>, blocks, kThreads, 0, stream, features, token_of, channels, cells, bev);
    };
    if (cells % kWide != 0) return work(std::integral_constant<int, 1>{});
    return with_vectors<T>(channels, work, features, bev);
}

template <typename T>
Status sparse_to_bev_backward_cuda(const T* grad_bev, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                                   const BevGrid& grid, T* grad_features, Stream stream) {
    if (tokens < 0 || channels < 0) return Status::bad_argument;
    const dim3 blocks(blocks_for(tokens, kTile), blocks_for(channels, kTile));
    return launch(collect_cells<T>, blocks, kThreads, 0, stream, grad_bev, coords, tokens, channels, grid, grad_features);
}

#define PERCEPTION_INSTANTIATE(T)                                                                                           \
    template Status sparse_to_bev_cuda(const T*, const std::int32_t*, std::int64_t, std::int64_t, const BevGrid&, T*, void*, \
                                       std::size_t, Stream);                                                                \
    template Status sparse_to_bev_backward_cuda(const T*, const std::int32_t*, std::int64_t, std::int64_t, const BevGrid&,  \
                                                T*, Stream);
PERCEPTION_INSTANTIATE(std::uint16_t)
PERCEPTION_INSTANTIATE(std::uint32_t)
PERCEPTION_INSTANTIATE(std::uint64_t)
#undef PERCEPTION_INSTANTIATE

}  // namespace perception
