// Inputs of window_partition with a plain twin, for the CPU kernel and for the CUDA kernel on the shim.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "testing.h"
#include "window_partition.h"

namespace testing {

struct WindowInput {
    const char* name;
    std::vector<std::int32_t> coords;  // [tokens,4] b z y x
    perception::WindowGrid grid;
    std::int64_t tokens() const { return static_cast<std::int64_t>(coords.size() / 4); }
};

struct WindowResult {
    std::vector<std::int64_t> order, offsets;
    std::vector<std::int32_t> position;
    bool operator==(const WindowResult&) const = default;
};

// Windows of the grid that a coordinate can fall into, found by trying every cell.
inline std::int64_t windows_of(const perception::WindowGrid& grid, bool shifted) {
    std::int64_t windows = grid.batch_size;
    for (int axis = 0; axis < 3; ++axis) {
        const bool fixed = axis == 0 && grid.window[0] >= grid.size[0];
        const std::int64_t shift = fixed ? 0 : shifted ? grid.window[axis] / 2 : grid.window[axis];
        std::int64_t most = 0;
        for (std::int64_t cell = 0; cell < grid.size[axis]; ++cell) most = std::max(most, (cell + shift) / grid.window[axis]);
        windows *= most + 1;
    }
    return windows;
}

// What a partition promises, by an ordered map from window to tokens.
inline WindowResult expected_partition(const WindowInput& input, bool shifted) {
    std::map<std::array<int, 4>, std::vector<std::int64_t>> windows;
    WindowResult result{{}, {0}, {}};
    for (std::int64_t token = 0; token < input.tokens(); ++token) {
        const std::int32_t* coords = input.coords.data() + 4 * token;
        std::array<int, 4> window{coords[0], 0, 0, 0};
        for (int axis = 0; axis < 3; ++axis) {
            const auto size = static_cast<int>(input.grid.window[axis]);
            int shift = shifted ? size / 2 : size;
            if (axis == 0 && size >= input.grid.size[0]) shift = 0;
            window[static_cast<std::size_t>(axis + 1)] = (coords[axis + 1] + shift) / size;
            result.position.push_back((coords[axis + 1] + shift) % size);
        }
        windows[window].push_back(token);
    }
    for (const auto& [window, tokens] : windows) {
        result.order.insert(result.order.end(), tokens.begin(), tokens.end());
        result.offsets.push_back(static_cast<std::int64_t>(result.order.size()));
    }
    const std::int64_t capacity = std::min(input.tokens(), windows_of(input.grid, shifted));
    result.offsets.resize(static_cast<std::size_t>(capacity + 1), input.tokens());
    return result;
}

inline std::vector<WindowInput> window_inputs(int large) {
    const auto scattered = [](const char* name, int count, perception::WindowGrid grid, bool skip_sample_1) {
        Random random(static_cast<std::uint32_t>(count));
        std::set<std::array<std::int32_t, 4>> cells;
        while (static_cast<int>(cells.size()) < count) {
            const int sample = random.integer(static_cast<int>(grid.batch_size));
            if (skip_sample_1 && sample == 1) continue;
            cells.insert({sample, random.integer(static_cast<int>(grid.size[0])),
                          random.integer(static_cast<int>(grid.size[1])), random.integer(static_cast<int>(grid.size[2]))});
        }
        WindowInput input{name, {}, grid};
        for (const auto& cell : cells) input.coords.insert(input.coords.end(), cell.begin(), cell.end());
        return input;
    };
    const perception::WindowGrid flat{{1, 320, 320}, {1, 12, 12}, 3};
    std::vector<WindowInput> inputs;
    inputs.push_back({"no tokens", {}, flat});
    inputs.push_back({"one token", {2, 0, 319, 319}, flat});
    inputs.push_back(scattered("flat, sample 1 empty", large, flat, true));
    inputs.push_back(scattered("tall windows over part of the height", 1111, {{13, 17, 31}, {5, 3, 7}, 2}, false));
    inputs.push_back(scattered("tall windows over the whole height", 500, {{4, 9, 10}, {6, 4, 12}, 2}, false));
    inputs.push_back(scattered("windows of one cell", 200, {{2, 20, 20}, {1, 1, 1}, 1}, false));

    WindowInput full{"full windows, tokens from last to first", {}, {{1, 24, 24}, {1, 12, 12}, 1}};
    for (int y = 23; y >= 0; --y) {
        for (int x = 23; x >= 0; --x) full.coords.insert(full.coords.end(), {0, 0, y, x});
    }
    inputs.push_back(full);
    return inputs;
}

struct PartitionBuffers {
    std::vector<std::int64_t> order, offsets;
    std::vector<std::int32_t> position;
    perception::Partition partition;

    PartitionBuffers(const WindowInput& input, bool shifted) {
        const std::int64_t capacity = std::min(input.tokens(), windows_of(input.grid, shifted));
        order = garbage<std::int64_t>(input.tokens());
        offsets = garbage<std::int64_t>(capacity + 1);
        position = garbage<std::int32_t>(input.tokens() * 3);
        partition = {order.data(), offsets.data(), position.data(), capacity};
    }
    WindowResult result() const { return {order, offsets, position}; }
};

// One token inside the grid, four outside.
inline WindowInput tokens_outside() {
    return {"outside", {0, 0, 320, 0, 0, 0, 0, -1, 0, 0, 5, 5, 3, 0, 0, 0, 0, 1, 0, 0}, {{1, 320, 320}, {1, 12, 12}, 3}};
}

inline WindowResult expected_outside() {
    return {{2, 0, 1, 3, 4}, {0, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0, 0, 5, 5, 0, 0, 0, 0, 0, 0}};
}

}  // namespace testing
