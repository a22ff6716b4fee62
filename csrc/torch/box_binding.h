// What the bindings of the box ops share.
#pragma once

#include "binding.h"

namespace perception {

// Calls work(T{}) with float or double: overlaps of 16-bit boxes would be wrong by centimetres.
template <typename Work>
void with_box_type(at::ScalarType type, const char* op, const Work& work) {
    switch (type) {
        case at::kFloat: return work(float{});
        case at::kDouble: return work(double{});
        default: TORCH_CHECK_VALUE(false, op, ": boxes must be float32 or float64, got ", type);
    }
}

// Memory for the result of a suppression of `count` boxes.
struct KeptIndices {
    at::Tensor indices, count;

    explicit KeptIndices(const at::Tensor& boxes)
        : indices(at::empty({boxes.size(0)}, boxes.options().dtype(at::kLong))),
          count(at::empty({1}, boxes.options().dtype(at::kLong))) {}

    std::int64_t* indices_out() const { return binding::write<std::int64_t>(indices); }
    std::int64_t* count_out() const { return binding::write<std::int64_t>(count); }
    // Waits for the device: the number of kept boxes is part of the result's shape.
    at::Tensor result() const { return indices.narrow(0, 0, count.item<std::int64_t>()).clone(); }
};

inline void check_suppression(const at::Tensor& boxes, const at::Tensor& scores, std::int64_t columns, const char* op) {
    TORCH_CHECK_VALUE(boxes.dim() == 2 && boxes.size(1) == columns, op, ": boxes must be [K,", columns, "], got ",
                      boxes.sizes());
    TORCH_CHECK_VALUE(scores.dim() == 1 && scores.size(0) == boxes.size(0), op, ": scores must be [", boxes.size(0),
                      "], got ", scores.sizes());
    TORCH_CHECK_VALUE(boxes.scalar_type() == scores.scalar_type() && boxes.device() == scores.device(), op,
                      ": boxes and scores must be of one type and on one device");
}

}  // namespace perception
