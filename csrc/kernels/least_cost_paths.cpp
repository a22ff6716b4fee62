#include "least_cost_paths.h"

#include <algorithm>
#include <bit>
#include <limits>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace perception {
namespace {

constexpr std::int64_t kSample = 13;  // every so many costs make the mean that the threshold grows by; reads every cache line

// Of the mean cost. Less makes more steps, more relaxes pixels that will change again.
template <typename T>
constexpr T kStep = T{0.5};

enum State : std::uint8_t { idle, in_near, in_far };

// What one image needs beside its result. A pixel stands in each list once at most.
struct Lists {
    std::int32_t *near, *far;  // [pixels]
    State* state;              // [pixels]
    bool* border;              // [pixels]
};

Lists layout_lists(Workspace& workspace, std::int64_t pixels) {
    return {workspace.take<std::int32_t>(pixels), workspace.take<std::int32_t>(pixels), workspace.take<State>(pixels),
            workspace.take<bool>(pixels)};
}

template <typename T>
T mean_cost(const T* costs, std::int64_t count) {
    T sum = 0;
    std::int64_t known = 0;
    for (std::int64_t i = 0; i < count; i += kSample) {
        if (costs[i] >= T{0} && costs[i] < std::numeric_limits<T>::infinity()) {
            sum += costs[i];
            ++known;
        }
    }
    return known > 0 ? sum / static_cast<T>(known) : T{0};
}

// The near-far form of delta-stepping (Meyer and Sanders, 2003; Davidson et al., 2014): pixels below a threshold are relaxed
// in turn until none is left, then the threshold grows. No pixel below the old one can change again, so that the result is
// Dijkstra's, without a heap.
template <typename T>
class Search {
public:
    Search(const T* costs, std::int64_t height, std::int64_t width, T* distance, std::int32_t* nearest, const Lists& lists)
        : costs_(costs), height_(height), width_(width), pixels_(height * width), distance_(distance), nearest_(nearest),
          lists_(lists), step_(kStep<T> * mean_cost(costs, kPathEdges * pixels_)) {}

    void run(const std::int64_t* sources, std::int64_t count, std::int64_t image) {
        std::fill_n(distance_, pixels_, kInfinity);
        std::fill_n(nearest_, pixels_, -1);
        std::fill_n(lists_.state, pixels_, idle);
        std::fill_n(lists_.border, pixels_, false);
        std::fill_n(lists_.border, width_, true);
        std::fill_n(lists_.border + pixels_ - width_, width_, true);
        for (std::int64_t start = 0; start < pixels_; start += width_) {
            lists_.border[start] = lists_.border[start + width_ - 1] = true;
        }
        threshold_ = step_ > T{0} ? step_ : kInfinity;
        for (std::int64_t s = 0; s < count; ++s) {
            const std::int64_t row = sources[3 * s + 1], column = sources[3 * s + 2];
            if (sources[3 * s] != image || row < 0 || row >= height_ || column < 0 || column >= width_) continue;
            reach(row * width_ + column, T{0}, static_cast<std::int32_t>(s));
        }
        do {
            while (near_size_ > 0) relax_neighbours(take_near());
        } while (grow());
    }

private:
    static constexpr T kInfinity = std::numeric_limits<T>::infinity();

    void reach(std::int64_t pixel, T way, std::int32_t source) {
        // No source has the number -1: an unreached pixel's distance is infinite, and so is no way.
        if (!(way < distance_[pixel] || (way == distance_[pixel] && source < nearest_[pixel]))) return;
        distance_[pixel] = way;
        nearest_[pixel] = source;
        State& state = lists_.state[pixel];
        if (way < threshold_) {
            if (state == in_near) return;
            state = in_near;
            lists_.near[near_size_++] = static_cast<std::int32_t>(pixel);
        } else if (state == idle) {
            state = in_far;
            lists_.far[far_size_++] = static_cast<std::int32_t>(pixel);
        }
    }

    std::int64_t take_near() {
        const std::int64_t pixel = lists_.near[--near_size_];
        lists_.state[pixel] = idle;
        return pixel;
    }

    void relax_neighbours(std::int64_t pixel) {
        const T from = distance_[pixel];
        const std::int32_t source = nearest_[pixel];
        const T *across = costs_, *along = across + pixels_, *falling = along + pixels_, *rising = falling + pixels_;
        const std::int64_t above = pixel - width_, below = pixel + width_;
        if (!lists_.border[pixel]) {
            // Most neighbours do not change. All are compared before any is touched, without a branch to guess wrong.
            const std::int64_t to[] = {pixel + 1, pixel - 1, below, below + 1, below - 1, above, above - 1, above + 1};
            const T cost[] = {across[pixel], across[pixel - 1], along[pixel],       falling[pixel],
                              rising[pixel], along[above],      falling[above - 1], rising[above + 1]};
            unsigned open = 0;
            for (unsigned k = 0; k < 8; ++k) {
                open |= static_cast<unsigned>((cost[k] >= T{0}) & (from + cost[k] <= distance_[to[k]])) << k;
            }
            for (; open != 0; open &= open - 1) {
                const int k = std::countr_zero(open);
                reach(to[k], from + cost[k], source);
            }
            return;
        }
        const auto relax = [&](std::int64_t to, T cost) {
            if (cost >= T{0}) reach(to, from + cost, source);
        };
        const std::int64_t row = pixel / width_, column = pixel - row * width_;
        const bool up = row > 0, down = row + 1 < height_, left = column > 0, right = column + 1 < width_;
        if (right) relax(pixel + 1, across[pixel]);
        if (left) relax(pixel - 1, across[pixel - 1]);
        if (down) {
            relax(below, along[pixel]);
            if (right) relax(below + 1, falling[pixel]);
            if (left) relax(below - 1, rising[pixel]);
        }
        if (up) {
            relax(above, along[above]);
            if (left) relax(above - 1, falling[above - 1]);
            if (right) relax(above + 1, rising[above + 1]);
        }
    }

    // Raises the threshold and moves what lies below it from far to near; false where nothing is left.
    bool grow() {
        T least = kInfinity;
        std::int64_t kept = 0;
        for (std::int64_t i = 0; i < far_size_; ++i) {
            const std::int32_t pixel = lists_.far[i];
            if (lists_.state[pixel] != in_far) continue;  // it came near, and was relaxed
            lists_.far[kept++] = pixel;
            least = std::min(least, distance_[pixel]);
        }
        far_size_ = 0;
        if (kept == 0) return false;
        threshold_ = least + step_;
        if (!(threshold_ > least)) threshold_ = kInfinity;  // so far away that a step is lost in rounding
        for (std::int64_t i = 0; i < kept; ++i) {
            const std::int32_t pixel = lists_.far[i];
            if (distance_[pixel] < threshold_) {
                lists_.state[pixel] = in_near;
                lists_.near[near_size_++] = pixel;
            } else {
                lists_.far[far_size_++] = pixel;
            }
        }
        return true;
    }

    const T* costs_;
    std::int64_t height_, width_, pixels_;
    T* distance_;
    std::int32_t* nearest_;
    Lists lists_;
    T step_, threshold_ = 0;
    std::int64_t near_size_ = 0, far_size_ = 0;
};

}  // namespace

std::size_t least_cost_paths_workspace_bytes_cpu(std::int64_t images, std::int64_t height, std::int64_t width, int threads) {
    Workspace workspace;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(images, threads); ++i) layout_lists(workspace, height * width);
    return workspace.bytes();
}

template <typename T>
Status least_cost_paths_cpu(const T* costs, const std::int64_t* sources, std::int64_t count, std::int64_t images,
                            std::int64_t height, std::int64_t width, T* distance, std::int32_t* nearest, void* workspace,
                            std::size_t workspace_bytes, int threads) {
    const std::int64_t pixels = height * width, most = std::numeric_limits<std::int32_t>::max();
    if (count < 0 || images < 0 || height < 0 || width < 0 || threads < 1 || pixels > most || count > most) {
        return Status::bad_argument;
    }
    const std::size_t needed = least_cost_paths_workspace_bytes_cpu(images, height, width, threads);
    if (workspace_bytes < needed) return Status::workspace_too_small;
    if (images == 0 || pixels == 0) return Status::ok;
    const int workers = static_cast<int>(std::min<std::int64_t>(images, threads));
    const std::size_t each = needed / static_cast<std::size_t>(workers);
#pragma omp parallel for schedule(dynamic) num_threads(workers)
    for (std::int64_t image = 0; image < images; ++image) {
#if defined(_OPENMP)
        const int worker = omp_get_thread_num();
#else
        const int worker = 0;
#endif
        Workspace memory(static_cast<std::byte*>(workspace) + each * static_cast<std::size_t>(worker), each);
        const Lists lists = layout_lists(memory, pixels);
        const std::int64_t offset = image * pixels;
        Search<T>(costs + kPathEdges * offset, height, width, distance + offset, nearest + offset, lists)
            .run(sources, count, image);
    }
    return Status::ok;
}

template Status least_cost_paths_cpu(const float*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                                     float*, std::int32_t*, void*, std::size_t, int);
template Status least_cost_paths_cpu(const double*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                                     double*, std::int32_t*, void*, std::size_t, int);

}  // namespace perception
