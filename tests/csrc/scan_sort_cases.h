// Inputs of grouping by key with a plain twin, for the CPU and for the CUDA kernels on the shim.
#pragma once

#include <algorithm>
#include <numeric>

#include "scan_sort.h"
#include "testing.h"

namespace testing {

struct GroupInput {
    std::string name;
    std::vector<std::uint64_t> keys;
    std::uint64_t largest_key, end_key;
    std::int64_t capacity;
};

struct GroupResult {
    std::vector<std::int64_t> order, offsets, run_of;
    std::vector<std::uint64_t> keys;
    bool operator==(const GroupResult&) const = default;
};

inline GroupResult expected_groups(const GroupInput& input) {
    const std::size_t items = input.keys.size();
    GroupResult result{std::vector<std::int64_t>(items), {}, std::vector<std::int64_t>(items, -1), {}};
    std::iota(result.order.begin(), result.order.end(), std::int64_t{0});
    const auto key_of = [&](std::int64_t item) { return input.keys[static_cast<std::size_t>(item)]; };
    std::stable_sort(result.order.begin(), result.order.end(), [&](auto a, auto b) { return key_of(a) < key_of(b); });
    std::int64_t run = -1, grouped = 0;
    for (const std::int64_t item : result.order) {
        if (key_of(item) >= input.end_key) break;
        if (grouped == 0 || key_of(item) != key_of(result.order[static_cast<std::size_t>(grouped - 1)])) {
            if (++run < input.capacity) {
                result.offsets.push_back(grouped);
                result.keys.push_back(key_of(item));
            }
        }
        if (run < input.capacity) result.run_of[static_cast<std::size_t>(item)] = run;
        ++grouped;
    }
    result.offsets.push_back(grouped);
    return result;
}

inline std::vector<GroupInput> group_inputs() {
    Random random(17);
    std::vector<GroupInput> inputs;
    const auto add = [&](const std::string& name, std::int64_t items, std::uint64_t largest, const auto& key_at) {
        GroupInput input{name + " " + std::to_string(items), {}, largest, largest, items};
        for (std::int64_t i = 0; i < items; ++i) input.keys.push_back(key_at(i));
        inputs.push_back(input);
    };
    // Around the tiles and the digits of either processor.
    for (const std::int64_t items : {0, 1, 2, 33, 550, 3584, 3585, 7169}) {
        add("few keys", items, 5, [&](std::int64_t) { return static_cast<std::uint64_t>(random.integer(6)); });
        add("17 bits", items, 102400, [&](std::int64_t) { return static_cast<std::uint64_t>(random.integer(102401)); });
    }
    const std::uint64_t wide = (std::uint64_t{1} << 44) - 1;
    add("44 bits", 4000, wide, [&](std::int64_t) {
        const auto high = static_cast<std::uint64_t>(random.integer(1 << 30)) << 14;
        return high | static_cast<std::uint64_t>(random.integer(3));
    });
    add("one key", 4000, 300, [](std::int64_t) { return std::uint64_t{299}; });
    add("no key below the end", 4000, 300, [](std::int64_t) { return std::uint64_t{300}; });
    add("descending", 4000, 4000, [](std::int64_t i) { return static_cast<std::uint64_t>(3999 - i); });
    add("no bits", 5000, 0, [](std::int64_t) { return std::uint64_t{0}; });
    inputs.back().end_key = 1;
    add("room for few runs", 4000, 500, [&](std::int64_t) { return static_cast<std::uint64_t>(random.integer(501)); });
    inputs.back().capacity = 123;
    add("room for no run", 100, 500, [&](std::int64_t) { return static_cast<std::uint64_t>(random.integer(501)); });
    inputs.back().capacity = 0;
    return inputs;
}

// Checks group(packed, spare, items, layout, runs) on every input, with and without the arrays that may be null.
template <typename Group>
void check_grouping(const Group& group) {
    for (const GroupInput& input : group_inputs()) {
        const GroupResult expected = expected_groups(input);
        const auto items = static_cast<std::int64_t>(input.keys.size());
        const perception::KeyLayout layout = perception::key_layout(items, static_cast<std::int64_t>(input.largest_key));
        for (const bool all : {true, false}) {
            if (!all && items > 1000) continue;
            auto packed = garbage<std::uint64_t>(items), spare = garbage<std::uint64_t>(items);
            for (std::int64_t i = 0; i < items; ++i) {
                const auto at = static_cast<std::size_t>(i);
                packed[at] = perception::pack_key(input.keys[at], i, layout.index_bits);
            }
            auto order = garbage<std::int64_t>(items), offsets = garbage<std::int64_t>(input.capacity + 1);
            auto run_of = garbage<std::int64_t>(items), count = garbage<std::int64_t>(1);
            auto keys = garbage<std::uint64_t>(input.capacity);
            const perception::Runs runs{input.end_key, input.capacity, order.data(), offsets.data(),
                                        all ? keys.data() : nullptr, all ? run_of.data() : nullptr, count.data()};
            const bool ok = group(packed.data(), spare.data(), items, layout, runs) == perception::Status::ok;
            if (!ok || count[0] + 1 != static_cast<std::int64_t>(expected.offsets.size())) {
                report(__FILE__, __LINE__, input.name);
                continue;
            }
            offsets.resize(expected.offsets.size());
            keys.resize(expected.keys.size());
            const bool same = all ? GroupResult{order, offsets, run_of, keys} == expected
                                  : order == expected.order && offsets == expected.offsets;
            if (!same) report(__FILE__, __LINE__, input.name);
        }
    }
}

}  // namespace testing
