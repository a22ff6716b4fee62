#include "least_cost_paths.h"

#include <algorithm>
#include <limits>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace perception {
namespace {

template <typename T>
struct Entry {
    T distance;
    std::int32_t source, pixel;
};

// A heap of four children per node, whose entries may be out of date: a pixel that is reached anew is pushed again.
template <typename T>
class Heap {
public:
    explicit Heap(Entry<T>* memory) : entries_(memory) {}

    bool empty() const { return size_ == 0; }

    void push(const Entry<T>& entry) {
        std::int64_t at = size_++;
        while (at > 0) {
            const std::int64_t parent = (at - 1) / 4;
            if (!before(entry, entries_[parent])) break;
            entries_[at] = entries_[parent];
            at = parent;
        }
        entries_[at] = entry;
    }

    Entry<T> pop() {
        const Entry<T> top = entries_[0], last = entries_[--size_];
        std::int64_t at = 0;
        for (;;) {
            const std::int64_t first = 4 * at + 1;
            if (first >= size_) break;
            std::int64_t best = first;
            for (std::int64_t child = first + 1; child < std::min(first + 4, size_); ++child) {
                if (before(entries_[child], entries_[best])) best = child;
            }
            if (!before(entries_[best], last)) break;
            entries_[at] = entries_[best];
            at = best;
        }
        entries_[at] = last;
        return top;
    }

private:
    static bool before(const Entry<T>& a, const Entry<T>& b) { return nearer(a.distance, a.source, b.distance, b.source); }

    Entry<T>* entries_;
    std::int64_t size_ = 0;
};

// A pixel relaxes each of its eight edges once, when it is settled; so many entries there are at most, beside the sources.
std::int64_t heap_capacity(std::int64_t pixels) { return 2 * kPathEdges * pixels + pixels; }

// Dijkstra's algorithm (1959) from all sources at once.
template <typename T>
void solve(const T* costs, const std::int64_t* sources, std::int64_t count, std::int64_t image, std::int64_t height,
           std::int64_t width, T* distance, std::int32_t* nearest, Entry<T>* memory) {
    const std::int64_t pixels = height * width;
    std::fill_n(distance, pixels, std::numeric_limits<T>::infinity());
    std::fill_n(nearest, pixels, -1);
    Heap<T> heap(memory);
    for (std::int64_t s = 0; s < count; ++s) {
        const std::int64_t row = sources[3 * s + 1], column = sources[3 * s + 2];
        if (sources[3 * s] != image || row < 0 || row >= height || column < 0 || column >= width) continue;
        const std::int64_t pixel = row * width + column;
        if (nearest[pixel] >= 0) continue;  // a source of lower index is there
        distance[pixel] = T{0};
        nearest[pixel] = static_cast<std::int32_t>(s);
        heap.push({T{0}, nearest[pixel], static_cast<std::int32_t>(pixel)});
    }
    const auto relax = [&](const Entry<T>& from, std::int64_t to, T cost) {
        if (!(cost >= T{0})) return;
        const T way = from.distance + cost;
        if (way < std::numeric_limits<T>::infinity() && (nearest[to] < 0 || nearer(way, from.source, distance[to], nearest[to]))) {
            distance[to] = way;
            nearest[to] = from.source;
            heap.push({way, from.source, static_cast<std::int32_t>(to)});
        }
    };
    while (!heap.empty()) {
        const Entry<T> entry = heap.pop();
        const std::int64_t pixel = entry.pixel;
        if (nearest[pixel] != entry.source || distance[pixel] != entry.distance) continue;  // out of date
        const std::int64_t row = pixel / width, column = pixel - row * width;
        for (int edge = 0; edge < kPathEdges; ++edge) {
            const std::int64_t down = kPathRows[edge], right = kPathColumns[edge], step = down * width + right;
            const T* const plane = costs + edge * pixels;
            if (row + down < height && column + right >= 0 && column + right < width) relax(entry, pixel + step, plane[pixel]);
            if (row >= down && column - right >= 0 && column - right < width) relax(entry, pixel - step, plane[pixel - step]);
        }
    }
}

}  // namespace

std::size_t least_cost_paths_workspace_bytes_cpu(std::int64_t images, std::int64_t height, std::int64_t width,
                                                 std::size_t value_bytes, int threads) {
    const std::size_t entry = value_bytes == sizeof(float) ? sizeof(Entry<float>) : sizeof(Entry<double>);
    const std::int64_t heaps = std::min<std::int64_t>(images, threads);
    Workspace workspace;
    workspace.take<std::byte>(heaps * heap_capacity(height * width) * static_cast<std::int64_t>(entry));
    return workspace.bytes();
}

template <typename T>
Status least_cost_paths_cpu(const T* costs, const std::int64_t* sources, std::int64_t count, std::int64_t images,
                            std::int64_t height, std::int64_t width, T* distance, std::int32_t* nearest, void* workspace,
                            std::size_t workspace_bytes, int threads) {
    const std::int64_t pixels = height * width, capacity = heap_capacity(pixels);
    if (count < 0 || images < 0 || height < 0 || width < 0 || threads < 1) return Status::bad_argument;
    if (pixels > std::numeric_limits<std::int32_t>::max() || count > std::numeric_limits<std::int32_t>::max()) {
        return Status::bad_argument;
    }
    const int workers = static_cast<int>(std::min<std::int64_t>(images, threads));
    Workspace memory(workspace, workspace_bytes);
    auto* const heaps = memory.take<Entry<T>>(workers * capacity);
    if (!memory.fits()) return Status::workspace_too_small;
    if (images == 0 || pixels == 0) return Status::ok;
#pragma omp parallel for schedule(dynamic) num_threads(workers)
    for (std::int64_t image = 0; image < images; ++image) {
#if defined(_OPENMP)
        Entry<T>* const heap = heaps + omp_get_thread_num() * capacity;
#else
        Entry<T>* const heap = heaps;
#endif
        solve(costs + image * kPathEdges * pixels, sources, count, image, height, width, distance + image * pixels,
              nearest + image * pixels, heap);
    }
    return Status::ok;
}

template Status least_cost_paths_cpu(const float*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                                     float*, std::int32_t*, void*, std::size_t, int);
template Status least_cost_paths_cpu(const double*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                                     double*, std::int32_t*, void*, std::size_t, int);

}  // namespace perception
