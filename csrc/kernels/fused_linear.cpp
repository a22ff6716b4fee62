// The product runs over panels of columns, packed so that each step reads two vectors, and over a few rows at a time whose
// sums stay in registers. A chunk of rows passes all panels while it is in the cache, then its layer norm.
#include "fused_linear.h"

#include <cmath>

#include "lanes.h"

namespace perception {
namespace {

using Vector = Lanes<float>;
constexpr std::int64_t kSize = kLanes<float>;
constexpr std::int64_t kPanel = 2 * kSize;                     // columns
constexpr std::int64_t kRows = kVectorBytes == 64 ? 8 : 6;     // 2 kRows sums, two columns and an input fit the registers
constexpr std::int64_t kChunk = 96;                            // rows, a multiple of kRows

// panel [inputs,2]: input i of the panel's columns, zeros right of the last column.
void pack_panel(const float* weight, const LinearShape& shape, std::int64_t first, Vector* panel) {
    Vector square[kSize];
    for (std::int64_t half = 0; half < 2; ++half) {
        const std::int64_t column = first + half * kSize;
        for (std::int64_t i = 0; i < shape.inputs; i += kSize) {
            for (std::int64_t r = 0; r < kSize; ++r) {
                const bool inside = column + r < shape.outputs;
                square[r] = inside ? load(weight + (column + r) * shape.inputs + i, shape.inputs - i) : Vector{};
            }
            transpose<float>(square, square);
            const std::int64_t count = std::min(kSize, shape.inputs - i);
            for (std::int64_t r = 0; r < count; ++r) panel[2 * (i + r) + half] = square[r];
        }
    }
}

// The error function is Abramowitz and Stegun's 7.1.26, to 1.5e-7.
inline Vector gelu(const Vector& x) {
    const auto negative = x < 0.0f;
    const Vector size = negative ? -x : x;
    Vector tail = size * size * -0.5f;
    exponential<float>(tail);
    const Vector t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * size);
    tail *= 0.5f * t *
            (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    return x * (negative ? tail : 1.0f - tail);
}

// Writes kCount rows from `row` on, one vector of columns.
template <std::int64_t kCount>
inline void finish(const Vector (&sums)[kCount], std::int64_t row, std::int64_t column, const LinearShape& shape,
                   const LinearSteps& steps, float* out) {
    const std::int64_t count = shape.outputs - column;
    if (count <= 0) return;
    const Vector bias = steps.bias != nullptr ? load(steps.bias + column, count) : Vector{};
#pragma GCC unroll 8
    for (std::int64_t r = 0; r < kCount; ++r) {
        Vector value = sums[r] + bias;
        if (steps.gelu) value = gelu(value);
        const std::int64_t at = (row + r) * shape.outputs + column;
        if (steps.residual != nullptr) value += load(steps.residual + at, count);
        store<float>(value, count, out + at);
    }
}

// kCount rows from `row` on, the columns of one panel.
template <std::int64_t kCount>
inline void multiply(const float* x, std::int64_t x_stride, const Vector* panel, std::int64_t row, std::int64_t first,
                     const LinearShape& shape, const LinearSteps& steps, float* out) {
    Vector left[kCount] = {}, right[kCount] = {};
    const float* rows = x + row * x_stride;
    for (std::int64_t i = 0; i < shape.inputs; ++i) {
#pragma GCC unroll 8
        for (std::int64_t r = 0; r < kCount; ++r) {
            left[r] += rows[r * x_stride + i] * panel[2 * i];
            right[r] += rows[r * x_stride + i] * panel[2 * i + 1];
        }
    }
    finish(left, row, first, shape, steps, out);
    finish(right, row, first + kSize, shape, steps, out);
}

void normalize(float* row, const LinearShape& shape, const LinearSteps& steps) {
    const float scale = 1.0f / static_cast<float>(shape.outputs);
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < shape.outputs; ++c) sum += row[c];
    const float mean = sum * scale;
#pragma omp simd reduction(+ : squares)
    for (std::int64_t c = 0; c < shape.outputs; ++c) squares += (row[c] - mean) * (row[c] - mean);
    const float factor = 1.0f / std::sqrt(squares * scale + steps.norm_eps);
#pragma omp simd
    for (std::int64_t c = 0; c < shape.outputs; ++c) {
        row[c] = (row[c] - mean) * factor * steps.norm_weight[c] + steps.norm_bias[c];
    }
}

Vector* take_panels(Workspace& workspace, const LinearShape& shape) {
    return workspace.take<Vector>(ceil_div(shape.outputs, kPanel) * shape.inputs * 2);
}

}  // namespace

std::size_t fused_linear_workspace_bytes_cpu(const LinearShape& shape) {
    Workspace workspace;
    take_panels(workspace, shape);
    return workspace.bytes() + kVectorBytes;
}

Status fused_linear_cpu(const float* x, std::int64_t x_stride, const float* weight, const LinearShape& shape,
                        const LinearSteps& steps, float* out, void* workspace, std::size_t workspace_bytes, int threads) {
    if (shape.rows < 0 || shape.inputs < 0 || shape.outputs < 0) return Status::bad_argument;
    if ((steps.norm_weight == nullptr) != (steps.norm_bias == nullptr)) return Status::bad_argument;
    Workspace memory = aligned_workspace(workspace, workspace_bytes);
    Vector* const panels = take_panels(memory, shape);
    if (!memory.fits()) return Status::workspace_too_small;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (std::int64_t first = 0; first < shape.outputs; first += kPanel) {
            pack_panel(weight, shape, first, panels + first / kPanel * shape.inputs * 2);
        }
#pragma omp for schedule(dynamic)
        for (std::int64_t begin = 0; begin < shape.rows; begin += kChunk) {
            const std::int64_t end = std::min(begin + kChunk, shape.rows);
            for (std::int64_t first = 0; first < shape.outputs; first += kPanel) {
                const Vector* panel = panels + first / kPanel * shape.inputs * 2;
                std::int64_t row = begin;
                for (; row + kRows <= end; row += kRows) multiply<kRows>(x, x_stride, panel, row, first, shape, steps, out);
                for (; row < end; ++row) multiply<1>(x, x_stride, panel, row, first, shape, steps, out);
            }
            for (std::int64_t row = begin; steps.norm_weight != nullptr && row < end; ++row) {
                normalize(out + row * shape.outputs, shape, steps);
            }
        }
    }
    return Status::ok;
}

}  // namespace perception
