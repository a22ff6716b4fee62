#include "scan_sort.h"

#include <algorithm>
#include <utility>

namespace perception {
namespace {

constexpr int kMostDigitBits = 11;         // 2048 buckets: their write positions stay in the first-level cache
constexpr std::int64_t kChunkItems = 4096;  // fewer items per thread than this are not worth a thread
constexpr std::uint64_t kMostCountedKeys = 1 << 18;  // a counter of four bytes each stays in the second-level cache

// Items are cut into chunks, one per thread; results do not depend on how many there are.
struct Chunks {
    std::int64_t items;
    int count;

    std::int64_t begin(int chunk) const { return items * chunk / count; }
    std::int64_t end(int chunk) const { return items * (chunk + 1) / count; }
};

Chunks make_chunks(std::int64_t items, int threads) {
    return {items, static_cast<int>(std::clamp<std::int64_t>(items / kChunkItems, 1, std::max(threads, 1)))};
}

struct Scratch {
    std::int64_t* positions;  // [chunks, digits]
    std::int64_t* heads;      // [chunks]
};

Scratch layout_scratch(Workspace& workspace, int chunks) {
    return {workspace.take<std::int64_t>(std::int64_t{chunks} << kMostDigitBits), workspace.take<std::int64_t>(chunks)};
}

// One stable pass by the digit at `shift`.
void sort_pass(const std::uint64_t* source, std::uint64_t* target, Chunks chunks, int shift, int digit_bits,
               std::int64_t* positions) {
    const std::int64_t digits = std::int64_t{1} << digit_bits;
    const std::uint64_t mask = static_cast<std::uint64_t>(digits - 1);
#pragma omp parallel for schedule(static) num_threads(chunks.count)
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
        std::int64_t* counts = positions + chunk * digits;
        std::fill(counts, counts + digits, 0);
        for (std::int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) ++counts[source[i] >> shift & mask];
    }
    std::int64_t next = 0;
    for (std::int64_t digit = 0; digit < digits; ++digit) {
        for (int chunk = 0; chunk < chunks.count; ++chunk) {
            std::int64_t& position = positions[chunk * digits + digit];
            next += std::exchange(position, next);
        }
    }
#pragma omp parallel for schedule(static) num_threads(chunks.count)
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
        std::int64_t* position = positions + chunk * digits;
        for (std::int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
            target[position[source[i] >> shift & mask]++] = source[i];
        }
    }
}

// Writes order, offsets, keys and run_of from sorted keys.
void find_runs(const std::uint64_t* sorted, Chunks chunks, int index_bits, const Runs& runs, std::int64_t* heads) {
    const auto starts_run = [&](std::int64_t i) {
        const std::uint64_t key = unpack_key(sorted[i], index_bits);
        return key < runs.end_key && (i == 0 || key != unpack_key(sorted[i - 1], index_bits));
    };
#pragma omp parallel for schedule(static) num_threads(chunks.count)
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
        std::int64_t count = 0;
        for (std::int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) count += starts_run(i);
        heads[chunk] = count;
    }
    std::int64_t total = 0;
    for (int chunk = 0; chunk < chunks.count; ++chunk) total += std::exchange(heads[chunk], total);
    const std::int64_t count = std::min(total, runs.capacity);
    const auto in_run = [&](std::uint64_t packed) { return unpack_key(packed, index_bits) < runs.end_key; };
    const std::int64_t grouped = std::partition_point(sorted, sorted + chunks.items, in_run) - sorted;
#pragma omp parallel for schedule(static) num_threads(chunks.count)
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
        std::int64_t run = heads[chunk] - 1;
        for (std::int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
            const std::int64_t item = unpack_index(sorted[i], index_bits);
            if (starts_run(i) && ++run < runs.capacity) {
                runs.offsets[run] = i;
                if (runs.keys != nullptr) runs.keys[run] = unpack_key(sorted[i], index_bits);
            }
            runs.order[i] = item;
            if (runs.run_of != nullptr) runs.run_of[item] = i < grouped && run < runs.capacity ? run : -1;
        }
    }
    runs.offsets[count] = grouped;
    *runs.count = count;
}

// Few keys are counted instead of sorted: one counter per key and chunk, and the run of each key, in the memory of `spare`.
bool can_count(std::int64_t items, int chunks, std::uint64_t end_key) {
    return end_key < kMostCountedKeys && items <= INT32_MAX &&
           (chunks + 1) * (static_cast<std::int64_t>(end_key) + 1) <= items * 2;
}

void count_runs(const std::uint64_t* packed, std::uint32_t* tables, Chunks chunks, int index_bits, const Runs& runs) {
    const std::uint64_t end_key = runs.end_key;
    const std::int64_t keys = static_cast<std::int64_t>(end_key) + 1;  // the last one for all that belong to no run
    const auto key_of = [=](std::uint64_t item) { return std::min(unpack_key(item, index_bits), end_key); };
#pragma omp parallel for schedule(static) num_threads(chunks.count)
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
        std::uint32_t* counts = tables + chunk * keys;
        std::fill(counts, counts + keys, 0);
        for (std::int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) ++counts[key_of(packed[i])];
    }
    auto* const run_of_key = reinterpret_cast<std::int32_t*>(tables + chunks.count * keys);
    std::uint32_t next = 0, grouped = 0;
    std::int64_t run = 0;
    for (std::int64_t key = 0; key < keys; ++key) {
        grouped = next;
        for (int chunk = 0; chunk < chunks.count; ++chunk) {
            std::uint32_t& position = tables[chunk * keys + key];
            next += std::exchange(position, next);
        }
        run_of_key[key] = run < runs.capacity && key + 1 < keys ? static_cast<std::int32_t>(run) : -1;
        if (run < runs.capacity) {  // written for a key without items too, and again for the next key: no branch to predict
            runs.offsets[run] = grouped;
            if (runs.keys != nullptr) runs.keys[run] = static_cast<std::uint64_t>(key);
        }
        run += key + 1 < keys && next != grouped ? 1 : 0;
    }
    *runs.count = std::min(run, runs.capacity);
    runs.offsets[*runs.count] = grouped;
#pragma omp parallel for schedule(static) num_threads(chunks.count)
    for (int chunk = 0; chunk < chunks.count; ++chunk) {
        std::uint32_t* positions = tables + chunk * keys;
        for (std::int64_t i = chunks.begin(chunk); i < chunks.end(chunk); ++i) {
            const std::uint64_t key = key_of(packed[i]);
            const std::int64_t item = unpack_index(packed[i], index_bits);
            runs.order[positions[key]++] = item;
            if (runs.run_of != nullptr) runs.run_of[item] = run_of_key[key];
        }
    }
}

}  // namespace

std::size_t group_workspace_bytes_cpu(std::int64_t items, int threads) {
    Workspace workspace;
    layout_scratch(workspace, make_chunks(items, threads).count);
    return workspace.bytes();
}

Status group_cpu(std::uint64_t* packed, std::uint64_t* spare, std::int64_t items, KeyLayout layout, const Runs& runs,
                 void* workspace, std::size_t workspace_bytes, int threads) {
    if (items < 0 || !layout.fits()) return Status::bad_argument;
    const Chunks chunks = make_chunks(items, threads);
    Workspace memory(workspace, workspace_bytes);
    const Scratch scratch = layout_scratch(memory, chunks.count);
    if (!memory.fits()) return Status::workspace_too_small;

    if (can_count(items, chunks.count, runs.end_key)) {
        count_runs(packed, reinterpret_cast<std::uint32_t*>(spare), chunks, layout.index_bits, runs);
        return Status::ok;
    }
    // Equal digits instead of full ones and a remainder: fewer buckets per pass.
    const int passes = static_cast<int>(ceil_div(layout.key_bits, kMostDigitBits));
    for (int pass = 0; pass < passes; ++pass) {
        const int low = layout.key_bits * pass / passes, high = layout.key_bits * (pass + 1) / passes;
        sort_pass(packed, spare, chunks, layout.index_bits + low, high - low, scratch.positions);
        std::swap(packed, spare);
    }
    find_runs(packed, chunks, layout.index_bits, runs, scratch.heads);
    return Status::ok;
}

}  // namespace perception
