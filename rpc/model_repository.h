/// A folder of model directories, loaded to be served.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "rpc/served_model.h"

namespace trident {

struct LoadedModel;  // checkpoint/model_directory.h

/// Answers as `trident predict` does with the same model directory and precision.
ServedModel serve_model(const std::string& name, LoadedModel loaded, DType precision);

/// Every folder of `repository` that has a config.json, named as the folder, in alphabetical order; other entries are passed over.
/// Throws ConfigError if there is none, CheckpointError naming the model if one cannot be loaded.
std::vector<ServedModel> load_repository(const std::filesystem::path& repository, DType precision);

}  // namespace trident
