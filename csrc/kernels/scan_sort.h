// Grouping by key, which several ops share: stable radix sort of packed keys, then the runs of equal keys.
//
// A key and the index of its item share 64 bits: key << index_bits | index. Only the key's bits are sorted; the sort is stable,
// so the items of a run stay in ascending order, on either processor and with any number of threads.
#pragma once

#include "platform.h"

namespace perception {

struct KeyLayout {
    int index_bits;
    int key_bits;

    bool fits() const { return index_bits + key_bits <= 64; }
};

// Layout for `items` items with keys 0..largest_key.
inline KeyLayout key_layout(std::int64_t items, std::int64_t largest_key) {
    const auto bits = [](std::int64_t largest) { return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(largest))); };
    return {bits(items > 0 ? items - 1 : 0), bits(largest_key)};
}

PERCEPTION_HD inline std::uint64_t pack_key(std::uint64_t key, std::int64_t index, int index_bits) {
    return key << index_bits | static_cast<std::uint64_t>(index);
}
PERCEPTION_HD inline std::uint64_t unpack_key(std::uint64_t packed, int index_bits) { return packed >> index_bits; }
PERCEPTION_HD inline std::int64_t unpack_index(std::uint64_t packed, int index_bits) {
    return static_cast<std::int64_t>(packed & ((std::uint64_t{1} << index_bits) - 1));
}

// The runs of equal keys below `end_key`; items with other keys belong to none.
struct Runs {
    std::uint64_t end_key;
    std::int64_t capacity;  // runs that `offsets` and `keys` have room for
    std::int64_t* order;    // [items] items by key
    std::int64_t* offsets;  // [capacity+1] run r holds order[offsets[r]..offsets[r+1])
    std::uint64_t* keys;    // [capacity] key of each run, or null
    std::int64_t* run_of;   // [items] run of each item, -1 for none; or null
    std::int64_t* count;    // [1] number of runs
};

// Groups `items` packed keys. `packed` and `spare` hold [items] each; both are overwritten.
std::size_t group_workspace_bytes_cpu(std::int64_t items, int threads);
Status group_cpu(std::uint64_t* packed, std::uint64_t* spare, std::int64_t items, KeyLayout layout, const Runs& runs,
                 void* workspace, std::size_t workspace_bytes, int threads);

std::size_t group_workspace_bytes_cuda(std::int64_t items, KeyLayout layout);
Status group_cuda(std::uint64_t* packed, std::uint64_t* spare, std::int64_t items, KeyLayout layout, const Runs& runs,
                  void* workspace, std::size_t workspace_bytes, Stream stream);

}  // namespace perception
