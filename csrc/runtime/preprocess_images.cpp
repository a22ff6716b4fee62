#include "preprocess_images.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace perception::runtime {
namespace {

// OpenCV's fixed point: positions in 1/1024 of a pixel, rounded to 1/32.
constexpr int POSITION_BITS = 10, STEP_BITS = 5, STEPS = 1 << STEP_BITS;

// The pixel at or before a position along one axis, and how far beyond it that lies, in 1/32 of a pixel.
struct Tap {
    std::int32_t pixel, step;
};

std::int32_t saturated(double value) {
    // OpenCV rounds half to even, as the processor does.
    return static_cast<std::int32_t>(std::clamp(std::nearbyint(value), -2147483648.0, 2147483647.0));
}

// Where each of `count` target pixels lies in the source. The sums are OpenCV's for columns; for rows it rounds the
// shift and the position as one number.
std::vector<Tap> taps(double scale, double shift, int count, bool rows) {
    // Inverted as OpenCV does it, by the determinant: results differ in the last bit.
    const double inverse = scale * (1.0 / (scale * scale)), offset = -inverse * shift, unit = 1 << POSITION_BITS;
    const std::int32_t half = 1 << (POSITION_BITS - STEP_BITS - 1);
    std::vector<Tap> out(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        const std::int32_t fixed = rows ? saturated((inverse * i + offset) * unit) + half
                                        : saturated(offset * unit) + half + saturated(inverse * i * unit);
        const std::int32_t position = fixed >> (POSITION_BITS - STEP_BITS);
        out[static_cast<std::size_t>(i)] = {position >> STEP_BITS, position & (STEPS - 1)};
    }
    return out;
}

Matrix4 product(const Matrix4& a, const Matrix4& b) {
    Matrix4 out{};
    for (int r = 0; r < 4; ++r) {
        for (int c = 0; c < 4; ++c) {
            for (int k = 0; k < 4; ++k) out[r * 4 + c] += a[r * 4 + k] * b[k * 4 + c];
        }
    }
    return out;
}

// The shift stands in column 2, because it acts on (u d, v d, d, 1).
Matrix4 as_matrix(const PixelAffine& a) {
    return {a.scale, 0, a.shift_x, 0, 0, a.scale, a.shift_y, 0, 0, 0, 1, 0, 0, 0, 0, 1};
}

}  // namespace

PixelAffine fit(ImageSize decoded, const ImagePreprocessing& target) {
    const double zoom = static_cast<double>(target.columns) / decoded.width * target.scale;
    const double left = target.crop_x * (decoded.width * zoom - target.columns);
    const double top = target.crop_y * (decoded.height * zoom - target.rows);
    // In coordinates whose origin is the corner, half a pixel before the first centre, scaling has no shift.
    return {zoom, zoom * 0.5 + (-left - 0.5), zoom * 0.5 + (-top - 0.5)};
}

void resize(const Image& image, const PixelAffine& affine, const ImagePreprocessing& target, std::uint8_t* planes) {
    const std::vector<Tap> columns = taps(affine.scale, affine.shift_x, target.columns, false);
    const std::vector<Tap> rows = taps(affine.scale, affine.shift_y, target.rows, true);
    const std::ptrdiff_t stride = std::ptrdiff_t{3} * image.width, plane = std::ptrdiff_t{target.rows} * target.columns;
    const auto pixel = [&](std::int32_t x, std::int32_t y, int c) -> int {
        const bool inside = x >= 0 && x < image.width && y >= 0 && y < image.height;
        return inside ? image.rgb[static_cast<std::size_t>(y * stride + 3 * x + c)] : 0;
    };
    for (int r = 0; r < target.rows; ++r) {
        const Tap row = rows[static_cast<std::size_t>(r)];
        const bool row_inside = row.pixel >= 0 && row.pixel + 1 < image.height;
        for (int x = 0; x < target.columns; ++x) {
            const Tap column = columns[static_cast<std::size_t>(x)];
            // Of 32 * 32 = 1024 parts; OpenCV's weights have 32 times as many, which divides out.
            const int right = column.step, left = STEPS - right, below = row.step, above = STEPS - below;
            std::uint8_t* out = planes + std::ptrdiff_t{r} * target.columns + x;
            if (row_inside && column.pixel >= 0 && column.pixel + 1 < image.width) {
                const std::uint8_t* p = image.rgb.data() + row.pixel * stride + 3 * column.pixel;
                for (int c = 0; c < 3; ++c) {
                    const int upper = p[c] * left + p[c + 3] * right,
                              lower = p[stride + c] * left + p[stride + c + 3] * right;
                    out[c * plane] = static_cast<std::uint8_t>((upper * above + lower * below + 512) >> 10);
                }
                continue;
            }
            for (int c = 0; c < 3; ++c) {
                const int upper =
                    pixel(column.pixel, row.pixel, c) * left + pixel(column.pixel + 1, row.pixel, c) * right;
                const int lower =
                    pixel(column.pixel, row.pixel + 1, c) * left + pixel(column.pixel + 1, row.pixel + 1, c) * right;
                out[c * plane] = static_cast<std::uint8_t>((upper * above + lower * below + 512) >> 10);
            }
        }
    }
}

Matrix4 image_from_lidar(int factor, const PixelAffine& affine, const double* intrinsics,
                         const double* camera_from_lidar) {
    // A pixel of the reduced image has its centre where the centre of the factor x factor pixels was.
    const double scale = 1.0 / factor, shift = (1.0 / factor - 1.0) / 2.0;
    const Matrix4 aug = product(as_matrix(affine), as_matrix({scale, shift, shift}));
    const Matrix4 k{intrinsics[0],
                    intrinsics[1],
                    intrinsics[2],
                    0,
                    intrinsics[3],
                    intrinsics[4],
                    intrinsics[5],
                    0,
                    intrinsics[6],
                    intrinsics[7],
                    intrinsics[8],
                    0,
                    0,
                    0,
                    0,
                    1};
    Matrix4 pose{};
    std::copy_n(camera_from_lidar, 16, pose.begin());
    return product(aug, product(k, pose));
}

}  // namespace perception::runtime
