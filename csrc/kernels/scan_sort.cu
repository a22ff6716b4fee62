#include "scan_sort.h"

#include <algorithm>
#include <utility>

#include "cuda_platform.h"
#include "look_back.cuh"

// Every pass reads and writes the keys once: a block counts the digits of its tile, learns from earlier tiles where they go
// and moves its keys there (Adinets & Merrill, "Onesweep", 2022). Runs are numbered in the same way.
namespace perception {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kItems = 7;  // per thread: the shared memory of a block stays below 48 KiB
constexpr int kTile = kThreads * kItems;
constexpr int kMostDigitBits = 9;  // a pass less than bytes need for the 17 and 18 bits of the usual grids
constexpr int kDigits = 1 << kMostDigitBits;
constexpr int kMostCounters = 512;      // blocks that count digits
static_assert(kDigits == kThreads, "thread d looks after digit d");

struct Digit {
    int shift, bits;
    PERCEPTION_HD int of(std::uint64_t packed) const { return static_cast<int>(packed >> shift) & ((1 << bits) - 1); }
};

PERCEPTION_HD inline int pass_count(KeyLayout layout) {
    return static_cast<int>(ceil_div(layout.key_bits, kMostDigitBits));
}

// Equal digits instead of full ones and a remainder.
PERCEPTION_HD inline Digit digit_of_pass(KeyLayout layout, int pass) {
    const int passes = pass_count(layout);
    const int low = layout.key_bits * pass / passes, high = layout.key_bits * (pass + 1) / passes;
    return {layout.index_bits + low, high - low};
}

// Counters in one piece, which one call zeroes.
struct Scratch {
    std::int64_t tiles, passes;
    std::uint32_t* words;

    Scratch(Workspace& workspace, std::int64_t items, KeyLayout layout)
        : tiles(ceil_div(items, kTile)), passes(pass_count(layout)), words(workspace.take<std::uint32_t>(count())) {}

    std::int64_t count() const { return passes * kDigits + passes + 1 + tiles + passes * tiles * kDigits; }
    std::uint32_t* digit_counts() const { return words; }                    // [passes, digits]
    std::uint32_t* tickets() const { return words + passes * kDigits; }      // [passes+1] tiles taken; the last for the runs
    std::uint32_t* run_sums() const { return tickets() + passes + 1; }       // [tiles]
    std::uint32_t* digit_sums(std::int64_t pass) const {                     // [tiles, digits]
        return run_sums() + tiles + pass * tiles * kDigits;
    }
};

template <typename T>
__device__ inline T warp_sum_before(T value) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    T sum = value;
    for (int step = 1; step < kWarp; step *= 2) {
        const T other = __shfl_up_sync(kFullMask, sum, static_cast<unsigned>(step));
        if (lane >= step) sum += other;
    }
    return sum - value;
}

__global__ void __launch_bounds__(kThreads) count_digits(const std::uint64_t* __restrict__ packed,  // [items]
                                                         std::uint32_t* __restrict__ counts,        // [passes, digits]
                                                         int items, KeyLayout layout) {
    PERCEPTION_DYNAMIC_SHARED(std::uint32_t, block_counts);
    const int passes = pass_count(layout), thread = static_cast<int>(threadIdx.x);
    for (int i = thread; i < passes * kDigits; i += kThreads) block_counts[i] = 0;
    __syncthreads();
    const int step = static_cast<int>(gridDim.x) * kThreads;
    for (int i = static_cast<int>(blockIdx.x) * kThreads + thread; i < items; i += step) {
        const std::uint64_t key = packed[i];
        for (int pass = 0; pass < passes; ++pass) {
            atomicAdd(&block_counts[pass * kDigits + digit_of_pass(layout, pass).of(key)], 1u);
        }
    }
    __syncthreads();
    for (int i = thread; i < passes * kDigits; i += kThreads) {
        if (block_counts[i] != 0) atomicAdd(&counts[i], block_counts[i]);
    }
}

// Lanes with the same digit as this one. Few bits: a vote on each is faster than __match_any_sync.
__device__ inline unsigned lanes_with(int digit, int bits, bool valid) {
    unsigned peers = __ballot_sync(kFullMask, valid);
    for (int bit = 0; bit < bits; ++bit) {
        const bool set = (digit >> bit & 1) != 0;
        const unsigned votes = __ballot_sync(kFullMask, set);
        peers &= set ? votes : ~votes;
    }
    return peers;
}

__global__ void __launch_bounds__(kThreads) sort_pass(const std::uint64_t* __restrict__ source,   // [items]
                                                      std::uint64_t* __restrict__ target,         // [items]
                                                      const std::uint32_t* __restrict__ counts,   // [digits] of all tiles
                                                      std::uint32_t* sums,                        // [tiles, digits]
                                                      std::uint32_t* ticket, int items, Digit digit) {
    PERCEPTION_SHARED(std::uint64_t, keys, [kTile]);
    PERCEPTION_SHARED(std::uint16_t, warp_counts, [kWarps][kDigits]);  // then: counts of earlier warps
    PERCEPTION_SHARED(std::uint16_t, tile_start, [kDigits]);           // where a digit's keys begin in `keys`
    PERCEPTION_SHARED(std::uint32_t, target_start, [kDigits]);         // and in `target`, less the former; modulo 2^32
    PERCEPTION_SHARED(std::uint64_t, warp_sums, [kWarps]);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    const int tile = look_back::take_tile(ticket);
    const int begin = tile * kTile, size = items - begin < kTile ? items - begin : kTile;

    // Rank of every key among those of its digit in this warp, in the order of the keys.
    for (int d = lane; d < kDigits; d += kWarp) warp_counts[warp][d] = 0;
    std::uint64_t key[kItems];
    int rank[kItems];
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
        const int i = (warp * kItems + k) * kWarp + lane;
        key[k] = i < size ? source[begin + i] : 0;
    }
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
        const bool valid = (warp * kItems + k) * kWarp + lane < size;
        const int d = digit.of(key[k]);
        const unsigned peers = lanes_with(d, digit.bits, valid);
        const int before = warp_counts[warp][d];
        rank[k] = before + __popc(peers & ((1u << lane) - 1u));
        __syncwarp();
        if (valid && peers >> lane == 1u) warp_counts[warp][d] = static_cast<std::uint16_t>(rank[k] + 1);
        __syncwarp();
    }
    __syncthreads();

    // Thread d: where digit d goes.
    std::uint32_t count = 0;
    for (int w = 0; w < kWarps; ++w) {
        const std::uint32_t of_warp = warp_counts[w][thread];
        warp_counts[w][thread] = static_cast<std::uint16_t>(count);
        count += of_warp;
    }
    const bool used = thread < 1 << digit.bits;
    std::uint32_t* const own = sums + std::int64_t{tile} * kDigits + thread;
    if (used) look_back::tell(own, count | (tile == 0 ? look_back::kUpToTile : look_back::kOfTile));
    // One scan over the digits for both: counts of all tiles in the upper half, of this one in the lower.
    const std::uint64_t both = static_cast<std::uint64_t>(counts[thread]) << 32 | count;
    std::uint64_t before = warp_sum_before(both);
    if (lane == kWarp - 1) warp_sums[warp] = before + both;
    __syncthreads();
    for (int w = 0; w < warp; ++w) before += warp_sums[w];
    const auto start = static_cast<std::uint32_t>(before);
    tile_start[thread] = static_cast<std::uint16_t>(start);
    if (used) {
        const std::uint32_t earlier = tile == 0 ? 0 : look_back::sum_before(sums + thread, kDigits, tile);
        if (tile != 0) look_back::tell(own, (earlier + count) | look_back::kUpToTile);
        target_start[thread] = static_cast<std::uint32_t>(before >> 32) + earlier - start;
    }
    __syncthreads();

    // Through shared memory, so that neighbours write neighbours.
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
        const int d = digit.of(key[k]);
        if ((warp * kItems + k) * kWarp + lane < size) keys[tile_start[d] + warp_counts[warp][d] + rank[k]] = key[k];
    }
    __syncthreads();
    for (int i = thread; i < size; i += kThreads) {
        target[target_start[digit.of(keys[i])] + static_cast<std::uint32_t>(i)] = keys[i];
    }
}

__global__ void __launch_bounds__(kThreads) find_runs(const std::uint64_t* __restrict__ sorted,  // [items]
                                                      std::uint32_t* sums,                       // [tiles]
                                                      std::uint32_t* ticket, int items, int index_bits, Runs runs) {
    PERCEPTION_SHARED(int, warp_heads, [kWarps]);
    PERCEPTION_SHARED(int, tile_first, [1]);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    const int tile = look_back::take_tile(ticket);
    const int first = tile * kTile + warp * kItems * kWarp + lane;

    std::uint64_t packed[kItems];
    unsigned heads[kItems];  // of the warp's lanes
    int in_warp = 0;
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
        const int i = first + k * kWarp;
        bool head = false;
        packed[k] = 0;
        if (i < items) {
            packed[k] = sorted[i];
            const std::uint64_t key = unpack_key(packed[k], index_bits);
            head = key < runs.end_key && (i == 0 || key != unpack_key(sorted[i - 1], index_bits));
        }
        heads[k] = __ballot_sync(kFullMask, head);
        in_warp += __popc(heads[k]);
    }
    if (lane == 0) warp_heads[warp] = in_warp;
    __syncthreads();
    if (warp == 0) {
        const int of_warp = lane < kWarps ? warp_heads[lane] : 0;
        const int before = warp_sum_before(of_warp);
        const auto count = static_cast<std::uint32_t>(__shfl_sync(kFullMask, before + of_warp, kWarp - 1));
        if (lane == 0) look_back::tell(sums + tile, count | (tile == 0 ? look_back::kUpToTile : look_back::kOfTile));
        const std::uint32_t earlier = tile == 0 ? 0 : look_back::sum_before_by_warp(sums, tile);
        if (lane == 0 && tile != 0) look_back::tell(sums + tile, (earlier + count) | look_back::kUpToTile);
        if (lane < kWarps) warp_heads[lane] = before;
        if (lane == 0) tile_first[0] = static_cast<int>(earlier);
    }
    __syncthreads();

    int heads_before = tile_first[0] + warp_heads[warp];
#pragma unroll
    for (int k = 0; k < kItems; ++k) {
        const int i = first + k * kWarp;
        const int run = heads_before + __popc(heads[k] & (0xffffffffu >> (kWarp - 1 - lane))) - 1;
        heads_before += __popc(heads[k]);
        if (i >= items) continue;
        const std::uint64_t key = unpack_key(packed[k], index_bits);
        const std::int64_t item = unpack_index(packed[k], index_bits);
        const bool grouped = key < runs.end_key;
        runs.order[i] = item;
        if (runs.run_of != nullptr) runs.run_of[item] = grouped && run < runs.capacity ? run : -1;
        if ((heads[k] >> lane & 1u) != 0 && run < runs.capacity) {
            runs.offsets[run] = i;
            if (runs.keys != nullptr) runs.keys[run] = key;
        }
        // The end of the last run.
        const bool first_outside = !grouped && (i == 0 || unpack_key(sorted[i - 1], index_bits) < runs.end_key);
        if (first_outside || (grouped && i == items - 1)) {
            const std::int64_t count = run + 1 < runs.capacity ? run + 1 : runs.capacity;
            runs.offsets[count] = first_outside ? i : items;
            *runs.count = count;
        }
    }
}

}  // namespace

std::size_t group_workspace_bytes_cuda(std::int64_t items, KeyLayout layout) {
    Workspace workspace;
    Scratch(workspace, items, layout);
    return workspace.bytes();
}

Status group_cuda(std::uint64_t* packed, std::uint64_t* spare, std::int64_t items, KeyLayout layout, const Runs& runs,
                  void* workspace, std::size_t workspace_bytes, Stream stream) {
    if (items < 0 || items > look_back::kValue || !layout.fits()) return Status::bad_argument;
    Workspace memory(workspace, workspace_bytes);
    const Scratch scratch(memory, items, layout);
    if (!memory.fits()) return Status::workspace_too_small;
    if (items == 0) {
        const Status cleared = fill_bytes(runs.count, 0, sizeof(std::int64_t), stream);
        return cleared == Status::ok ? fill_bytes(runs.offsets, 0, sizeof(std::int64_t), stream) : cleared;
    }

    Status status = fill_bytes(scratch.words, 0, static_cast<std::size_t>(scratch.count()) * sizeof(std::uint32_t), stream);
    const auto tiles = static_cast<unsigned>(scratch.tiles);
    const int count = static_cast<int>(items), passes = pass_count(layout);
    if (status == Status::ok && passes > 0) {
        status = launch(count_digits, std::min<unsigned>(tiles, kMostCounters), kThreads,
                        static_cast<std::size_t>(passes) * kDigits * sizeof(std::uint32_t), stream, packed,
                        scratch.digit_counts(), count, layout);
    }
    for (int pass = 0; pass < passes && status == Status::ok; ++pass) {
        status = launch(sort_pass, tiles, kThreads, 0, stream, packed, spare, scratch.digit_counts() + pass * kDigits,
                        scratch.digit_sums(pass), scratch.tickets() + pass, count, digit_of_pass(layout, pass));
        std::swap(packed, spare);
    }
    if (status != Status::ok) return status;
    return launch(find_runs, tiles, kThreads, 0, stream, packed, scratch.run_sums(), scratch.tickets() + passes, count,
                  layout.index_bits, runs);
}

}  // namespace perception
