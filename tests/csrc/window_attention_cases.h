// Inputs of window_attention with a slow twin in double, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include <algorithm>
#include <numeric>

#include "testing.h"
#include "window_attention.h"

namespace testing {

struct AttentionCase {
    const char* name;
    std::vector<std::int64_t> order, offsets;
    perception::AttentionShape shape;
    std::int64_t stride;  // of q, k and v, which lie interleaved where it has room for all three
    perception::AttentionWindows windows() const { return {order.data(), offsets.data()}; }
    std::int64_t row() const { return shape.heads * shape.channels; }
    std::size_t at(std::int64_t token, std::int64_t head) const {
        return static_cast<std::size_t>((token * shape.heads + head) * shape.channels);
    }
};

inline std::vector<AttentionCase> attention_cases() {
    Random random(11);
    // Windows of these lengths over shuffled tokens, `in_none` tokens in no window; rows of q, k and v `slack` too long.
    const auto build = [&](const char* name, const std::vector<int>& lengths, int in_none, std::int64_t heads,
                           std::int64_t channels, std::int64_t slack = 0) {
        AttentionCase made{name, {}, {0}, {}, heads * channels + slack};
        for (const int length : lengths) made.offsets.push_back(made.offsets.back() + length);
        made.order.resize(static_cast<std::size_t>(made.offsets.back() + in_none));
        std::iota(made.order.begin(), made.order.end(), std::int64_t{0});
        for (std::size_t i = made.order.size(); i > 1; --i) {
            std::swap(made.order[i - 1], made.order[static_cast<std::size_t>(random.integer(static_cast<int>(i)))]);
        }
        const auto windows = static_cast<std::int64_t>(lengths.size());
        made.shape = {static_cast<std::int64_t>(made.order.size()), windows, heads, channels};
        return made;
    };
    std::vector<int> scattered(8);
    for (int& length : scattered) length = random.integer(45);
    return {build("no tokens", {}, 0, 2, 16),
            build("no tokens, windows", {0, 0}, 0, 1, 8),
            build("tokens in no window", {}, 70, 2, 5),
            build("one token", {1}, 0, 1, 8),
            build("one token per window", std::vector<int>(20, 1), 3, 2, 16, 64),
            build("empty windows", {0, 3, 0, 0, 17, 2, 0, 0, 0}, 2, 3, 5),
            build("full window", {144}, 0, 1, 16, 32),
            build("large window", {5, 300, 0}, 130, 1, 16),
            build("scattered", scattered, 9, 2, 24, 8),
            build("around tiles", {15, 16, 17, 31, 33, 63, 65}, 0, 1, 32, 64),
            build("odd rows", {7, 40}, 1, 1, 16, 5),
            build("wide", {21, 70}, 0, 1, 64),
            build("wider", {9, 35}, 2, 1, 75)};
}

// What a kernel reads, as T and as the double of that T.
template <typename T>
struct AttentionData {
    using A = perception::Accumulate<T>;
    std::vector<T> memory, grad_out;       // q, k and v; [tokens,heads,channels]
    std::vector<A> temperature;            // [heads]
    perception::AttentionInput<T> input{};
    std::vector<double> q, k, v, grad;     // [tokens,heads,channels]

    AttentionData(const AttentionCase& made, bool cosine) {
        const auto& shape = made.shape;
        const std::int64_t row = made.row(), apart = made.stride >= 3 * row ? row : shape.tokens * made.stride;
        Random random(13);
        std::vector<float> values = random.normals(made.stride >= 3 * row ? shape.tokens * made.stride : 3 * apart);
        const auto at = [&](std::int64_t which, std::int64_t token) {
            return static_cast<std::size_t>(which * apart + token * made.stride);
        };
        if (shape.tokens > 12) {  // a vector of no length, one below the least length, and two equal keys
            std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(at(0, made.order[2])), row, 0.0f);
            std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(at(1, made.order[3])), row, 2e-13f);
            std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(at(1, made.order[5])), row,
                        values.begin() + static_cast<std::ptrdiff_t>(at(1, made.order[6])));
        }
        memory = narrow_all<T>(values);
        grad_out = narrow_all<T>(random.normals(shape.tokens * row));
        grad = widen_all(grad_out);
        for (std::int64_t h = 0; h < shape.heads; ++h) temperature.push_back(A(0.08) + A(0.15) * static_cast<A>(h));
        const T* first = memory.data();
        const A scale = static_cast<A>(1.0 / std::sqrt(static_cast<double>(shape.channels)));
        input = {first,       first + apart, first + 2 * apart, made.stride,
                 made.stride, made.stride,   scale,             cosine ? temperature.data() : nullptr};
        const auto gather = [&](const T* base) {
            std::vector<double> rows;
            for (std::int64_t t = 0; t < shape.tokens; ++t) {
                for (std::int64_t c = 0; c < row; ++c) rows.push_back(perception::widen(base[t * made.stride + c]));
            }
            return rows;
        };
        q = gather(input.q), k = gather(input.k), v = gather(input.v);
    }
};

// Results, and next to each the sum of the absolute values of its terms, which bounds what rounding does to it.
struct AttentionResult {
    std::vector<double> out, grad_q, grad_k, grad_v, log_sum, grad_temperature;
};

struct AttentionTwin {
    AttentionResult value, magnitude;
    double largest_logit = 0.0;
};

// What window_attention.h promises, forward and backward.
template <typename T>
AttentionTwin attention_twin(const AttentionCase& made, const AttentionData<T>& data) {
    const auto [tokens, windows, heads, channels] = made.shape;
    const auto size = static_cast<std::size_t>(tokens * made.row());
    const std::vector<double> zeros(size), per_head(static_cast<std::size_t>(tokens * heads));
    const std::vector<double> heads_zero(static_cast<std::size_t>(heads));
    const AttentionResult nothing{zeros, zeros, zeros, zeros, per_head, heads_zero};
    AttentionTwin twin{nothing, nothing};
    const auto width = static_cast<std::size_t>(channels);
    const bool cosine = data.input.temperature != nullptr;
    const double least = static_cast<double>(perception::kLeastLength);
    for (std::int64_t h = 0; h < heads; ++h) {
        const auto head = static_cast<std::size_t>(h);
        const double scale = cosine ? 1.0 / double{data.temperature[head]} : double{data.input.scale};
        // Vectors as they enter the product, and their lengths.
        std::vector<double> unit_q = data.q, unit_k = data.k, length_q = per_head, length_k = per_head;
        const auto normalize = [&](std::vector<double>& rows, std::vector<double>& lengths, std::int64_t t) {
            double square = 0.0;
            for (std::size_t c = 0; c < width; ++c) square += rows[made.at(t, h) + c] * rows[made.at(t, h) + c];
            const double length = cosine ? std::max(std::sqrt(square), least) : 1.0;
            for (std::size_t c = 0; c < width; ++c) rows[made.at(t, h) + c] /= length;
            lengths[static_cast<std::size_t>(t * heads + h)] = length;
        };
        for (std::int64_t t = 0; t < tokens; ++t) normalize(unit_q, length_q, t), normalize(unit_k, length_k, t);

        for (std::int64_t w = 0; w < windows; ++w) {
            const std::int64_t begin = made.offsets[static_cast<std::size_t>(w)];
            const std::int64_t end = made.offsets[static_cast<std::size_t>(w) + 1];
            for (std::int64_t query = begin; query < end; ++query) {
                const std::int64_t i = made.order[static_cast<std::size_t>(query)];
                const std::size_t row = made.at(i, h), entry = static_cast<std::size_t>(i * heads + h);
                std::vector<double> logits, sizes, shares;
                for (std::int64_t key = begin; key < end; ++key) {
                    const std::size_t other = made.at(made.order[static_cast<std::size_t>(key)], h);
                    double logit = 0.0, terms = 0.0;
                    for (std::size_t c = 0; c < width; ++c) {
                        logit += scale * unit_q[row + c] * unit_k[other + c];
                        terms += scale * std::abs(unit_q[row + c] * unit_k[other + c]);
                    }
                    logits.push_back(logit), sizes.push_back(terms);
                    twin.largest_logit = std::max(twin.largest_logit, terms);
                }
                const double top = *std::max_element(logits.begin(), logits.end());
                double sum = 0.0;
                for (const double logit : logits) sum += std::exp(logit - top);
                for (const double logit : logits) shares.push_back(std::exp(logit - top) / sum);
                twin.value.log_sum[entry] = top + std::log(sum);
                twin.magnitude.log_sum[entry] = 1.0;
                double delta = 0.0, delta_terms = 0.0;
                for (std::size_t c = 0; c < width; ++c) {
                    for (std::size_t j = 0; j < shares.size(); ++j) {
                        const double v = data.v[made.at(made.order[static_cast<std::size_t>(begin) + j], h) + c];
                        twin.value.out[row + c] += shares[j] * v;
                        twin.magnitude.out[row + c] += shares[j] * std::abs(v);
                    }
                    delta += data.grad[row + c] * twin.value.out[row + c];
                    delta_terms += std::abs(data.grad[row + c]) * twin.magnitude.out[row + c];
                }
                for (std::size_t j = 0; j < shares.size(); ++j) {
                    const std::size_t other = made.at(made.order[static_cast<std::size_t>(begin) + j], h);
                    double grad_share = 0.0, terms = delta_terms;
                    for (std::size_t c = 0; c < width; ++c) {
                        grad_share += data.grad[row + c] * data.v[other + c];
                        terms += std::abs(data.grad[row + c] * data.v[other + c]);
                        twin.value.grad_v[other + c] += shares[j] * data.grad[row + c];
                        twin.magnitude.grad_v[other + c] += shares[j] * std::abs(data.grad[row + c]);
                    }
                    const double grad_logit = shares[j] * (grad_share - delta);
                    terms *= shares[j];
                    for (std::size_t c = 0; c < width; ++c) {  // with respect to the vectors that enter the product
                        twin.value.grad_q[row + c] += grad_logit * scale * unit_k[other + c];
                        twin.value.grad_k[other + c] += grad_logit * scale * unit_q[row + c];
                        twin.magnitude.grad_q[row + c] += terms * scale * std::abs(unit_k[other + c]);
                        twin.magnitude.grad_k[other + c] += terms * scale * std::abs(unit_q[row + c]);
                    }
                    twin.value.grad_temperature[head] -= cosine ? grad_logit * logits[j] * scale : 0.0;
                    twin.magnitude.grad_temperature[head] += cosine ? terms * sizes[j] * scale : 0.0;
                }
            }
        }
        // d(x / |x|): the part along x falls away, except below the least length, where x is divided by a constant.
        const auto through_length = [&](std::vector<double>& grads, std::vector<double>& terms,
                                        const std::vector<double>& unit, double length, std::size_t row) {
            double along = 0.0, along_terms = 0.0;
            for (std::size_t c = 0; c < width && length > least; ++c) {
                along += grads[row + c] * unit[row + c];
                along_terms += terms[row + c] * std::abs(unit[row + c]);
            }
            for (std::size_t c = 0; c < width; ++c) {
                grads[row + c] = (grads[row + c] - along * unit[row + c]) / length;
                terms[row + c] = (terms[row + c] + along_terms * std::abs(unit[row + c])) / length;
            }
        };
        for (std::int64_t t = 0; t < tokens && cosine; ++t) {
            const auto entry = static_cast<std::size_t>(t * heads + h);
            through_length(twin.value.grad_q, twin.magnitude.grad_q, unit_q, length_q[entry], made.at(t, h));
            through_length(twin.value.grad_k, twin.magnitude.grad_k, unit_k, length_k[entry], made.at(t, h));
        }
    }
    return twin;
}

// Every value within `unit` times its magnitude, and the rounding of the result to T.
template <typename T>
void check_attention_values(const std::string& what, const std::vector<T>& values, const std::vector<double>& expected,
                            const std::vector<double>& magnitude, double unit) {
    if (values.size() != expected.size()) return report(__FILE__, __LINE__, what + ": another size");
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double value = perception::widen(values[i]);
        const double allowed = unit * magnitude[i] + rounding<T> * std::abs(expected[i]) + tiny<T>;
        if (std::abs(value - expected[i]) <= allowed) continue;
        const bool overflow = std::is_same_v<T, perception::Half> && std::abs(expected[i]) + allowed > 65000.0;
        if (overflow && !std::isnan(value)) continue;
        return report(__FILE__, __LINE__, what + " at " + std::to_string(i) + ": " + std::to_string(value) + ", expected " +
                                              std::to_string(expected[i]) + " within " + std::to_string(allowed));
    }
}

// Checks forward(input, windows, shape, out, log_sum) and backward(input, windows, shape, grad_out, out, log_sum, gradient)
// on every case of at most so many tokens, in both forms.
template <typename T, typename Forward, typename Backward>
void check_window_attention(const Forward& forward, const Backward& backward, std::int64_t most_tokens = INT64_MAX) {
    using A = perception::Accumulate<T>;
    for (const AttentionCase& made : attention_cases()) {
        if (made.shape.tokens > most_tokens) continue;
        for (const bool cosine : {false, true}) {
            const AttentionData<T> data(made, cosine);
            const AttentionTwin twin = attention_twin(made, data);
            const auto& shape = made.shape;
            const std::int64_t size = shape.tokens * made.row();
            auto out = garbage<T>(size);
            auto grad_q = garbage<T>(size), grad_k = garbage<T>(size), grad_v = garbage<T>(size);
            auto log_sum = garbage<A>(shape.tokens * shape.heads), grad_temperature = garbage<A>(shape.heads);
            const perception::AttentionGradient<T> gradient{grad_q.data(), grad_k.data(), grad_v.data(),
                                                            cosine ? grad_temperature.data() : nullptr};
            const std::string name = std::string(made.name) + (cosine ? ", cosine" : ", scaled");
            const auto windows = made.windows();
            const bool ok = forward(data.input, windows, shape, out.data(), log_sum.data()) == perception::Status::ok &&
                            backward(data.input, windows, shape, data.grad_out.data(), out.data(), log_sum.data(),
                                     gradient) == perception::Status::ok;
            if (!ok) report(__FILE__, __LINE__, name + ": not ok");
            // Logits have the rounding of the accumulator, shares and the given `out` that of T.
            const double logit_error = rounding<A> * (1.0 + twin.largest_logit), unit = rounding<T> + logit_error;
            const AttentionResult &value = twin.value, &magnitude = twin.magnitude;
            check_attention_values(name + ", out", out, value.out, magnitude.out, unit);
            if (size > 0 && shape.tokens < 100) {
                auto alone = garbage<T>(size);
                if (forward(data.input, windows, shape, alone.data(), nullptr) != perception::Status::ok ||
                    std::memcmp(out.data(), alone.data(), out.size() * sizeof(T)) != 0) {
                    report(__FILE__, __LINE__, name + ": out differs where log_sum is not wanted");
                }
            }
            for (std::int64_t p = made.offsets.back(); p < shape.tokens; ++p) {  // the header promises it no value there
                std::fill_n(log_sum.begin() + made.order[static_cast<std::size_t>(p)] * shape.heads, shape.heads, A{0});
            }
            check_attention_values(name + ", log_sum", log_sum, value.log_sum, magnitude.log_sum, logit_error);
            check_attention_values(name + ", grad q", grad_q, value.grad_q, magnitude.grad_q, unit);
            check_attention_values(name + ", grad k", grad_k, value.grad_k, magnitude.grad_k, unit);
            check_attention_values(name + ", grad v", grad_v, value.grad_v, magnitude.grad_v, unit);
            if (cosine) {
                check_attention_values(name + ", grad temperature", grad_temperature, value.grad_temperature,
                                       magnitude.grad_temperature, unit);
            }
        }
    }
}

// The twin's gradients against differences of its own forward pass.
inline void check_attention_twin() {
    for (const AttentionCase& made : attention_cases()) {
        if (std::string(made.name) != "empty windows") continue;
        for (const bool cosine : {false, true}) {
            AttentionData<double> data(made, cosine);
            Random random(17);
            for (auto* rows : {&data.q, &data.k}) {  // no zeros: nothing is differentiable there
                for (double& x : *rows) x = random.normal();
            }
            const AttentionTwin twin = attention_twin(made, data);
            const auto loss = [&] {
                const AttentionTwin moved = attention_twin(made, data);
                return std::inner_product(moved.value.out.begin(), moved.value.out.end(), data.grad.begin(), 0.0);
            };
            const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
                std::vector<double> differences;
                for (double& value : values) {
                    const double kept = value, step = 1e-5;
                    value = kept + step;
                    const double above = loss();
                    value = kept - step;
                    differences.push_back((above - loss()) / (2.0 * step));
                    value = kept;
                }
                CHECK_CLOSE(gradient, differences, 1e-5, 1e-6);
            };
            check(data.q, twin.value.grad_q);
            check(data.k, twin.value.grad_k);
            check(data.v, twin.value.grad_v);
            if (cosine) check(data.temperature, twin.value.grad_temperature);
        }
    }
}

}  // namespace testing
