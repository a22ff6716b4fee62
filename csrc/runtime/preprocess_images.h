// A decoded image to the network's, and the matrix that goes with it. perception/export/preprocessing.py says what and
// why; the numbers are those of the Python pipeline (OpenCV's warpAffine), pixel by pixel.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "image_file.h"
#include "manifest.h"

namespace perception::runtime {

using Matrix4 = std::array<double, 16>;

// Scaling and shift of pixels: u' = scale u + shift_x, v' = scale v + shift_y. Integers are pixel centres.
struct PixelAffine {
    double scale, shift_x, shift_y;
};

// From the decoded image to the network's.
PixelAffine fit(ImageSize decoded, const ImagePreprocessing& target);

// Writes the network's image as planes [3,rows,columns]; black where the target reaches past the image.
void resize(const Image& image, const PixelAffine& affine, const ImagePreprocessing& target, std::uint8_t* planes);

// (recorded pixels -> network's pixels) * intrinsics * camera_from_lidar, for an image reduced by `factor` when
// decoded.
Matrix4 image_from_lidar(int factor, const PixelAffine& affine, const double* intrinsics,
                         const double* camera_from_lidar);

}  // namespace perception::runtime
