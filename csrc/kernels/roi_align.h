// RoIAlign (He et al., Mask R-CNN, ICCV 2017), averages, with the semantics of torchvision and mmcv. Feature maps and results are
// channels-last: the channels of a pixel are neighbours, and every sample is a sum of rows.
#pragma once

#include <cmath>

#include "platform.h"

namespace perception {

struct RoiAlignShape {
    std::int64_t images, height, width, channels;  // of the feature map
    std::int64_t rois, pooled_height, pooled_width;
    double spatial_scale;         // feature cells per unit of the RoIs
    std::int64_t sampling_ratio;  // samples per bin along each axis; 0: as many as the bin is long
    bool aligned;                 // pixel centres at half-integers

    std::int64_t pixels() const { return images * height * width; }
    std::int64_t outputs() const { return rois * pooled_height * pooled_width; }
    bool fits() const {
        return height > 0 && width > 0 && pooled_height > 0 && pooled_width > 0 && height < INT32_MAX && width < INT32_MAX &&
               outputs() < INT32_MAX;
    }

    // Whether a RoI (image x1 y1 x2 y2) is finite and of an image that is there.
    template <typename T>
    PERCEPTION_HD bool usable(const T* roi) const {
        return roi[0] >= 0 && roi[0] < static_cast<T>(images) && std::isfinite(roi[1]) && std::isfinite(roi[2]) &&
               std::isfinite(roi[3]) && std::isfinite(roi[4]);
    }
};

// More samples in one bin than any feature map has cells: only RoIs far out of the image would ask for them.
constexpr std::int64_t kMostRoiSamples = 1 << 16;

// The bins of a RoI along one axis, in feature cells.
template <typename T>
struct RoiAxis {
    T start, bin;
    std::int64_t samples;  // per bin

    PERCEPTION_HD T position(std::int64_t bin_index, std::int64_t sample) const {
        return start + static_cast<T>(bin_index) * bin + (static_cast<T>(sample) + T{0.5}) * bin / static_cast<T>(samples);
    }
};

template <typename T>
PERCEPTION_HD inline RoiAxis<T> make_roi_axis(T low, T high, std::int64_t pooled, const RoiAlignShape& shape) {
    const T scale = static_cast<T>(shape.spatial_scale), shift = shape.aligned ? T{0.5} : T{0};
    const T start = low * scale - shift;
    T size = high * scale - shift - start;
    if (!shape.aligned && size < 1) size = 1;
    const T bin = size / static_cast<T>(pooled);
    std::int64_t samples = shape.sampling_ratio;
    if (samples <= 0) {
        const T wanted = std::ceil(bin);
        samples = wanted < static_cast<T>(kMostRoiSamples) ? static_cast<std::int64_t>(wanted) : kMostRoiSamples;
    }
    return {start, bin, samples > 0 ? samples : 0};
}

// Linear interpolation between two neighbouring cells; both weights are 0 more than a cell outside of the map.
template <typename T>
struct AxisSample {
    std::int64_t low, high;
    T weight_low, weight_high;
};

template <typename T>
PERCEPTION_HD inline AxisSample<T> interpolate_axis(T position, std::int64_t size) {
    if (!(position >= -1 && position <= static_cast<T>(size))) return {0, 0, 0, 0};
    if (position < 0) position = 0;
    const std::int64_t low = static_cast<std::int64_t>(position);
    if (low >= size - 1) return {size - 1, size - 1, 1, 0};
    const T weight = position - static_cast<T>(low);
    return {low, low + 1, 1 - weight, weight};
}

// features [images,height,width,channels], rois [rois,5] image x1 y1 x2 y2 -> out [rois,pooled_height,pooled_width,channels].
// On the CPU a RoI that is not finite or names no image is a bad argument; on the GPU it reads zeros.
std::size_t roi_align_workspace_bytes_cpu(const RoiAlignShape& shape, std::size_t accumulate_bytes, int threads);
template <typename T>
Status roi_align_cpu(const T* features, const Accumulate<T>* rois, const RoiAlignShape& shape, T* out, void* workspace,
                     std::size_t workspace_bytes, int threads);
template <typename T>
Status roi_align_cuda(const T* features, const Accumulate<T>* rois, const RoiAlignShape& shape, T* out, Stream stream);

// Gradient of features from that of the output. On the GPU sums are atomic: their last bits change from run to run.
std::size_t roi_align_backward_workspace_bytes_cpu(const RoiAlignShape& shape, std::size_t value_bytes,
                                                   std::size_t accumulate_bytes, int threads);
template <typename T>
Status roi_align_backward_cpu(const T* grad_out, const Accumulate<T>* rois, const RoiAlignShape& shape, T* grad_features,
                              void* workspace, std::size_t workspace_bytes, int threads);

std::size_t roi_align_backward_workspace_bytes_cuda(const RoiAlignShape& shape, std::size_t value_bytes,
                                                    std::size_t accumulate_bytes);
template <typename T>
Status roi_align_backward_cuda(const T* grad_out, const Accumulate<T>* rois, const RoiAlignShape& shape, T* grad_features,
                               void* workspace, std::size_t workspace_bytes, Stream stream);

}  // namespace perception
