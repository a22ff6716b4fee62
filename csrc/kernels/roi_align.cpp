#include "roi_align.h"

#include <omp.h>

#include <algorithm>

namespace perception {
namespace {

constexpr std::int64_t kChannelBlock = 32;  // the gradient's channels that one thread sums at a time

// The samples of a bin along one axis, merged: which cells they read, with which weight. The mean of bilinear samples on a grid is
// the product of two such sums.
template <typename A>
struct Taps {
    std::int32_t* cells;
    A* weights;
    int count;
};

// The taps of every bin of a RoI along one axis. A bin reads every cell of the map at most once.
template <typename A>
class AxisTaps {
public:
    AxisTaps(Workspace& workspace, std::int64_t pooled, std::int64_t size)
        : pooled_(pooled),
          size_(size),
          bins_(workspace.take<Taps<A>>(pooled)),
          cells_(workspace.take<std::int32_t>(pooled * size)),
          weights_(workspace.take<A>(pooled * size)) {}

    const Taps<A>& operator[](std::int64_t bin) const { return bins_[bin]; }

    void prepare(const RoiAxis<A>& axis) {
        const A share = A{1} / static_cast<A>(axis.samples);
        for (std::int64_t bin = 0; bin < pooled_; ++bin) {
            bins_[bin] = {cells_ + bin * size_, weights_ + bin * size_, 0};
            for (std::int64_t i = 0; i < axis.samples; ++i) {
                const std::int64_t sample = axis.bin < 0 ? axis.samples - 1 - i : i;  // ascending: equal cells meet
                const AxisSample<A> at = interpolate_axis(axis.position(bin, sample), size_);
                add(bins_[bin], at.low, at.weight_low * share);
                add(bins_[bin], at.high, at.weight_high * share);
            }
        }
    }

private:
    static void add(Taps<A>& taps, std::int64_t cell, A weight) {
        if (weight == 0) return;
        for (int i = std::max(taps.count - 2, 0); i < taps.count; ++i) {
            if (taps.cells[i] == cell) {
                taps.weights[i] += weight;
                return;
            }
        }
        taps.cells[taps.count] = static_cast<std::int32_t>(cell);
        taps.weights[taps.count++] = weight;
    }

    std::int64_t pooled_, size_;
    Taps<A>* bins_;
    std::int32_t* cells_;
    A* weights_;
};

template <typename A>
struct ThreadScratch {
    A* sum;  // [channels]
    AxisTaps<A> rows, columns;

    ThreadScratch(Workspace& workspace, const RoiAlignShape& shape)
        : sum(workspace.take<A>(shape.channels)),
          rows(workspace, shape.pooled_height, shape.height),
          columns(workspace, shape.pooled_width, shape.width) {}
};

// The calling thread's part of a workspace for all threads.
template <typename A>
ThreadScratch<A> own_scratch(Workspace memory, const RoiAlignShape& shape) {
    for (int i = 0; i < omp_get_thread_num(); ++i) ThreadScratch<A>(memory, shape);
    return ThreadScratch<A>(memory, shape);
}

template <typename A>
void take_scratch(Workspace& workspace, const RoiAlignShape& shape, int threads) {
    for (int i = 0; i < threads; ++i) ThreadScratch<A>(workspace, shape);
}

// Calls work(bin, row taps, column taps) for every bin of a RoI.
template <typename A, typename Work>
void for_bins(const A* roi, const RoiAlignShape& shape, ThreadScratch<A>& scratch, const Work& work) {
    scratch.columns.prepare(make_roi_axis(roi[1], roi[3], shape.pooled_width, shape));
    scratch.rows.prepare(make_roi_axis(roi[2], roi[4], shape.pooled_height, shape));
    for (std::int64_t i = 0; i < shape.pooled_height; ++i) {
        for (std::int64_t j = 0; j < shape.pooled_width; ++j) {
            work(i * shape.pooled_width + j, scratch.rows[i], scratch.columns[j]);
        }
    }
}

template <typename A>
bool usable(const A* rois, const RoiAlignShape& shape) {
    for (std::int64_t i = 0; i < shape.rois; ++i) {
        if (!shape.usable(rois + 5 * i)) return false;
    }
    return true;
}

}  // namespace

std::size_t roi_align_workspace_bytes_cpu(const RoiAlignShape& shape, std::size_t accumulate_bytes, int threads) {
    Workspace workspace;
    if (accumulate_bytes == sizeof(double)) {
        take_scratch<double>(workspace, shape, threads);
    } else {
        take_scratch<float>(workspace, shape, threads);
    }
    return workspace.bytes();
}

template <typename T>
Status roi_align_cpu(const T* features, const Accumulate<T>* rois, const RoiAlignShape& shape, T* out, void* workspace,
                     std::size_t workspace_bytes, int threads) {
    using A = Accumulate<T>;
    if (!shape.fits() || !usable(rois, shape)) return Status::bad_argument;
    if (roi_align_workspace_bytes_cpu(shape, sizeof(A), threads) > workspace_bytes) return Status::workspace_too_small;
    const std::int64_t channels = shape.channels, bins = shape.pooled_height * shape.pooled_width;
#pragma omp parallel num_threads(threads)
    {
        ThreadScratch<A> scratch = own_scratch<A>(Workspace(workspace, workspace_bytes), shape);
        A* __restrict__ const sum = scratch.sum;
#pragma omp for schedule(dynamic, 4)
        for (std::int64_t r = 0; r < shape.rois; ++r) {
            const A* roi = rois + 5 * r;
            const T* image = features + static_cast<std::int64_t>(roi[0]) * shape.height * shape.width * channels;
            for_bins(roi, shape, scratch, [&](std::int64_t bin, const Taps<A>& rows, const Taps<A>& columns) {
                std::fill(sum, sum + channels, A{0});
                for (int y = 0; y < rows.count; ++y) {
                    const T* line = image + rows.cells[y] * shape.width * channels;
                    int x = 0;
                    for (; x + 2 <= columns.count; x += 2) {
                        const T *left = line + columns.cells[x] * channels, *right = line + columns.cells[x + 1] * channels;
                        const A w_left = rows.weights[y] * columns.weights[x];
                        const A w_right = rows.weights[y] * columns.weights[x + 1];
#pragma omp simd
                        for (std::int64_t c = 0; c < channels; ++c) {
                            sum[c] += w_left * widen(left[c]) + w_right * widen(right[c]);
                        }
                    }
                    if (x < columns.count) {
                        const T* pixel = line + columns.cells[x] * channels;
                        const A weight = rows.weights[y] * columns.weights[x];
#pragma omp simd
                        for (std::int64_t c = 0; c < channels; ++c) sum[c] += weight * widen(pixel[c]);
                    }
                }
                T* target = out + (r * bins + bin) * channels;
#pragma omp simd
                for (std::int64_t c = 0; c < channels; ++c) target[c] = narrow<T>(sum[c]);
            });
        }
    }
    return Status::ok;
}

std::size_t roi_align_backward_workspace_bytes_cpu(const RoiAlignShape& shape, std::size_t value_bytes,
                                                   std::size_t accumulate_bytes, int threads) {
    Workspace workspace;
    if (value_bytes != accumulate_bytes) {
        workspace.take<std::byte>(shape.pixels() * shape.channels * static_cast<std::int64_t>(accumulate_bytes));
    }
    if (accumulate_bytes == sizeof(double)) {
        take_scratch<double>(workspace, shape, threads);
    } else {
        take_scratch<float>(workspace, shape, threads);
    }
    return workspace.bytes();
}

template <typename T>
Status roi_align_backward_cpu(const T* grad_out, const Accumulate<T>* rois, const RoiAlignShape& shape, T* grad_features,
                              void* workspace, std::size_t workspace_bytes, int threads) {
    using A = Accumulate<T>;
    if (!shape.fits() || !usable(rois, shape)) return Status::bad_argument;
    if (roi_align_backward_workspace_bytes_cpu(shape, sizeof(T), sizeof(A), threads) > workspace_bytes) {
        return Status::workspace_too_small;
    }
    const std::int64_t channels = shape.channels, bins = shape.pooled_height * shape.pooled_width;
    Workspace memory(workspace, workspace_bytes);
    A* sums;
    if constexpr (std::is_same_v<T, A>) {
        sums = grad_features;
    } else {
        sums = memory.take<A>(shape.pixels() * channels);
    }
    // A thread owns some channels of every pixel, so sums need no atomics and have one order.
#pragma omp parallel num_threads(threads)
    {
        ThreadScratch<A> scratch = own_scratch<A>(memory, shape);
#pragma omp for schedule(static)
        for (std::int64_t first = 0; first < channels; first += kChannelBlock) {
            const std::int64_t size = std::min(kChannelBlock, channels - first);
            for (std::int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
                std::fill_n(sums + pixel * channels + first, size, A{0});
            }
            for (std::int64_t r = 0; r < shape.rois; ++r) {
                const A* roi = rois + 5 * r;
                A* image = sums + static_cast<std::int64_t>(roi[0]) * shape.height * shape.width * channels + first;
                for_bins(roi, shape, scratch, [&](std::int64_t bin, const Taps<A>& rows, const Taps<A>& columns) {
                    const T* grad = grad_out + (r * bins + bin) * channels + first;
                    for (int y = 0; y < rows.count; ++y) {
                        for (int x = 0; x < columns.count; ++x) {
                            A* pixel = image + (rows.cells[y] * shape.width + columns.cells[x]) * channels;
                            const A weight = rows.weights[y] * columns.weights[x];
#pragma omp simd
                            for (std::int64_t c = 0; c < size; ++c) pixel[c] += weight * widen(grad[c]);
                        }
                    }
                });
            }
            if constexpr (!std::is_same_v<T, A>) {
                for (std::int64_t pixel = 0; pixel < shape.pixels(); ++pixel) {
                    for (std::int64_t c = pixel * channels + first; c < pixel * channels + first + size; ++c) {
                        grad_features[c] = narrow<T>(sums[c]);
                    }
                }
            }
        }
    }
    return Status::ok;
}

#define PERCEPTION_INSTANTIATE(T)                                                                                        \
    template Status roi_align_cpu(const T*, const Accumulate<T>*, const RoiAlignShape&, T*, void*, std::size_t, int);    \
    template Status roi_align_backward_cpu(const T*, const Accumulate<T>*, const RoiAlignShape&, T*, void*, std::size_t, \
                                           int);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)
PERCEPTION_INSTANTIATE(Half)
PERCEPTION_INSTANTIATE(BFloat16)

}  // namespace perception
