#include "points_in_boxes.h"

#include <algorithm>

namespace perception {
namespace {

constexpr std::int64_t kBlock = 256;  // points that one pass over the boxes looks at

// A block of points by columns, which the compiler turns into vector comparisons.
template <typename T>
struct PointBlock {
    T x[kBlock], y[kBlock], z[kBlock];

    PointBlock(const T* points, std::int64_t size) {
        for (std::int64_t i = 0; i < size; ++i) {
            x[i] = points[3 * i];
            y[i] = points[3 * i + 1];
            z[i] = points[3 * i + 2];
        }
    }
};

// Prepares the boxes and calls work(boxes, first point, number of points) block by block.
template <typename T, typename Work>
Status for_blocks(const T* rows, std::int64_t box_count, std::int64_t point_count, void* workspace,
                  std::size_t workspace_bytes, int threads, const Work& work) {
    Workspace memory(workspace, workspace_bytes);
    auto* const boxes = memory.take<UprightBox<T>>(box_count);
    if (!memory.fits()) return Status::workspace_too_small;
    for (std::int64_t k = 0; k < box_count; ++k) boxes[k] = make_upright_box(rows + 7 * k);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t begin = 0; begin < point_count; begin += kBlock) {
        work(boxes, begin, std::min(kBlock, point_count - begin));
    }
    return Status::ok;
}

}  // namespace

std::size_t points_in_boxes_workspace_bytes(std::int64_t box_count, std::size_t value_bytes) {
    static_assert(sizeof(UprightBox<float>) == 8 * sizeof(float));
    Workspace workspace;
    workspace.take<std::byte>(8 * box_count * static_cast<std::int64_t>(value_bytes));
    return workspace.bytes();
}

template <typename T>
Status points_in_boxes_cpu(const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count,
                           std::int64_t* first, void* workspace, std::size_t workspace_bytes, int threads) {
    const auto work = [=](const UprightBox<T>* prepared, std::int64_t begin, std::int64_t size) {
        const PointBlock<T> block(points + 3 * begin, size);
        std::int32_t found[kBlock];
        std::fill(found, found + size, -1);
        for (std::int64_t k = box_count - 1; k >= 0; --k) {  // backwards: the first box writes last
            const UprightBox<T> box = prepared[k];
#pragma omp simd
            for (std::int64_t i = 0; i < size; ++i) {
                found[i] = box.contains(block.x[i], block.y[i], block.z[i]) ? static_cast<std::int32_t>(k) : found[i];
            }
        }
        std::copy(found, found + size, first + begin);
    };
    return for_blocks(boxes, box_count, point_count, workspace, workspace_bytes, threads, work);
}

template <typename T>
Status points_in_boxes_all_cpu(const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count,
                               bool* inside, void* workspace, std::size_t workspace_bytes, int threads) {
    const auto work = [=](const UprightBox<T>* prepared, std::int64_t begin, std::int64_t size) {
        for (std::int64_t i = begin; i < begin + size; ++i) {
            for (std::int64_t k = 0; k < box_count; ++k) {
                inside[i * box_count + k] = prepared[k].contains(points[3 * i], points[3 * i + 1], points[3 * i + 2]);
            }
        }
    };
    return for_blocks(boxes, box_count, point_count, workspace, workspace_bytes, threads, work);
}

#define PERCEPTION_INSTANTIATE(T)                                                                                     \
    template Status points_in_boxes_cpu(const T*, std::int64_t, const T*, std::int64_t, std::int64_t*, void*,         \
                                        std::size_t, int);                                                            \
    template Status points_in_boxes_all_cpu(const T*, std::int64_t, const T*, std::int64_t, bool*, void*, std::size_t, \
                                            int);
PERCEPTION_INSTANTIATE(float)
PERCEPTION_INSTANTIATE(double)

}  // namespace perception
