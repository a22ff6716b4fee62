#include "roi_align.h"

#include <algorithm>

#include "cuda_platform.h"

namespace perception {
namespace {

constexpr int kThreads = 256;

// The samples begin..end of one bin along an axis hold all that lie on the map. A RoI much longer than the map has far more.
template <typename A>
struct BinSamples {
    RoiAxis<A> axis;
    std::int64_t bin, size, begin, end;

    __device__ BinSamples(const RoiAxis<A>& roi_axis, std::int64_t bin_index, std::int64_t map_size)
        : axis(roi_axis), bin(bin_index), size(map_size) {
        const A step = axis.bin / static_cast<A>(axis.samples), first = axis.position(bin, 0);
        const A at_start = (-1 - first) / step, at_end = (static_cast<A>(size) - first) / step;
        // One more on either side, for rounding. A comparison with NaN (a step of zero) leaves all samples in.
        const A low = (at_start < at_end ? at_start : at_end) - 1, high = (at_start < at_end ? at_end : at_start) + 2;
        const A last = static_cast<A>(axis.samples);
        begin = low > 0 ? static_cast<std::int64_t>(low < last ? low : last) : 0;
        end = high < last ? static_cast<std::int64_t>(high > 0 ? high : A{0}) : axis.samples;
    }
    __device__ AxisSample<A> operator[](std::int64_t sample) const {
        return interpolate_axis(axis.position(bin, sample), size);
    }
};

// One bin of one RoI: calls visit(pixel, weight) for every corner of every sample. Pixels are counted over all images.
template <typename A, typename Visit>
__device__ void for_corners(const A* __restrict__ rois, const RoiAlignShape& shape, std::int64_t output,
                            const Visit& visit) {
    const std::int64_t bins = shape.pooled_height * shape.pooled_width;
    const A* roi = rois + output / bins * 5;
    if (!shape.usable(roi)) return;
    const std::int64_t bin = output % bins;
    const RoiAxis<A> down = make_roi_axis(roi[2], roi[4], shape.pooled_height, shape);
    const RoiAxis<A> across = make_roi_axis(roi[1], roi[3], shape.pooled_width, shape);
    const BinSamples<A> rows(down, bin / shape.pooled_width, shape.height);
    const BinSamples<A> columns(across, bin % shape.pooled_width, shape.width);
    const A share = A{1} / (static_cast<A>(down.samples) * static_cast<A>(across.samples));
    const std::int64_t image = static_cast<std::int64_t>(roi[0]) * shape.height;
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
        const AxisSample<A> y = rows[i];
        if (y.weight_low == 0 && y.weight_high == 0) continue;
        const std::int64_t upper = (image + y.low) * shape.width, lower = (image + y.high) * shape.width;
        for (std::int64_t j = columns.begin; j < columns.end; ++j) {
            const AxisSample<A> x = columns[j];
            visit(upper + x.low, share * y.weight_low * x.weight_low);
            visit(upper + x.high, share * y.weight_low * x.weight_high);
            visit(lower + x.low, share * y.weight_high * x.weight_low);
            visit(lower + x.high, share * y.weight_high * x.weight_high);
        }
    }
}

// A block per bin, a thread per channel. One block per multiprocessor is enough: otherwise ptxas spills for the sake of
// occupancy.
template <typename T>
__global__ void __launch_bounds__(kThreads, 1) average_bins(const T* __restrict__ features,            // [pixels,channels]
                                                            const Accumulate<T>* __restrict__ rois,  // [rois,5]
                                                            RoiAlignShape shape,
                                                            T* __restrict__ out) {  // [rois,bins,channels]
    for (std::int64_t c = threadIdx.x; c < shape.channels; c += blockDim.x) {
        Accumulate<T> sum = 0;
        for_corners(rois, shape, blockIdx.x, [&](std::int64_t pixel, Accumulate<T> weight) {
            if (weight != 0) sum += weight * widen(features[pixel * shape.channels + c]);
        });
        out[blockIdx.x * shape.channels + c] = narrow<T>(sum);
    }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 1) spread_gradients(const T* __restrict__ grad_out,  // [rois,bins,channels]
                                                                const Accumulate<T>* __restrict__ rois,  // [rois,5]
                                                                RoiAlignShape shape,
                                                                Accumulate<T>* __restrict__ sums) {  // [pixels,channels]
    for (std::int64_t c = threadIdx.x; c < shape.channels; c += blockDim.x) {
        const Accumulate<T> grad = widen(grad_out[blockIdx.x * shape.channels + c]);
        for_corners(rois, shape, blockIdx.x, [&](std::int64_t pixel, Accumulate<T> weight) {
            if (weight != 0) atomicAdd(sums + pixel * shape.channels + c, weight * grad);
        });
    }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) narrow_sums(const Accumulate<T>* __restrict__ sums, std::int64_t count,
                                                        T* __restrict__ values) {
    const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (index < count) values[index] = narrow<T>(sums[index]);
}

// Whole warps, for all channels of a bin if they fit.
unsigned threads_for(const RoiAlignShape& shape) {
    return static_cast<unsigned>(std::clamp<std::int64_t>(ceil_div(shape.channels, kWarp) * kWarp, kWarp, kThreads));
}

}  // namespace

template <typename T>
Status roi_align_cuda(const T* features, const Accumulate<T>* rois, const RoiAlignShape& shape, T* out, Stream stream) {
    if (!shape.fits()) return Status::bad_argument;
    return launch(average_bins<T>, static_cast<unsigned>(shape.outputs()), threads_for(shape), 0, stream, features, rois,
                  shape, out);
}

std::size_t roi_align_backward_workspace_bytes_cuda(const RoiAlignShape& shape, std::size_t value_bytes,
                                                    std::size_t accumulate_bytes) {
    Workspace workspace;
    if (value_bytes != accumulate_bytes) {
        workspace.take<std::byte>(shape.pixels() * shape.channels * static_cast<std::int64_t>(accumulate_bytes));
    }
    return workspace.bytes();
}

template <typename T>
Status roi_align_backward_cuda(const T* grad_out, const Accumulate<T>* rois, const RoiAlignShape& shape, T* grad_features,
                               void* workspace, std::size_t workspace_bytes, Stream stream) {
    using A = Accumulate<T>;
    if (!shape.fits()) return Status::bad_argument;
    const std::int64_t values = shape.pixels() * shape.channels;
    Workspace memory(workspace, workspace_bytes);
    A* sums;
    if constexpr (std::is_same_v<T, A>) {
        sums = grad_features;
    } else {
        sums = memory.take<A>(values);
    }
    if (!memory.fits()) return Status::workspace_too_small;
    Status status = fill_bytes(sums, 0, static_cast<std::size_t>(values) * sizeof(A), stream);
    if (status != Status::ok) return status;
    status = launch(spread_gradients<T>, static_cast<unsigned>(shape.outputs()), threads_for(shape), 0, stream, grad_out,
                    rois, shape, sums);
    if constexpr (!std::is_same_v<T, A>) {
        if (status != Status::ok) return status;
        status = launch(narrow_sums<T>, blocks_for(values, kThreads), kThreads, 0, stream, sums, values, grad_features);
    }
    return status;
}

#define PERCEPTION_INSTANTIATE(T)                                                                                     \
    template Status roi_align_cuda(const T*, const Accumulate<T>*, const RoiAlignShape&, T*, Stream);                 \
    template Status roi_align_backward_cuda(const T*, const Accumulate<T>*, const RoiAlignShape&, T*, void*, std::size_t, \
                                            Stream);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)
PERCEPTION_INSTANTIATE(Half)
PERCEPTION_INSTANTIATE(BFloat16)

}  // namespace perception
