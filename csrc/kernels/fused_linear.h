// A linear layer with what follows it in a transformer block, in one pass over the rows. For inference on the CPU: a GPU has
// such kernels in its own libraries, and training needs the steps one by one.
#pragma once

#include "platform.h"

namespace perception {

struct LinearShape {
    std::int64_t rows;
    std::int64_t inputs;
    std::int64_t outputs;
};

// In this order; null is to leave out.
struct LinearSteps {
    const float* bias;         // [outputs]
    bool gelu;                 // x * (1 + erf(x / sqrt 2)) / 2
    const float* residual;     // [rows,outputs] added
    const float* norm_weight;  // [outputs] layer norm over the outputs of a row
    const float* norm_bias;    // [outputs] null exactly where norm_weight is
    float norm_eps;            // added to the variance
};

// out [rows,outputs] = steps(x weight^T); x [rows,inputs] with rows x_stride apart, weight [outputs,inputs].
std::size_t fused_linear_workspace_bytes_cpu(const LinearShape& shape);
Status fused_linear_cpu(const float* x, std::int64_t x_stride, const float* weight, const LinearShape& shape,
                        const LinearSteps& steps, float* out, void* workspace, std::size_t workspace_bytes, int threads);

}  // namespace perception
