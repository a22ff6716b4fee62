#include "least_cost_paths.h"

#include <limits>

#include "cuda_platform.h"

namespace perception {
namespace {

constexpr int kThreads = 512;

// One block per image: sweeps over all pixels (Bellman, 1958) until one changes nothing. A sweep reads what the last one wrote
// and writes into the other pair of maps, so that the order of threads does not matter; a block needs no other.
template <typename T>
__global__ void __launch_bounds__(kThreads) sweep_image(const T* __restrict__ all_costs,            // [images,4,H,W]
                                                        const std::int64_t* __restrict__ sources,  // [count,3]
                                                        std::int64_t count, int height, int width, T* all_distance,
                                                        std::int32_t* all_nearest, T* all_other_distance,
                                                        std::int32_t* all_other_nearest) {  // [images,H,W]
    PERCEPTION_SHARED(int, changed, [1]);
    const int pixels = height * width, thread = static_cast<int>(threadIdx.x);
    const std::int64_t image = blockIdx.x, offset = image * pixels;
    const T* const costs = all_costs + kPathEdges * offset;
    T *from = all_distance + offset, *to = all_other_distance + offset;
    std::int32_t *from_source = all_nearest + offset, *to_source = all_other_nearest + offset;
    const T infinity = std::numeric_limits<T>::infinity();
    for (int pixel = thread; pixel < pixels; pixel += kThreads) {
        from[pixel] = infinity;
        from_source[pixel] = -1;
    }
    __syncthreads();
    if (thread == 0) {
        for (std::int64_t s = count - 1; s >= 0; --s) {  // the lowest index is written last
            const std::int64_t row = sources[3 * s + 1], column = sources[3 * s + 2];
            if (sources[3 * s] != image || row < 0 || row >= height || column < 0 || column >= width) continue;
            from[row * width + column] = T{0};
            from_source[row * width + column] = static_cast<std::int32_t>(s);
        }
        changed[0] = 1;
    }
    __syncthreads();
    while (changed[0] != 0) {
        __syncthreads();  // all have read it
        if (thread == 0) changed[0] = 0;
        __syncthreads();
        bool any = false;
        for (int pixel = thread; pixel < pixels; pixel += kThreads) {
            const int row = pixel / width, column = pixel - row * width;
            T best = from[pixel];
            std::int32_t source = from_source[pixel];
            const auto relax = [&](int neighbour, T cost) {
                const std::int32_t other = from_source[neighbour];
                if (other < 0 || !(cost >= T{0})) return;
                const T way = from[neighbour] + cost;
                if (way < infinity && (source < 0 || nearer(way, other, best, source))) {
                    best = way;
                    source = other;
                    any = true;
                }
            };
#pragma unroll
            for (int edge = 0; edge < kPathEdges; ++edge) {
                const int down = edge > 0 ? 1 : 0, right = edge == 1 ? 0 : (edge == 3 ? -1 : 1);
                const int step = down * width + right;
                const T* const plane = costs + std::int64_t{edge} * pixels;
                if (row + down < height && column + right >= 0 && column + right < width) relax(pixel + step, plane[pixel]);
                if (row >= down && column - right >= 0 && column - right < width) relax(pixel - step, plane[pixel - step]);
            }
            to[pixel] = best;
            to_source[pixel] = source;
        }
        if (any) changed[0] = 1;
        __syncthreads();
        T* const distance = from;
        from = to;
        to = distance;
        std::int32_t* const nearest = from_source;
        from_source = to_source;
        to_source = nearest;
    }
    // The last sweep changed nothing: both pairs of maps hold the result.
}

}  // namespace

std::size_t least_cost_paths_workspace_bytes_cuda(std::int64_t images, std::int64_t height, std::int64_t width,
                                                  std::size_t value_bytes) {
    Workspace workspace;
    workspace.take<std::byte>(images * height * width * static_cast<std::int64_t>(value_bytes));
    workspace.take<std::int32_t>(images * height * width);
    return workspace.bytes();
}

template <typename T>
Status least_cost_paths_cuda(const T* costs, const std::int64_t* sources, std::int64_t count, std::int64_t images,
                             std::int64_t height, std::int64_t width, T* distance, std::int32_t* nearest, void* workspace,
                             std::size_t workspace_bytes, Stream stream) {
    const std::int64_t pixels = height * width, most = std::numeric_limits<std::int32_t>::max();
    if (count < 0 || images < 0 || height < 0 || width < 0 || pixels > most || count > most || images > most) {
        return Status::bad_argument;
    }
    Workspace memory(workspace, workspace_bytes);
    T* const other_distance = memory.take<T>(images * pixels);
    auto* const other_nearest = memory.take<std::int32_t>(images * pixels);
    if (!memory.fits()) return Status::workspace_too_small;
    if (pixels == 0) return Status::ok;
    return launch(sweep_image<T>, static_cast<unsigned>(images), kThreads, 0, stream, costs, sources, count,
                  static_cast<int>(height), static_cast<int>(width), distance, nearest, other_distance, other_nearest);
}

template Status least_cost_paths_cuda(const float*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                                      float*, std::int32_t*, void*, std::size_t, Stream);
template Status least_cost_paths_cuda(const double*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t,
                                      std::int64_t, double*, std::int32_t*, void*, std::size_t, Stream);

}  // namespace perception
