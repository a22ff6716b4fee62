// Images: the first byte says by how much the rest is reduced when decoded.
#include <cstdlib>

#include "error.h"
#include "image_file.h"
#include "preprocess_images.h"

using namespace perception::runtime;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const Bytes file(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
    const ImagePreprocessing how{16, 32, std::nullopt, 1.0, 0.5, 1.0};
    std::vector<std::uint8_t> spare, planes(3 * 16 * 32);
    Image image;
    try {
        const ImageSize full = read_image_size(file);
        // Larger ones only take longer.
        if (full.width > 2048 || full.height > 2048) return 0;
        read_image(file, 1 << data[0] % 4, image, spare);
        if (image.rgb.size() != std::size_t{3} * static_cast<std::size_t>(image.width * image.height)) std::abort();
        resize(image, fit({image.width, image.height}, how), how, planes.data());
    } catch (const Error&) {
    }
    return 0;
}
