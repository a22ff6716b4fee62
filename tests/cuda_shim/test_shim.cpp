// The shim itself: what it computes, and that it reports what a GPU would answer with a hang or garbage.
#include "harness.h"

#include <string>

using namespace perception;

namespace {

template <typename Kernel, typename... Arguments>
std::string error_of(Kernel kernel, dim3 grid, dim3 block, std::size_t shared, Arguments... arguments) {
    try {
        launch(kernel, grid, block, shared, nullptr, arguments...);
    } catch (const cuda_shim::Error& error) {
        return error.what();
    }
    return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

__global__ void reverse_in_block(const int* values, int* reversed, int count) {
    PERCEPTION_DYNAMIC_SHARED(int, tile);
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) tile[threadIdx.x] = values[i];
    __syncthreads();
    const int last = std::min(static_cast<int>(blockDim.x), count - static_cast<int>(blockIdx.x * blockDim.x)) - 1;
    if (i < count) reversed[i] = tile[last - static_cast<int>(threadIdx.x)];
}

__global__ void sums(const float* values, float* block_sums, float* total, int* votes) {
    PERCEPTION_SHARED(float, partial, [8]);
    const float sum = warp_sum(values[blockIdx.x * blockDim.x + threadIdx.x]);
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = sum;
    const int positive = __syncthreads_count(sum > 0.0f);
    if (threadIdx.x != 0) return;
    float block_sum = 0.0f;
    for (unsigned warp = 0; warp < blockDim.x / kWarp; ++warp) block_sum += partial[warp];
    block_sums[blockIdx.x] = block_sum;
    votes[blockIdx.x] = positive;
    atomicAdd(total, block_sum);
}

__global__ void warp_operations(int* out) {
    const int lane = static_cast<int>(threadIdx.x);
    out[lane] = __shfl_up_sync(kFullMask, lane, 1);
    out[32 + lane] = __shfl_down_sync(kFullMask, lane, 2, 8);
    out[64 + lane] = __shfl_sync(kFullMask, lane, 3, 16);
    out[96 + lane] = static_cast<int>(__ballot_sync(kFullMask, lane % 3 == 0));
    out[128 + lane] = static_cast<int>(__match_any_sync(kFullMask, lane % 4));
    out[160 + lane] = lane < 16 ? __reduce_add_sync(0x0000ffffu, lane) : __reduce_add_sync(0xffff0000u, lane);
    out[192 + lane] = warp_max(lane ^ 5);
}

template <typename T>
__global__ void tile_products(const float* a_values, const float* b_values, float* c_values) {
    PERCEPTION_SHARED(T, a, [16][24]);
    PERCEPTION_SHARED(T, a_transposed, [16][24]);
    PERCEPTION_SHARED(T, b, [16][8]);
    PERCEPTION_SHARED(T, b_transposed, [8][24]);
    const int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < 256; i += kWarp) a[i / 16][i % 16] = a_transposed[i % 16][i / 16] = narrow<T>(a_values[i]);
    for (int i = lane; i < 128; i += kWarp) b[i / 8][i % 8] = b_transposed[i % 8][i / 8] = narrow<T>(b_values[i]);
    __syncthreads();
    TileC products[2] = {};
    mma_16x8x16<T>(products[0], load_a(&a[0][0], 24), load_b(&b[0][0], 8));
    mma_16x8x16<T>(products[1], load_a_transposed(&a_transposed[0][0], 24), load_b_transposed(&b_transposed[0][0], 24));
    for (int tile = 0; tile < 2; ++tile) {
        for (int i = 0; i < 4; ++i) {
            c_values[tile * 128 + (lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = products[tile].v[i];
        }
    }
}

// (P B) with P from the C of two products, as attention does.
__global__ void chained_product(const float* p_values, const float* b_values, float* c_values) {
    PERCEPTION_SHARED(Half, b, [16][8]);
    const int lane = static_cast<int>(threadIdx.x), row = lane / 4, column = lane % 4 * 2;
    for (int i = lane; i < 128; i += kWarp) b[i / 8][i % 8] = narrow<Half>(b_values[i]);
    __syncwarp();
    TileA p;
    for (int i = 0; i < 4; ++i) {
        const float* pair = p_values + (row + i % 2 * 8) * 16 + column + i / 2 * 8;
        p.r[i] = pack<Half>(pair[0], pair[1]);
    }
    TileC c{};
    mma_16x8x16<Half>(c, p, load_b(&b[0][0], 8));
    for (int i = 0; i < 4; ++i) c_values[(row + i / 2 * 8) * 8 + column + i % 2] = c.v[i];
}

__global__ void spin_lock(int* lock, int* counter) {
    bool done = false;
    while (!done) {
        if (atomicCAS(lock, 0, 1) == 0) {
            *counter += 1;
            __threadfence();
            atomicExch(lock, 0);
            done = true;
        }
    }
}

__global__ void missing_barrier(int* out) {
    PERCEPTION_SHARED(int, tile, [64]);
    tile[threadIdx.x] = static_cast<int>(threadIdx.x);
    out[threadIdx.x] = tile[(threadIdx.x + 1) % 64];
}

__global__ void divergent_barrier() {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

__global__ void absent_lane(int* out) {
    if (threadIdx.x < 31) out[threadIdx.x] = __shfl_xor_sync(kFullMask, 1, 1);
    __syncthreads();
}

__global__ void returned_lane(int* out) {
    if (threadIdx.x == 0) return;
    __syncthreads();
    out[threadIdx.x] = __any_sync(kFullMask, 1);
}

__global__ void lane_outside_mask(int* out) { out[threadIdx.x] = __shfl_sync(1u << threadIdx.x, 1, 0); }

__global__ void partial_warp(int* out) { out[threadIdx.x] = warp_sum(1); }

__global__ void too_much_static() {
    PERCEPTION_SHARED(double, tile, [48 * 128 + 1]);
    tile[0] = 0.0;
}

__global__ void too_much_together() {
    PERCEPTION_SHARED(char, tile, [1024]);
    tile[0] = 0;
}

__global__ void tile_in_global_memory(const Half* values) { load_a(values, 16); }

}  // namespace

TEST(blocks_and_barriers) {
    for (const int count : {0, 1, 63, 64, 300}) {
        std::vector<int> values(static_cast<std::size_t>(count)), reversed = testing::garbage<int>(count);
        for (int i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = i;
        CHECK_OK(launch(reverse_in_block, blocks_for(count, 64), 64, 64 * sizeof(int), nullptr, values.data(), reversed.data(),
                        count));
        for (int i = 0; i < count; ++i) {
            const int begin = i / 64 * 64, end = std::min(begin + 64, count);
            CHECK(reversed[static_cast<std::size_t>(i)] == begin + end - 1 - i);
        }
    }
}

TEST(reductions) {
    std::vector<float> values(1024), block_sums = testing::garbage<float>(4), expected(4);
    std::vector<int> votes = testing::garbage<int>(4);
    float total = 0.0f;
    for (int i = 0; i < 1024; ++i) {
        values[static_cast<std::size_t>(i)] = static_cast<float>(i / 32 % 3 - 1);
        expected[static_cast<std::size_t>(i / 256)] += values[static_cast<std::size_t>(i)];
    }
    CHECK_OK(launch(sums, 4, 256, 0, nullptr, values.data(), block_sums.data(), &total, votes.data()));
    CHECK_CLOSE(block_sums, expected, 0.0, 0.0);
    CHECK(total == expected[0] + expected[1] + expected[2] + expected[3]);
    CHECK(votes[0] == 2 * 32 && votes[1] == 3 * 32);
}

TEST(warp_operations) {
    std::vector<int> out = testing::garbage<int>(224);
    CHECK_OK(launch(warp_operations, 1, 32, 0, nullptr, out.data()));
    for (int lane = 0; lane < 32; ++lane) {
        const auto at = [&](int row) { return out[static_cast<std::size_t>(row * 32 + lane)]; };
        CHECK(at(0) == (lane == 0 ? 0 : lane - 1));
        CHECK(at(1) == (lane % 8 < 6 ? lane + 2 : lane));
        CHECK(at(2) == lane / 16 * 16 + 3);
        CHECK(static_cast<unsigned>(at(3)) == 0x49249249u);
        CHECK(static_cast<unsigned>(at(4)) == 0x11111111u << lane % 4);
        CHECK(at(5) == (lane < 16 ? 120 : 376));
        CHECK(at(6) == 31);
    }
}

TEST(tile_products) {
    testing::Random random(7);
    const std::vector<float> a = random.normals(256), b = random.normals(128);
    std::vector<float> expected(256);
    for (int i = 0; i < 256; ++i) {
        double sum = 0.0;
        for (int k = 0; k < 16; ++k) {
            sum += double{a[static_cast<std::size_t>(i / 8 % 16 * 16 + k)]} * b[static_cast<std::size_t>(k * 8 + i % 8)];
        }
        expected[static_cast<std::size_t>(i)] = static_cast<float>(sum);
    }
    std::vector<float> c = testing::garbage<float>(256);
    CHECK_OK(launch(tile_products<Half>, 1, 32, 0, nullptr, a.data(), b.data(), c.data()));
    CHECK_CLOSE(c, expected, 0.0, 0.02);
    c = testing::garbage<float>(256);
    CHECK_OK(launch(tile_products<BFloat16>, 1, 32, 0, nullptr, a.data(), b.data(), c.data()));
    CHECK_CLOSE(c, expected, 0.0, 0.16);
    c = testing::garbage<float>(128);
    expected.resize(128);
    CHECK_OK(launch(chained_product, 1, 32, 0, nullptr, a.data(), b.data(), c.data()));
    CHECK_CLOSE(c, expected, 0.0, 0.02);
}

TEST(threads_can_wait_for_a_lock) {
    int lock = 0, counter = 0;
    CHECK_OK(launch(spin_lock, 2, 96, 0, nullptr, &lock, &counter));
    CHECK(counter == 192);
}

TEST(a_missing_barrier_shows) {
    std::vector<int> out(64);
    CHECK_OK(launch(missing_barrier, 1, 64, 0, nullptr, out.data()));
    int wrong = 0;
    for (int i = 0; i < 64; ++i) wrong += out[static_cast<std::size_t>(i)] != (i + 1) % 64;
    CHECK(wrong > 0);
}

TEST(misuse_is_an_error) {
    std::vector<int> out(64);
    CHECK(contains(error_of(divergent_barrier, 1, 64, 0), "barrier divergence"));
    CHECK(contains(error_of(absent_lane, 1, 32, 0, out.data()), "waits for ever"));
    CHECK(contains(error_of(returned_lane, 1, 32, 0, out.data()), "has returned"));
    CHECK(contains(error_of(lane_outside_mask, 1, 32, 0, out.data()), "outside of its mask"));
    CHECK(contains(error_of(partial_warp, 1, 40, 0, out.data()), "past the end of the block"));
    CHECK(contains(error_of(too_much_static, 1, 32, 0), "48 KiB"));
    CHECK(contains(error_of(too_much_together, 1, 32, cuda_shim::max_shared_bytes - 1023), "more shared memory"));
    CHECK(contains(error_of(tile_in_global_memory, 1, 32, 0, static_cast<const Half*>(nullptr)), "outside of shared memory"));
    CHECK(launch(partial_warp, 1, 1025, 0, nullptr, out.data()) == Status::launch_failed);
    CHECK(launch(partial_warp, 1, 32, cuda_shim::max_shared_bytes + 1, nullptr, out.data()) == Status::launch_failed);
    CHECK_OK(launch(partial_warp, 1, 32, 0, nullptr, out.data()));
}

int main() { return testing::run_tests_in_all_orders(); }
