// Greedy non-maximum suppression on the GPU, which the nms ops share. Everything that pairs of boxes decide is computed in
// parallel, as 64-bit masks; the greedy pass that remains is a walk over those masks by one block.
#pragma once

#include "cuda_platform.h"
#include "suppression.h"

namespace perception {

using MaskWord = unsigned long long;  // the type that 64-bit atomics take
constexpr int kMaskBits = 64;

// Row r stands for the box in place r by descending score. Bit c % 64 of word c / 64 is set where it would suppress the box
// in place c > r. Words of places before the row's own and bits past the last place hold garbage.
struct SuppressionScratch {
    std::int64_t* order;  // [count] box in each place
    MaskWord* masks;      // [count,words]

    SuppressionScratch(Workspace& workspace, std::int64_t count)
        : order(workspace.take<std::int64_t>(count)), masks(workspace.take<MaskWord>(count * words(count))) {}

    static std::int64_t words(std::int64_t count) { return ceil_div(count, kMaskBits); }
};

namespace detail {

// A warp per box: its place is the number of boxes that come before it.
template <typename T>
__global__ void __launch_bounds__(256) place_boxes(const T* __restrict__ scores,      // [count]
                                                   std::int64_t count,
                                                   std::int64_t* __restrict__ order) {  // [count]
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t box = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp;
    if (box >= count) return;
    const T score = scores[box];
    int before = 0;
    for (std::int64_t other = lane; other < count; other += kWarp) {
        before += comes_before(scores[other], other, score, box) ? 1 : 0;
    }
    before = warp_sum(before);
    if (lane == 0) order[before] = box;
}

// A block per word of 64 rows. A warp takes a row at a time, a lane two of the columns of the word, kept in registers:
// one block per multiprocessor is enough, for otherwise ptxas spills for the sake of occupancy.
template <typename Boxes>
__global__ void __launch_bounds__(256, 1) fill_masks(Boxes boxes, const std::int64_t* __restrict__ order,  // [count]
                                                     std::int64_t count, std::int64_t words,
                                                     MaskWord* __restrict__ masks) {  // [count,words]
    if (blockIdx.x < blockIdx.y) return;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    const std::int64_t low = std::int64_t{blockIdx.x} * kMaskBits + lane, high = low + kWarp;
    const auto box_low = boxes.load(order[std::min(low, count - 1)]);
    const auto box_high = boxes.load(order[std::min(high, count - 1)]);
    const std::int64_t first = std::int64_t{blockIdx.y} * kMaskBits, end = std::min(first + kMaskBits, count);
    for (std::int64_t row = first + warp; row < end; row += blockDim.x / kWarp) {
        const auto box = boxes.load(order[row]);
        const bool is_low = low > row && boxes.suppresses(box, box_low);
        const bool is_high = high > row && boxes.suppresses(box, box_high);
        const unsigned bits_low = __ballot_sync(kFullMask, is_low), bits_high = __ballot_sync(kFullMask, is_high);
        if (lane == 0) masks[row * words + blockIdx.x] = MaskWord{bits_high} << kWarp | bits_low;
    }
}

// One block: 64 places at a time, settled by their own masks before those of the kept ones strike out later places.
inline __global__ void __launch_bounds__(512) keep_greedily(const std::int64_t* __restrict__ order,  // [count]
                                                            const MaskWord* __restrict__ masks,      // [count,words]
                                                            std::int64_t count, std::int64_t words,
                                                            std::int64_t* __restrict__ kept,          // [count]
                                                            std::int64_t* __restrict__ kept_count) {  // [1]
    PERCEPTION_DYNAMIC_SHARED(MaskWord, removed);  // [words] places that a kept box suppresses
    PERCEPTION_SHARED(MaskWord, own_masks, [kMaskBits]);
    PERCEPTION_SHARED(MaskWord, kept_bits, [1]);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    for (std::int64_t word = thread; word < words; word += blockDim.x) removed[word] = 0;
    std::int64_t total = 0;
    for (std::int64_t word = 0; word < words; ++word) {
        const std::int64_t first = word * kMaskBits;
        const int size = static_cast<int>(std::min<std::int64_t>(kMaskBits, count - first));
        if (thread < kMaskBits) own_masks[thread] = thread < size ? masks[(first + thread) * words + word] : 0;
        __syncthreads();  // the masks are here, and the word before has struck out its places
        if (thread == 0) {
            MaskWord gone = removed[word], chosen = 0;
            for (int place = 0; place < size; ++place) {
                if ((gone >> place & 1) != 0) continue;
                chosen |= MaskWord{1} << place;
                gone |= own_masks[place];
            }
            kept_bits[0] = chosen;
        }
        __syncthreads();
        const MaskWord chosen = kept_bits[0];
        if (thread < size && (chosen >> thread & 1) != 0) {
            kept[total + __popcll(chosen & ((MaskWord{1} << thread) - 1))] = order[first + thread];
        }
        total += __popcll(chosen);
        for (int place = warp; place < size; place += static_cast<int>(blockDim.x) / kWarp) {
            if ((chosen >> place & 1) == 0) continue;
            const MaskWord* row = masks + (first + place) * words;
            for (std::int64_t later = word + 1 + lane; later < words; later += kWarp) {
                if (row[later] != 0) atomicOr(removed + later, row[later]);
            }
        }
    }
    if (thread == 0) *kept_count = total;
}

}  // namespace detail

// Writes the kept indices in descending score and how many there are. `Boxes` lives on the device: load(index) gives a box,
// suppresses(kept, candidate) compares two of them.
template <typename T, typename Boxes>
Status suppress_cuda(const T* scores, std::int64_t count, const Boxes& boxes, const SuppressionScratch& scratch,
                     std::int64_t* kept, std::int64_t* kept_count, Stream stream) {
    const std::int64_t words = SuppressionScratch::words(count);
    const unsigned tiles = static_cast<unsigned>(words);
    Status status =
        launch(detail::place_boxes<T>, blocks_for(count, 256 / kWarp), 256, 0, stream, scores, count, scratch.order);
    if (status != Status::ok) return status;
    status = launch(detail::fill_masks<Boxes>, dim3(tiles, tiles), 256, 0, stream, boxes, scratch.order, count, words,
                    scratch.masks);
    if (status != Status::ok) return status;
    return launch(detail::keep_greedily, 1, 512, static_cast<std::size_t>(words) * sizeof(MaskWord), stream, scratch.order,
                  scratch.masks, count, words, kept, kept_count);
}

}  // namespace perception
