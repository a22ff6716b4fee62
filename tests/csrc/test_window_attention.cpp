#include "window_attention_cases.h"

using namespace perception;
using namespace testing;

template <typename T>
static void check() {
    for (const int threads : {1, 2, 3}) {
        const auto workspace_of = [&](const AttentionShape& shape) {
            return garbage<std::byte>(static_cast<std::int64_t>(window_attention_workspace_bytes_cpu<T>(shape, threads)));
        };
        check_window_attention<T>(
            [&](const auto& input, const auto& windows, const auto& shape, auto... results) {
                auto workspace = workspace_of(shape);
                return window_attention_cpu<T>(input, windows, shape, results..., workspace.data(), workspace.size(),
                                               threads);
            },
            [&](const auto& input, const auto& windows, const auto& shape, const auto& grad_out, const auto& out,
                const auto& log_sum, const auto& gradient) {
                auto workspace = workspace_of(shape);
                return window_attention_backward_cpu<T>(input, windows, shape, grad_out, out, log_sum, gradient,
                                                        workspace.data(), workspace.size(), threads);
            });
    }
}

TEST(the_twin_has_the_gradients_of_its_forward_pass) { check_attention_twin(); }
TEST(float32) { check<float>(); }
TEST(float64) { check<double>(); }
TEST(half) { check<Half>(); }
TEST(bfloat16) { check<BFloat16>(); }

TEST(memory_may_begin_anywhere) {
    const AttentionCase made = attention_cases().back();
    const AttentionData<float> data(made, false);
    const std::size_t bytes = window_attention_workspace_bytes_cpu<float>(made.shape, 2);
    std::vector<std::byte> memory(bytes + 64);
    std::vector<std::vector<float>> results;
    for (const std::size_t shift : {0u, 1u, 17u, 64u}) {
        auto out = garbage<float>(made.shape.tokens * made.row());
        CHECK(window_attention_cpu<float>(data.input, made.windows(), made.shape, out.data(), nullptr, memory.data() + shift,
                                          bytes, 2) == Status::ok);
        results.push_back(out);
    }
    for (const auto& out : results) CHECK(out == results[0]);
}

TEST(refuses_what_it_cannot_work_with) {
    std::vector<std::int64_t> order{0, 1, 2}, offsets{0, 3};
    const AttentionShape shape{3, 1, 1, 2};
    const std::vector<float> values(6, 1.0f);
    std::vector<float> out(6);
    const AttentionInput<float> input{values.data(), values.data(), values.data(), 2, 2, 2, 1.0f, nullptr};
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(window_attention_workspace_bytes_cpu<float>(shape, 2)));
    const auto run = [&](std::size_t bytes) {
        return window_attention_cpu<float>(input, {order.data(), offsets.data()}, shape, out.data(), nullptr,
                                           workspace.data(), bytes, 2);
    };
    CHECK(run(workspace.size()) == Status::ok);
    CHECK(run(workspace.size() - 128) == Status::workspace_too_small);
    CHECK(run(0) == Status::workspace_too_small);
    for (const std::vector<std::int64_t>& bad : {std::vector<std::int64_t>{0, 4}, {1, 3}, {0, -1}}) {
        offsets = bad;
        CHECK(run(workspace.size()) == Status::bad_argument);
    }
    offsets = {0, 3};
    for (const std::int64_t bad : {-1, 3}) {
        order[1] = bad;
        CHECK(run(workspace.size()) == Status::bad_argument);
    }
}

int main() { return run_tests(); }
