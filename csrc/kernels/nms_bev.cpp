#include "nms_bev.h"

namespace perception {
namespace {

constexpr std::int64_t kBlock = 64;  // kept boxes that are looked at together

// Bits of the kept circles in first..first+size that touch the circle (x, y, radius).
template <typename T>
std::uint64_t touching(const T* xs, const T* ys, const T* radii, std::int64_t size, T x, T y, T radius) {
    unsigned char near[kBlock];
#pragma omp simd
    for (std::int64_t i = 0; i < size; ++i) {
        const T dx = xs[i] - x, dy = ys[i] - y, reach = radii[i] + radius;
        near[i] = dx * dx + dy * dy <= reach * reach;
    }
    std::uint64_t bits = 0;
    for (std::int64_t i = 0; i < size; ++i) bits |= std::uint64_t{near[i]} << i;
    return bits;
}

template <typename T>
struct KeptBoxes {
    const T* rows;
    T threshold;
    BevBox<T>* boxes;  // [count] kept so far
    T *xs, *ys, *radii;
    std::int64_t size = 0;
    BevBox<T> candidate{};  // of the last question

    bool suppresses(std::int64_t index) {
        candidate = make_bev_box(rows + 5 * index);
        const T radius = candidate.radius();
        for (std::int64_t first = 0; first < size; first += kBlock) {
            std::uint64_t near = touching(xs + first, ys + first, radii + first, std::min(kBlock, size - first),
                                          candidate.x, candidate.y, radius);
            for (; near != 0; near &= near - 1) {
                if (iou_of(boxes[first + std::countr_zero(near)], candidate) > threshold) return true;
            }
        }
        return false;
    }

    void add(std::int64_t) {
        boxes[size] = candidate;
        xs[size] = candidate.x;
        ys[size] = candidate.y;
        radii[size++] = candidate.radius();
    }
};

template <typename T>
struct KeptCentres {
    const T* rows;
    T squared_radius;
    T *xs, *ys;
    std::int64_t size = 0;

    bool suppresses(std::int64_t index) const {
        const T x = rows[2 * index], y = rows[2 * index + 1];
        for (std::int64_t first = 0; first < size; first += kBlock) {
            const std::int64_t end = std::min(first + kBlock, size);
            bool near = false;
#pragma omp simd reduction(| : near)
            for (std::int64_t i = first; i < end; ++i) {
                const T dx = xs[i] - x, dy = ys[i] - y;
                near |= dx * dx + dy * dy <= squared_radius;
            }
            if (near) return true;
        }
        return false;
    }

    void add(std::int64_t index) {
        xs[size] = rows[2 * index];
        ys[size++] = rows[2 * index + 1];
    }
};

}  // namespace

std::size_t nms_bev_workspace_bytes_cpu(std::int64_t count, std::size_t value_bytes) {
    Workspace workspace;
    workspace.take<std::int64_t>(count);
    for (const std::int64_t values : {6, 1, 1, 1}) {
        workspace.take<std::byte>(values * count * static_cast<std::int64_t>(value_bytes));
    }
    return workspace.bytes();
}

template <typename T>
Status nms_bev_cpu(const T* boxes, const T* scores, std::int64_t count, T threshold, std::int64_t* kept,
                   std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes) {
    Workspace memory(workspace, workspace_bytes);
    auto* const order = memory.take<std::int64_t>(count);
    auto* const kept_boxes = memory.take<BevBox<T>>(count);
    auto *const xs = memory.take<T>(count), *const ys = memory.take<T>(count), *const radii = memory.take<T>(count);
    if (!memory.fits()) return Status::workspace_too_small;
    KeptBoxes<T> set{boxes, threshold, kept_boxes, xs, ys, radii};
    *kept_count = suppress(scores, count, set, order, kept);
    return Status::ok;
}

std::size_t circle_nms_workspace_bytes_cpu(std::int64_t count, std::size_t value_bytes) {
    Workspace workspace;
    workspace.take<std::int64_t>(count);
    for (int axis = 0; axis < 2; ++axis) workspace.take<std::byte>(count * static_cast<std::int64_t>(value_bytes));
    return workspace.bytes();
}

template <typename T>
Status circle_nms_cpu(const T* centres, const T* scores, std::int64_t count, T radius, std::int64_t* kept,
                      std::int64_t* kept_count, void* workspace, std::size_t workspace_bytes) {
    Workspace memory(workspace, workspace_bytes);
    auto* const order = memory.take<std::int64_t>(count);
    auto *const xs = memory.take<T>(count), *const ys = memory.take<T>(count);
    if (!memory.fits()) return Status::workspace_too_small;
    KeptCentres<T> set{centres, radius * radius, xs, ys};
    *kept_count = suppress(scores, count, set, order, kept);
    return Status::ok;
}

#define PERCEPTION_INSTANTIATE(T)                                                                                        \
    template Status nms_bev_cpu(const T*, const T*, std::int64_t, T, std::int64_t*, std::int64_t*, void*, std::size_t);  \
    template Status circle_nms_cpu(const T*, const T*, std::int64_t, T, std::int64_t*, std::int64_t*, void*, std::size_t);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)

}  // namespace perception
