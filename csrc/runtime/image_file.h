// JPEG and PNG files as RGB, strictly: a file that is cut short or corrupt is an error, never a grey half.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "cloud_file.h"

namespace perception::runtime {

struct Image {
    int width = 0, height = 0;
    std::vector<std::uint8_t> rgb;  // [height,width,3]
};

struct ImageSize {
    int width, height;
};

// Size of the recorded image, from the file's header. Throws Error(PERCEPTION_ERROR_IMAGE), as `read_image` does.
ImageSize read_image_size(Bytes file);

// The largest of 1, 2, 4, 8 by which both sides can be reduced and still have `least` (rows, columns).
int reduction(ImageSize size, const std::optional<std::array<int, 2>>& least);

// Decodes into `image`, whose memory is used again, reduced by a factor of 1, 2, 4 or 8; `spare` is memory for the PNG
// in full. EXIF rotation is not applied. As OpenCV's imdecode does, a JPEG is reduced in its inverse DCT and a PNG by
// the mean of the four middle pixels of each square; grey becomes RGB, transparency and the low byte of 16 bits go.
void read_image(Bytes file, int factor, Image& image, std::vector<std::uint8_t>& spare);

}  // namespace perception::runtime
