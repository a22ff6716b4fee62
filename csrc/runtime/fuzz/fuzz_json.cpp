// Manifests, calibrations and descriptions of frames: the first byte says which of them the rest is.
#include "error.h"
#include "frame_folder.h"
#include "manifest.h"

using namespace perception::runtime;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    const Calibration known{{{"CAM_FRONT", {}}}, 5};
    try {
        if (data[0] % 3 == 0) parse_manifest(text, "manifest");
        if (data[0] % 3 == 1) parse_calibration(text, "calibration");
        if (data[0] % 3 == 2) parse_frame(text, known, "frame");
    } catch (const Error&) {
    }
    return 0;
}
