#include "fused_linear.h"

#include "testing.h"

using namespace perception;
using namespace testing;

namespace {

struct Case {
    LinearShape shape;
    std::int64_t x_stride;
    std::vector<float> x, weight, bias, residual, norm_weight, norm_bias;

    Case(std::int64_t rows, std::int64_t inputs, std::int64_t outputs, std::int64_t slack)
        : shape{rows, inputs, outputs}, x_stride(inputs + slack) {
        Random random(7);
        x = random.normals(rows == 0 ? 0 : (rows - 1) * x_stride + inputs);  // ends where its last row ends
        weight = random.normals(outputs * inputs);
        bias = random.normals(outputs), residual = random.normals(rows * outputs);
        norm_weight = random.normals(outputs), norm_bias = random.normals(outputs);
    }
    LinearSteps steps(int which) const {  // a bit each
        return {which & 1 ? bias.data() : nullptr,
                (which & 2) != 0,
                which & 4 ? residual.data() : nullptr,
                which & 8 ? norm_weight.data() : nullptr,
                which & 8 ? norm_bias.data() : nullptr,
                1e-3f};
    }
};

std::vector<double> expected_linear(const Case& made, const LinearSteps& steps) {
    const auto [rows, inputs, outputs] = made.shape;
    std::vector<double> out(static_cast<std::size_t>(rows * outputs));
    for (std::int64_t r = 0; r < rows; ++r) {
        double* row = out.data() + r * outputs;
        double mean = 0.0, variance = 0.0;
        for (std::int64_t o = 0; o < outputs; ++o) {
            double sum = steps.bias != nullptr ? steps.bias[o] : 0.0;
            for (std::int64_t i = 0; i < inputs; ++i) {
                sum += static_cast<double>(made.x[static_cast<std::size_t>(r * made.x_stride + i)]) *
                       made.weight[static_cast<std::size_t>(o * inputs + i)];
            }
            if (steps.gelu) sum *= 0.5 * (1.0 + std::erf(sum * std::sqrt(0.5)));
            if (steps.residual != nullptr) sum += steps.residual[r * outputs + o];
            row[o] = sum;
            mean += sum / static_cast<double>(outputs);
        }
        if (steps.norm_weight == nullptr) continue;
        for (std::int64_t o = 0; o < outputs; ++o) {
            variance += (row[o] - mean) * (row[o] - mean) / static_cast<double>(outputs);
        }
        for (std::int64_t o = 0; o < outputs; ++o) {
            const double scaled = (row[o] - mean) / std::sqrt(variance + static_cast<double>(steps.norm_eps));
            row[o] = scaled * steps.norm_weight[o] + steps.norm_bias[o];
        }
    }
    return out;
}

Status run(const Case& made, const LinearSteps& steps, std::vector<float>& out, int threads, std::int64_t missing = 0) {
    auto workspace = garbage<std::byte>(static_cast<std::int64_t>(fused_linear_workspace_bytes_cpu(made.shape)) - missing);
    return fused_linear_cpu(made.x.data(), made.x_stride, made.weight.data(), made.shape, steps, out.data(),
                            workspace.data(), workspace.size(), threads);
}

}  // namespace

TEST(equals_the_steps_one_by_one_with_any_number_of_threads) {
    const std::int64_t shapes[][4] = {{0, 3, 5, 0},  {1, 1, 1, 0},    {4, 0, 3, 0},    {5, 4, 0, 2},    {7, 9, 31, 1},
                                      {8, 16, 32, 0}, {96, 12, 33, 5}, {103, 40, 64, 0}, {301, 33, 100, 3}};
    for (const auto& [rows, inputs, outputs, slack] : shapes) {
        const Case made(rows, inputs, outputs, slack);
        for (int which = 0; which < 16; ++which) {
            if ((which & 8) && outputs == 1) continue;  // a row of one has no variance
            const auto expected = expected_linear(made, made.steps(which));
            for (const int threads : {1, 2, 3}) {
                auto out = garbage<float>(rows * outputs);
                CHECK(run(made, made.steps(which), out, threads) == Status::ok);
                CHECK_CLOSE(out, expected, 2e-5, 5e-5);
            }
        }
    }
}

TEST(refuses_what_it_cannot_work_with) {
    const Case made(20, 8, 40, 0);
    auto out = garbage<float>(20 * 40);
    CHECK(run(made, made.steps(15), out, 2) == Status::ok);
    CHECK(run(made, made.steps(15), out, 2, 128) == Status::workspace_too_small);
    LinearSteps half = made.steps(15);
    half.norm_bias = nullptr;
    CHECK(run(made, half, out, 2) == Status::bad_argument);
}

int main() { return run_tests(); }
