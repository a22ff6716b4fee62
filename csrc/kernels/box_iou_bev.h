// Exact overlap of rotated rectangles in the bird's-eye view.
#pragma once

#include <cmath>

#include "platform.h"

namespace perception {

// A rectangle with what every comparison needs of it. A rectangle without a positive area overlaps nothing.
template <typename T>
struct BevBox {
    T x, y, half_length, half_width, cos, sin;

    PERCEPTION_HD T area() const { return 4 * half_length * half_width; }
    // Of the circle around the rectangle.
    PERCEPTION_HD T radius() const { return std::sqrt(half_length * half_length + half_width * half_width); }
};

// row: x y (centre), length along the heading, width, yaw counter-clockwise from +x (rad).
template <typename T>
PERCEPTION_HD inline BevBox<T> make_bev_box(const T* row) {
    const T length = row[2] > 0 ? row[2] : T{0}, width = row[3] > 0 ? row[3] : T{0};
    return {row[0], row[1], length / 2, width / 2, std::cos(row[4]), std::sin(row[4])};
}

namespace detail {

constexpr int kMostVertices = 8;  // a rectangle cut by four lines

template <typename T>
struct Polygon {
    T u[kMostVertices], v[kMostVertices];
    int count;

    // Rounding can bend an edge that lies on the line, which would give more vertices than there are: they span no area.
    PERCEPTION_HD void add(T new_u, T new_v) {
        if (count < kMostVertices) {
            u[count] = new_u;
            v[count] = new_v;
            ++count;
        }
    }
};

// The part of a convex polygon with u <= limit, turned by a quarter: (u, v) becomes (v, -u), so that four calls go around.
template <typename T>
PERCEPTION_HD inline Polygon<T> cut_and_turn(const Polygon<T>& polygon, T limit) {
    Polygon<T> result;
    result.count = 0;
    for (int i = 0; i < polygon.count; ++i) {
        const int next = i + 1 < polygon.count ? i + 1 : 0;
        const T inside = limit - polygon.u[i], inside_next = limit - polygon.u[next];
        if (inside >= 0) result.add(polygon.v[i], -polygon.u[i]);
        if ((inside >= 0) != (inside_next >= 0)) {
            const T part = inside / (inside - inside_next);
            result.add(polygon.v[i] + part * (polygon.v[next] - polygon.v[i]), -limit);
        }
    }
    return result;
}

}  // namespace detail

// Area that two rectangles share (Sutherland-Hodgman: b is cut by the four sides of a, in the frame of a). Edges that lie on each
// other, as those of equal boxes do, are cut nowhere and count once.
template <typename T>
PERCEPTION_HD inline T overlap_area(const BevBox<T>& a, const BevBox<T>& b) {
    const T dx = b.x - a.x, dy = b.y - a.y;
    const T reach = a.radius() + b.radius();
    if (dx * dx + dy * dy > reach * reach) return 0;
    const T x = a.cos * dx + a.sin * dy, y = a.cos * dy - a.sin * dx;
    const T cos = a.cos * b.cos + a.sin * b.sin, sin = a.cos * b.sin - a.sin * b.cos;
    const T extent_x = std::abs(cos) * b.half_length + std::abs(sin) * b.half_width;
    const T extent_y = std::abs(sin) * b.half_length + std::abs(cos) * b.half_width;
    if (std::abs(x) >= a.half_length + extent_x || std::abs(y) >= a.half_width + extent_y) return 0;

    const T lx = cos * b.half_length, ly = sin * b.half_length, wx = -sin * b.half_width, wy = cos * b.half_width;
    detail::Polygon<T> polygon;
    polygon.count = 4;
    polygon.u[0] = x + lx + wx;
    polygon.v[0] = y + ly + wy;
    polygon.u[1] = x - lx + wx;
    polygon.v[1] = y - ly + wy;
    polygon.u[2] = x - lx - wx;
    polygon.v[2] = y - ly - wy;
    polygon.u[3] = x + lx - wx;
    polygon.v[3] = y + ly - wy;
    polygon = detail::cut_and_turn(polygon, a.half_length);
    polygon = detail::cut_and_turn(polygon, a.half_width);
    polygon = detail::cut_and_turn(polygon, a.half_length);
    polygon = detail::cut_and_turn(polygon, a.half_width);

    T twice_area = 0;
    for (int i = 2; i < polygon.count; ++i) {
        twice_area += (polygon.u[i - 1] - polygon.u[0]) * (polygon.v[i] - polygon.v[0]) -
                      (polygon.u[i] - polygon.u[0]) * (polygon.v[i - 1] - polygon.v[0]);
    }
    return twice_area > 0 ? twice_area / 2 : T{0};
}

// Intersection over union, 0..1; 0 where both boxes are empty.
template <typename T>
PERCEPTION_HD inline T iou_of(const BevBox<T>& a, const BevBox<T>& b) {
    const T area_a = a.area(), area_b = b.area();
    const T smaller = area_a < area_b ? area_a : area_b;
    T shared = overlap_area(a, b);
    if (shared > smaller) shared = smaller;
    return shared > 0 ? shared / (area_a + area_b - shared) : T{0};
}

enum class BevOverlap : int { area = 0, iou = 1 };

template <typename T>
PERCEPTION_HD inline T overlap_of(const BevBox<T>& a, const BevBox<T>& b, BevOverlap kind) {
    return kind == BevOverlap::iou ? iou_of(a, b) : overlap_area(a, b);
}

// out [count_a,count_b]: the shared area (m^2) or the IoU of a [count_a,5] with b [count_b,5], rows x y l w yaw.
std::size_t box_iou_bev_workspace_bytes(std::int64_t count_a, std::int64_t count_b, std::size_t value_bytes);
template <typename T>
Status box_iou_bev_cpu(const T* a, std::int64_t count_a, const T* b, std::int64_t count_b, BevOverlap kind, T* out,
                       void* workspace, std::size_t workspace_bytes, int threads);
template <typename T>
Status box_iou_bev_cuda(const T* a, std::int64_t count_a, const T* b, std::int64_t count_b, BevOverlap kind, T* out,
                        void* workspace, std::size_t workspace_bytes, Stream stream);

}  // namespace perception
