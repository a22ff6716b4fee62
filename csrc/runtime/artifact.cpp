#include "artifact.h"

#include <fstream>
#include <iterator>

#include <ATen/Version.h>
#include <torch/version.h>

#include "error.h"
#include "sha256.h"

namespace perception::runtime {
namespace {

std::string read_text(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    if (!file.is_open() || file.bad())
        fail(PERCEPTION_ERROR_FILE, path, " cannot be read: is this an artifact of tools/export.py?");
    return text;
}

std::string hash_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file.is_open()) fail(PERCEPTION_ERROR_FILE, path, " cannot be read, although the manifest names it");
    Sha256 hash;
    std::vector<char> block(1 << 20);
    while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
        hash.update(block.data(), static_cast<std::size_t>(file.gcount()));
    }
    return hash.finish();
}

// Order of what x86 processors can do, by the names that torch uses.
int rank(const std::string& capability) {
    if (capability == "AVX512" || capability == "AMX") return 3;
    if (capability == "AVX2") return 2;
    return 1;
}

// "2.13" of "2.13.0+cpu".
std::string major_minor(const std::string& version) {
    return version.substr(0, version.find('.', version.find('.') + 1));
}

}  // namespace

Artifact load_artifact(const std::string& directory) {
    const std::string name = directory + "/manifest.json";
    Artifact out{parse_manifest(read_text(name), name), nullptr};
    const std::string model = directory + "/" + out.manifest.file, hash = hash_of(model);
    if (hash != out.manifest.sha256) {
        fail(PERCEPTION_ERROR_ARTIFACT, model, " is damaged, or ", name, " is of another model: its SHA-256 is ", hash,
             ", the manifest says ", out.manifest.sha256);
    }
    if (major_minor(out.manifest.torch_version) != major_minor(TORCH_VERSION)) {
        fail(PERCEPTION_ERROR_ARTIFACT, model, " was compiled with torch ", out.manifest.torch_version,
             ", this runtime with ", TORCH_VERSION, ": export and build with the same");
    }
    // Code for more than the processor has would end in an illegal instruction.
    const std::string here = at::get_cpu_capability();
    if (rank(here) < rank(out.manifest.cpu_capability)) {
        fail(PERCEPTION_ERROR_ARTIFACT, model, " was compiled for processors with ", out.manifest.cpu_capability,
             ", this one has ", here, ": export on a machine like this one");
    }
    try {
        out.model = std::make_unique<torch::inductor::AOTIModelPackageLoader>(model);
    } catch (const std::exception& error) {
        fail(PERCEPTION_ERROR_ARTIFACT, model, " cannot be loaded: ", error.what());
    }
    return out;
}

}  // namespace perception::runtime
