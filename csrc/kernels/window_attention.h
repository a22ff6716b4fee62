// Attention inside ragged windows (SST, Fan et al., CVPR 2022): every token attends to the tokens of its own window, whatever
// their number; nothing is padded and nothing is dropped. Scaled dot product, or the cosine form with a learned temperature
// per head (Swin v2; SSTv2). T is float, double, Half or BFloat16; softmax and sums are in Accumulate<T>.
#pragma once

#include "platform.h"

namespace perception {

struct AttentionShape {
    std::int64_t tokens;
    std::int64_t windows;  // some may be empty
    std::int64_t heads;
    std::int64_t channels;  // of one head
};

// Which tokens share a window: window w holds the tokens order[offsets[w]..offsets[w+1]).
struct AttentionWindows {
    const std::int64_t* order;    // [tokens], each token at most once; those from offsets[windows] on are in no window
    const std::int64_t* offsets;  // [windows+1], ascending from 0
};

// Channel c of head h of token t is at q[t * q_stride + h * channels + c], and so on.
template <typename T>
struct AttentionInput {
    const T* q;
    const T* k;
    const T* v;
    std::int64_t q_stride, k_stride, v_stride;
    Accumulate<T> scale;                // logit = scale * q.k, where temperature is null
    const Accumulate<T>* temperature;  // [heads] logit = (q / |q|).(k / |k|) / temperature, lengths at least kLeastLength
};

constexpr float kLeastLength = 1e-12f;  // of torch's normalize

// out [tokens,heads,channels] = softmax over the window of the logits, times v; 0 for a token in no window.
// log_sum [tokens,heads] = log of the sum of exp(logit) over the window, which the backward pass wants; it may be null.
template <typename T>
Status window_attention_cpu(const AttentionInput<T>& input, const AttentionWindows& windows, const AttentionShape& shape,
                            T* out, Accumulate<T>* log_sum, void* workspace, std::size_t workspace_bytes, int threads);
template <typename T>
Status window_attention_cuda(const AttentionInput<T>& input, const AttentionWindows& windows, const AttentionShape& shape,
                             T* out, Accumulate<T>* log_sum, Stream stream);

template <typename T>
struct AttentionGradient {
    T* q;  // [tokens,heads,channels] each; 0 for a token in no window
    T* k;
    T* v;
    Accumulate<T>* temperature;  // [heads], null where the input's is
};

// grad_out [tokens,heads,channels]; out and log_sum are the forward pass's.
template <typename T>
Status window_attention_backward_cpu(const AttentionInput<T>& input, const AttentionWindows& windows,
                                     const AttentionShape& shape, const T* grad_out, const T* out,
                                     const Accumulate<T>* log_sum, const AttentionGradient<T>& gradient, void* workspace,
                                     std::size_t workspace_bytes, int threads);
template <typename T>
Status window_attention_backward_cuda(const AttentionInput<T>& input, const AttentionWindows& windows,
                                      const AttentionShape& shape, const T* grad_out, const T* out,
                                      const Accumulate<T>* log_sum, const AttentionGradient<T>& gradient, Stream stream);

// Bytes of workspace of either pass on the CPU.
template <typename T>
std::size_t window_attention_workspace_bytes_cpu(const AttentionShape& shape, int threads);

}  // namespace perception
