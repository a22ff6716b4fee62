// What the bindings share: they check, allocate, call a kernel and register it with the dispatcher.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#ifdef PERCEPTION_WITH_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

#include "platform.h"

namespace perception::binding {

inline void check(Status status, const char* op) { TORCH_CHECK(status == Status::ok, op, ": ", describe(status)); }

inline int threads() { return at::get_num_threads(); }

inline at::Tensor workspace(std::size_t bytes, const at::Tensor& like) {
    return at::empty({static_cast<int64_t>(bytes)}, like.options().dtype(at::kByte).requires_grad(false));
}

#ifdef PERCEPTION_WITH_CUDA
inline Stream stream() { return c10::cuda::getCurrentCUDAStream().stream(); }
#endif

// Calls work(T{}) with the kernels' type of a floating tensor: float, double, Half or BFloat16.
template <typename Work>
void with_float_type(at::ScalarType type, const char* op, const Work& work) {
    switch (type) {
        case at::kFloat: return work(float{});
        case at::kDouble: return work(double{});
        case at::kHalf: return work(Half{});
        case at::kBFloat16: return work(BFloat16{});
        default: TORCH_CHECK_TYPE(false, op, ": floating values are needed, got ", type);
    }
}

template <typename T>
const T* read(const at::Tensor& tensor) {
    return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
T* write(const at::Tensor& tensor) {
    return static_cast<T*>(tensor.mutable_data_ptr());
}

}  // namespace perception::binding
