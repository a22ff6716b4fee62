// Which points lie in which rotated 3D boxes. The surface of a box belongs to it.
#pragma once

#include <cmath>

#include "platform.h"

namespace perception {

template <typename T>
struct UprightBox {
    T x, y, z, half_length, half_width, half_height, cos, sin;

    PERCEPTION_HD bool contains(T px, T py, T pz) const {
        const T dx = px - x, dy = py - y;
        return std::abs(cos * dx + sin * dy) <= half_length && std::abs(cos * dy - sin * dx) <= half_width &&
               std::abs(pz - z) <= half_height;
    }
};

// row: x y z (gravity centre), length, width, height, yaw counter-clockwise from +x (rad).
template <typename T>
PERCEPTION_HD inline UprightBox<T> make_upright_box(const T* row) {
    return {row[0], row[1], row[2], row[3] / 2, row[4] / 2, row[5] / 2, std::cos(row[6]), std::sin(row[6])};
}

// points [point_count,3], boxes [box_count,7]; workspace: the boxes once more, prepared.
std::size_t points_in_boxes_workspace_bytes(std::int64_t box_count, std::size_t value_bytes);

// first [point_count]: the first box in order that holds the point, -1 for none.
template <typename T>
Status points_in_boxes_cpu(const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count,
                           std::int64_t* first, void* workspace, std::size_t workspace_bytes, int threads);
template <typename T>
Status points_in_boxes_cuda(const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count,
                            std::int64_t* first, void* workspace, std::size_t workspace_bytes, Stream stream);

// inside [point_count,box_count].
template <typename T>
Status points_in_boxes_all_cpu(const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count,
                               bool* inside, void* workspace, std::size_t workspace_bytes, int threads);
template <typename T>
Status points_in_boxes_all_cuda(const T* points, std::int64_t point_count, const T* boxes, std::int64_t box_count,
                                bool* inside, void* workspace, std::size_t workspace_bytes, Stream stream);

}  // namespace perception
