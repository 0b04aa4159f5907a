/// A folder of model directories, loaded to be served.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/module.h"
#include "parallel/mesh.h"
#include "rpc/served_model.h"

namespace trident {

struct LoadedModel;  // checkpoint/model_directory.h

/// Answers as `trident predict` does with the same model directory and precision.
ServedModel serve_model(const std::string& name, LoadedModel loaded, const Computing& computing, const Mesh& mesh = Mesh());

/// Every folder of `repository` that has a config.json, in alphabetical order. Throws ConfigError if there is none.
std::vector<std::filesystem::path> model_folders(const std::filesystem::path& repository);

/// All of them, named as their folders, shared out over the mesh. Collective. Throws ConfigError, and CheckpointError naming the model if
/// one cannot be loaded.
std::vector<ServedModel> load_repository(const std::filesystem::path& repository, const Computing& computing, const Mesh& mesh = Mesh());

}  // namespace trident
