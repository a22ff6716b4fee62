// An artifact's directory: the manifest, and the model after it has been checked against it.
#pragma once

#include <memory>
#include <string>

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include "manifest.h"

namespace perception::runtime {

struct Artifact {
    Manifest manifest;
    std::unique_ptr<torch::inductor::AOTIModelPackageLoader> model;
};

// Throws Error: PERCEPTION_ERROR_FILE, _MANIFEST or _ARTIFACT, saying what to do.
Artifact load_artifact(const std::string& directory);

}  // namespace perception::runtime
