// The runtime's readers from the command line, so that a test can compare what they give with another implementation:
//   probe image FILE ROWS COLUMNS LEAST_ROWS LEAST_COLUMNS SCALE CROP_X CROP_Y   planes [3,ROWS,COLUMNS], then 16
//   double probe rows FILE FEATURES MOST | probe pcd FILE MOST                          points [P,4] float32 probe
//   sha256 FILE | probe manifest FILE | probe frame CALIBRATION FRAME      one line, or nothing
// A refused input ends it with the error's code, and its message on standard error.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "calibration.h"
#include "cloud_file.h"
#include "error.h"
#include "frame_folder.h"
#include "image_file.h"
#include "manifest.h"
#include "preprocess_images.h"
#include "sha256.h"

using namespace perception::runtime;

namespace {

std::string read(const char* path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

Bytes bytes(const std::string& text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }

void write(const void* data, std::size_t count) {
    if (count > 0) std::fwrite(data, 1, count, stdout);  // nothing may be at no address
}

void image(char** argument) {
    const std::string file = read(argument[0]);
    ImagePreprocessing how{std::atoi(argument[1]), std::atoi(argument[2]), std::nullopt,
                           std::atof(argument[5]), std::atof(argument[6]), std::atof(argument[7])};
    if (std::atoi(argument[3]) > 0) how.decode_min_hw = {std::atoi(argument[3]), std::atoi(argument[4])};
    const int factor = reduction(read_image_size(bytes(file)), how.decode_min_hw);
    Image image;
    std::vector<std::uint8_t> spare, planes(std::size_t{3} * static_cast<std::size_t>(how.rows * how.columns));
    read_image(bytes(file), factor, image, spare);
    const PixelAffine affine = fit({image.width, image.height}, how);
    resize(image, affine, how, planes.data());
    const double k[9] = {500, 0, 320, 0, 510, 240, 0, 0, 1},
                 pose[16] = {1, 0, 0, 0.5, 0, 0, -1, 0.25, 0, 1, 0, -1, 0, 0, 0, 1};
    const Matrix4 matrix = image_from_lidar(factor, affine, k, pose);
    write(planes.data(), planes.size());
    write(matrix.data(), sizeof(matrix));
}

void run(const std::string& command, int count, char** argument) {
    if (command == "image" && count == 8) {
        image(argument);
    } else if ((command == "rows" && count == 3) || (command == "pcd" && count == 2)) {
        const std::string file = read(argument[0]);
        std::vector<float> points;
        const std::int64_t most = std::atoll(argument[count - 1]);
        command == "rows" ? read_rows(bytes(file), std::atoi(argument[1]), most, points)
                          : read_pcd(bytes(file), most, points);
        write(points.data(), points.size() * sizeof(float));
    } else if (command == "sha256" && count == 1) {
        const std::string file = read(argument[0]);
        Sha256 hash;
        hash.update(file.data(), file.size() / 3);
        hash.update(file.data() + file.size() / 3, file.size() - file.size() / 3);
        std::puts(hash.finish().c_str());
    } else if (command == "manifest" && count == 1) {
        parse_manifest(read(argument[0]), argument[0]);
    } else if (command == "frame" && count == 2) {
        parse_frame(read(argument[1]), parse_calibration(read(argument[0]), argument[0]), argument[1]);
    } else {
        fail(PERCEPTION_ERROR_ARGUMENT, "see the comment at the top of probe.cpp");
    }
}

}  // namespace

int main(int count, char** values) {
    try {
        run(count > 1 ? values[1] : "", count - 2, values + 2);
        return 0;
    } catch (const Error& error) {
        std::fprintf(stderr, "%s: %s\n", perception_status_name(error.code), error.what());
        return error.code;
    }
}
