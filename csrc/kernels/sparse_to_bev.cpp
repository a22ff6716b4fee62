#include "sparse_to_bev.h"

#include <algorithm>

namespace perception {
namespace {

constexpr std::int64_t kTokens = 64;  // tokens moved at a time: a tile of them and 16 channels fits the first-level cache
constexpr std::int64_t kChannels = 16;

template <typename T>
struct Scratch {
    std::int64_t* position;  // [tokens]
    T* by_channel;           // [channels, tokens]
};

template <typename T>
Scratch<T> layout_scratch(Workspace& workspace, std::int64_t tokens, std::int64_t channels) {
    return {workspace.take<std::int64_t>(tokens), workspace.take<T>(channels * tokens)};
}

}  // namespace

template <typename T>
std::size_t sparse_to_bev_workspace_bytes_cpu(std::int64_t tokens, std::int64_t channels) {
    Workspace workspace;
    layout_scratch<T>(workspace, tokens, channels);
    return workspace.bytes();
}

// Features are turned to channel-major first; then each channel's map is cleared and filled while it is in the cache.
template <typename T>
Status sparse_to_bev_cpu(const T* features, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                         const BevGrid& grid, T* bev, std::int64_t* outside, void* workspace, std::size_t workspace_bytes,
                         int threads) {
    if (tokens < 0 || channels < 0) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const Scratch<T> scratch = layout_scratch<T>(memory, tokens, channels);
    if (!memory.fits()) return Status::workspace_too_small;

    std::int64_t outside_count = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : outside_count)
    for (std::int64_t t0 = 0; t0 < tokens; t0 += kTokens) {
        const std::int64_t t1 = std::min(tokens, t0 + kTokens);
        for (std::int64_t t = t0; t < t1; ++t) {
            scratch.position[t] = bev_position(grid, channels, coords + 4 * t);
            outside_count += scratch.position[t] < 0;
        }
        for (std::int64_t c0 = 0; c0 < channels; c0 += kChannels) {
            const std::int64_t c1 = std::min(channels, c0 + kChannels);
            for (std::int64_t c = c0; c < c1; ++c) {
                for (std::int64_t t = t0; t < t1; ++t) scratch.by_channel[c * tokens + t] = features[t * channels + c];
            }
        }
    }
    *outside = outside_count;

    const std::int64_t cells = grid.cells();
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t c = 0; c < channels; ++c) {
        for (std::int64_t b = 0; b < grid.batch_size; ++b) std::fill_n(bev + (b * channels + c) * cells, cells, T{0});
        const T* values = scratch.by_channel + c * tokens;
        for (std::int64_t t = 0; t < tokens; ++t) {
            if (scratch.position[t] >= 0) bev[scratch.position[t] + c * cells] = values[t];
        }
    }
    return Status::ok;
}

template <typename T>
Status sparse_to_bev_backward_cpu(const T* grad_bev, const std::int32_t* coords, std::int64_t tokens, std::int64_t channels,
                                  const BevGrid& grid, T* grad_features, int threads) {
    if (tokens < 0 || channels < 0) return Status::bad_argument;
    const std::int64_t cells = grid.cells();
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t t0 = 0; t0 < tokens; t0 += kTokens) {
        const std::int64_t width = std::min(tokens - t0, kTokens);
        std::int64_t position[kTokens];
        for (std::int64_t t = 0; t < width; ++t) position[t] = bev_position(grid, channels, coords + 4 * (t0 + t));
        for (std::int64_t c = 0; c < channels; ++c) {
            for (std::int64_t t = 0; t < width; ++t) {
                grad_features[(t0 + t) * channels + c] = position[t] >= 0 ? grad_bev[position[t] + c * cells] : T{0};
            }
        }
    }
    return Status::ok;
}

#define PERCEPTION_INSTANTIATE(T)                                                                                         \
    template std::size_t sparse_to_bev_workspace_bytes_cpu<T>(std::int64_t, std::int64_t);                                \
    template Status sparse_to_bev_cpu(const T*, const std::int32_t*, std::int64_t, std::int64_t, const BevGrid&, T*,      \
                                      std::int64_t*, void*, std::size_t, int);                                            \
    template Status sparse_to_bev_backward_cpu(const T*, const std::int32_t*, std::int64_t, std::int64_t, const BevGrid&, \
                                               T*, int);
PERCEPTION_INSTANTIATE(std::uint16_t)
PERCEPTION_INSTANTIATE(std::uint32_t)
PERCEPTION_INSTANTIATE(std::uint64_t)
#undef PERCEPTION_INSTANTIATE

}  // namespace perception
