#include "roi_align.h"

#include "binding.h"

namespace perception {
namespace {

using at::Tensor;

// Logically [A,C,H,W], in memory [A,H,W,C].
Tensor channels_last(const Tensor& tensor) { return tensor.contiguous(at::MemoryFormat::ChannelsLast); }

RoiAlignShape check_input(at::IntArrayRef features, at::ScalarType type, const Tensor& rois, int64_t pooled_height,
                          int64_t pooled_width, double spatial_scale, int64_t sampling_ratio, bool aligned) {
    TORCH_CHECK_VALUE(features.size() == 4, "roi_align: features must be [N,C,H,W], got ", features);
    TORCH_CHECK_VALUE(features[2] > 0 && features[3] > 0, "roi_align: the feature map is empty: ", features);
    TORCH_CHECK_VALUE(rois.dim() == 2 && rois.size(1) == 5, "roi_align: rois must be [R,5] image x1 y1 x2 y2, got ",
                      rois.sizes());
    TORCH_CHECK_VALUE(rois.scalar_type() == (type == at::kDouble ? at::kDouble : at::kFloat),
                      "roi_align: rois must be float32 (float64 for float64 features), got ", rois.scalar_type());
    TORCH_CHECK_VALUE(pooled_height > 0 && pooled_width > 0, "roi_align: the output size must be positive, got ",
                      pooled_height, " x ", pooled_width);
    return {features[0],   features[2],  features[3],   features[1],    rois.size(0),
            pooled_height, pooled_width, spatial_scale, sampling_ratio, aligned};
}

void check_rois_status(Status status) {
    TORCH_CHECK_VALUE(status != Status::bad_argument,
                      "roi_align: a RoI is NaN or infinite, or its first column names an image that is not in the batch");
    binding::check(status, "roi_align");
}

Tensor roi_align(const Tensor& features, const Tensor& rois, int64_t pooled_height, int64_t pooled_width,
                 double spatial_scale, int64_t sampling_ratio, bool aligned) {
    const RoiAlignShape shape = check_input(features.sizes(), features.scalar_type(), rois, pooled_height, pooled_width,
                                            spatial_scale, sampling_ratio, aligned);
    TORCH_CHECK_VALUE(features.device() == rois.device(), "roi_align: features and rois must be on one device");
    const c10::DeviceGuard guard(features.device());
    const Tensor f = channels_last(features), r = rois.contiguous();
    const Tensor out = at::empty({shape.rois, shape.channels, pooled_height, pooled_width}, f.options(),
                                 at::MemoryFormat::ChannelsLast);
    binding::with_float_type(f.scalar_type(), "roi_align", [&](auto zero) {
        using T = decltype(zero);
        using A = Accumulate<T>;
        if (f.is_cpu()) {
            const std::size_t bytes = roi_align_workspace_bytes_cpu(shape, sizeof(A), binding::threads());
            const Tensor memory = binding::workspace(bytes, f);
            check_rois_status(roi_align_cpu(binding::read<T>(f), binding::read<A>(r), shape, binding::write<T>(out),
                                            memory.mutable_data_ptr(), bytes, binding::threads()));
        }
#ifdef PERCEPTION_WITH_CUDA
        if (f.is_cuda()) {
            check_rois_status(roi_align_cuda(binding::read<T>(f), binding::read<A>(r), shape, binding::write<T>(out),
                                             binding::stream()));
        }
#endif
    });
    return out;
}

Tensor roi_align_backward(const Tensor& grad, const Tensor& rois, at::IntArrayRef features_shape, double spatial_scale,
                          int64_t sampling_ratio, bool aligned) {
    TORCH_CHECK_VALUE(grad.dim() == 4 && grad.size(0) == rois.size(0), "roi_align_backward: grad must be [R,C,h,w], got ",
                      grad.sizes());
    const RoiAlignShape shape = check_input(features_shape, grad.scalar_type(), rois, grad.size(2), grad.size(3),
                                            spatial_scale, sampling_ratio, aligned);
    TORCH_CHECK_VALUE(grad.size(1) == shape.channels && grad.device() == rois.device(),
                      "roi_align_backward: grad, rois and features disagree");
    const c10::DeviceGuard guard(grad.device());
    const Tensor g = channels_last(grad), r = rois.contiguous();
    const Tensor grad_features = at::empty(features_shape, g.options(), at::MemoryFormat::ChannelsLast);
    binding::with_float_type(g.scalar_type(), "roi_align_backward", [&](auto zero) {
        using T = decltype(zero);
        using A = Accumulate<T>;
        if (g.is_cpu()) {
            const std::size_t bytes =
                roi_align_backward_workspace_bytes_cpu(shape, sizeof(T), sizeof(A), binding::threads());
            const Tensor memory = binding::workspace(bytes, g);
            check_rois_status(roi_align_backward_cpu(binding::read<T>(g), binding::read<A>(r), shape,
                                                     binding::write<T>(grad_features), memory.mutable_data_ptr(), bytes,
                                                     binding::threads()));
        }
#ifdef PERCEPTION_WITH_CUDA
        if (g.is_cuda()) {
            const std::size_t bytes = roi_align_backward_workspace_bytes_cuda(shape, sizeof(T), sizeof(A));
            const Tensor memory = binding::workspace(bytes, g);
            check_rois_status(roi_align_backward_cuda(binding::read<T>(g), binding::read<A>(r), shape,
                                                      binding::write<T>(grad_features), memory.mutable_data_ptr(), bytes,
                                                      binding::stream()));
        }
#endif
    });
    return grad_features;
}

TORCH_LIBRARY_FRAGMENT(perception, m) {
    m.def("roi_align(Tensor features, Tensor rois, int pooled_height, int pooled_width, float spatial_scale, "
          "int sampling_ratio, bool aligned) -> Tensor");
    m.def("roi_align_backward(Tensor grad, Tensor rois, SymInt[] features_shape, float spatial_scale, int sampling_ratio, "
          "bool aligned) -> Tensor");
}
TORCH_LIBRARY_IMPL(perception, CPU, m) {
    m.impl("roi_align", roi_align);
    m.impl("roi_align_backward", roi_align_backward);
}
#ifdef PERCEPTION_WITH_CUDA
TORCH_LIBRARY_IMPL(perception, CUDA, m) {
    m.impl("roi_align", roi_align);
    m.impl("roi_align_backward", roi_align_backward);
}
#endif

}  // namespace
}  // namespace perception
