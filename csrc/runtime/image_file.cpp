#include "image_file.h"

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string_view>

#include <jpeglib.h>
#include <png.h>

#include "error.h"

namespace perception::runtime {
namespace {

constexpr int MAX_SIDE = 16384;

[[noreturn]] void bad_image(const std::string& why) { fail(PERCEPTION_ERROR_IMAGE, "an image ", why); }

bool starts_with(Bytes file, std::string_view magic) {
    return file.size() >= magic.size() && std::memcmp(file.data(), magic.data(), magic.size()) == 0;
}

bool is_jpeg(Bytes file) { return starts_with(file, "\xff\xd8"); }
bool is_png(Bytes file) { return starts_with(file, "\x89PNG\r\n\x1a\n"); }

// A file without its format's end marker was cut short: decoders fill the rest with grey and say nothing.
void check_whole(Bytes file, std::string_view end) {
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    const std::string_view tail = text.substr(text.size() - std::min<std::size_t>(text.size(), 1024));
    if (tail.find(end) == std::string_view::npos) bad_image("is truncated: its end marker is missing");
}

void check_size(std::int64_t width, std::int64_t height) {
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE) {
        bad_image("of " + std::to_string(width) + " x " + std::to_string(height) + " px is out of reason");
    }
}

// libjpeg leaves by longjmp on an error. No object with a destructor may live in the frames that it jumps over, so
// these classes own everything, and their methods hold plain numbers only.
class JpegDecoder {
  public:
    explicit JpegDecoder(Bytes file) : file_(file) {
        info_.err = jpeg_std_error(&errors_);
        errors_.error_exit = [](j_common_ptr info) {
            auto* self = static_cast<JpegDecoder*>(info->client_data);
            info->err->format_message(info, self->message_);
            std::longjmp(self->jump_, 1);
        };
        errors_.output_message = [](j_common_ptr) {};
        info_.client_data = this;
        jpeg_create_decompress(&info_);
    }
    JpegDecoder(const JpegDecoder&) = delete;
    JpegDecoder& operator=(const JpegDecoder&) = delete;
    ~JpegDecoder() { jpeg_destroy_decompress(&info_); }

    ImageSize header() {
        if (!read_header()) bad_image(std::string("cannot be decoded: ") + message_);
        check_size(info_.image_width, info_.image_height);
        return {static_cast<int>(info_.image_width), static_cast<int>(info_.image_height)};
    }

    void decode(int factor, Image& image) {
        if (info_.num_components != 1 && info_.num_components != 3)
            bad_image("is a JPEG that is neither grey nor colour");
        if (!start(factor)) bad_image(std::string("cannot be decoded: ") + message_);
        image.width = static_cast<int>(info_.output_width), image.height = static_cast<int>(info_.output_height);
        image.rgb.resize(std::size_t{3} * info_.output_width * info_.output_height);
        if (!finish(image.rgb.data())) bad_image(std::string("cannot be decoded: ") + message_);
        // The library mends corrupt data and warns; a network must not see what it made up.
        if (info_.err->num_warnings != 0) bad_image("is a corrupt JPEG");
    }

  private:
    bool read_header() {
        if (setjmp(jump_) != 0) return false;
        jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(file_.data()), file_.size());
        jpeg_read_header(&info_, TRUE);
        return true;
    }

    bool start(int factor) {
        if (setjmp(jump_) != 0) return false;
        info_.scale_num = 1, info_.scale_denom = static_cast<unsigned>(factor);
        info_.out_color_space = JCS_RGB;
        jpeg_start_decompress(&info_);
        return true;
    }

    bool finish(std::uint8_t* rgb) {
        if (setjmp(jump_) != 0) return false;
        while (info_.output_scanline < info_.output_height) {
            JSAMPROW row = rgb + std::size_t{3} * info_.output_width * info_.output_scanline;
            jpeg_read_scanlines(&info_, &row, 1);
        }
        jpeg_finish_decompress(&info_);
        return true;
    }

    Bytes file_;
    jpeg_decompress_struct info_{};
    jpeg_error_mgr errors_{};
    std::jmp_buf jump_{};
    char message_[JMSG_LENGTH_MAX] = "";
};

class PngDecoder {
  public:
    explicit PngDecoder(Bytes file) : file_(file) {
        const auto on_error = [](png_structp png, png_const_charp message) {
            auto* self = static_cast<PngDecoder*>(png_get_error_ptr(png));
            std::snprintf(self->message_, sizeof(self->message_), "%s", message);
            std::longjmp(self->jump_, 1);
        };
        png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
        info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
        if (info_ == nullptr) {
            png_destroy_read_struct(&png_, nullptr, nullptr);
            throw std::bad_alloc();
        }
    }
    PngDecoder(const PngDecoder&) = delete;
    PngDecoder& operator=(const PngDecoder&) = delete;
    ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }

    ImageSize header() {
        if (!read_header()) bad_image(std::string("cannot be decoded: ") + message_);
        check_size(png_get_image_width(png_, info_), png_get_image_height(png_, info_));
        return {static_cast<int>(png_get_image_width(png_, info_)),
                static_cast<int>(png_get_image_height(png_, info_))};
    }

    // After `header`; rgb [height,width,3].
    void decode(ImageSize size, std::vector<std::uint8_t>& rgb) {
        const std::size_t row = std::size_t{3} * static_cast<std::size_t>(size.width);
        rgb.resize(row * static_cast<std::size_t>(size.height));
        rows_.resize(static_cast<std::size_t>(size.height));
        for (std::size_t y = 0; y < rows_.size(); ++y) rows_[y] = rgb.data() + y * row;
        if (!start()) bad_image(std::string("cannot be decoded: ") + message_);
        if (png_get_rowbytes(png_, info_) != row) bad_image("is a PNG whose pixels do not become RGB");
        if (!finish()) bad_image(std::string("cannot be decoded: ") + message_);
    }

  private:
    bool read_header() {
        if (setjmp(jump_) != 0) return false;
        png_set_user_limits(png_, MAX_SIDE, MAX_SIDE);
        png_set_read_fn(png_, this, [](png_structp png, png_bytep out, std::size_t count) {
            auto* self = static_cast<PngDecoder*>(png_get_io_ptr(png));
            if (count > self->file_.size() - self->read_) png_error(png, "it ends early");
            std::memcpy(out, self->file_.data() + self->read_, count);
            self->read_ += count;
        });
        png_read_info(png_, info_);
        return true;
    }

    bool start() {
        if (setjmp(jump_) != 0) return false;
        png_set_strip_16(png_);
        png_set_expand(png_);
        png_set_strip_alpha(png_);
        png_set_gray_to_rgb(png_);
        png_set_interlace_handling(png_);
        png_read_update_info(png_, info_);
        return true;
    }

    bool finish() {
        if (setjmp(jump_) != 0) return false;
        png_read_image(png_, rows_.data());
        png_read_end(png_, nullptr);
        return true;
    }

    Bytes file_;
    std::size_t read_ = 0;
    png_structp png_ = nullptr;
    png_infop info_ = nullptr;
    std::vector<png_bytep> rows_;
    std::jmp_buf jump_{};
    char message_[256] = "";
};

// OpenCV reduces a PNG after decoding, bilinearly: that is the mean of the four middle pixels of each square.
void reduce(const std::vector<std::uint8_t>& full, ImageSize size, int factor, Image& image) {
    if (size.width % factor != 0 || size.height % factor != 0) {
        bad_image("of " + std::to_string(size.width) + " x " + std::to_string(size.height) +
                  " px is a PNG whose sides are no multiple of " + std::to_string(factor) + "; store it as JPEG");
    }
    image.width = size.width / factor, image.height = size.height / factor;
    image.rgb.resize(std::size_t{3} * static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height));
    const std::size_t stride = std::size_t{3} * static_cast<std::size_t>(size.width),
                      middle = static_cast<std::size_t>(factor / 2 - 1);
    std::uint8_t* out = image.rgb.data();
    for (int y = 0; y < image.height; ++y) {
        const std::uint8_t* row = full.data() + (static_cast<std::size_t>(y * factor) + middle) * stride;
        for (int x = 0; x < image.width; ++x) {
            const std::uint8_t* p = row + 3 * (static_cast<std::size_t>(x * factor) + middle);
            for (int c = 0; c < 3; ++c)
                *out++ = static_cast<std::uint8_t>((p[c] + p[c + 3] + p[c + stride] + p[c + stride + 3] + 2) >> 2);
        }
    }
}

}  // namespace

ImageSize read_image_size(Bytes file) {
    if (is_jpeg(file)) return JpegDecoder(file).header();
    if (is_png(file)) return PngDecoder(file).header();
    bad_image(file.empty() ? "is empty" : "is neither JPEG nor PNG");
}

int reduction(ImageSize size, const std::optional<std::array<int, 2>>& least) {
    int factor = 1;
    while (least && factor < 8 && size.height >= (*least)[0] * factor * 2 && size.width >= (*least)[1] * factor * 2) {
        factor *= 2;
    }
    return factor;
}

void read_image(Bytes file, int factor, Image& image, std::vector<std::uint8_t>& spare) {
    if (is_jpeg(file)) {
        check_whole(file, "\xff\xd9");
        JpegDecoder decoder(file);
        decoder.header();
        decoder.decode(factor, image);
    } else if (is_png(file)) {
        check_whole(file, "IEND");
        PngDecoder decoder(file);
        const ImageSize size = decoder.header();
        image.width = size.width, image.height = size.height;
        decoder.decode(size, factor == 1 ? image.rgb : spare);
        if (factor > 1) reduce(spare, size, factor, image);
    } else {
        bad_image(file.empty() ? "is empty" : "is neither JPEG nor PNG");
    }
}

}  // namespace perception::runtime
