/// Models as neuraloperator's trainer and The Well lay them out in a folder.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "checkpoint/neuralop_names.h"
#include "checkpoint/weight_files.h"
#include "runtime/config.h"

namespace trident {

/// A model under our configuration and names.
struct NeuralopModel {
  ConfigValue config;
  std::vector<StoredTensor> tensors;
};

/// Whether a folder holds NAME_state_dict.pt, or The Well's config.json with weights; or whether a file is a NAME_state_dict.pt.
bool is_neuralop_model(const std::filesystem::path& path);

/// What holds the tensors: The Well's folder itself; of the package's the state dict that manifest.pt names, else the only one. Throws
/// CheckpointError if there are several.
std::filesystem::path neuralop_weights(const std::filesystem::path& path);

/// The arguments come from NAME_metadata.pkl, else from "_metadata" in the state dict, and are never executed. Throws CheckpointError.
NeuralopModel read_neuralop_model(const std::filesystem::path& path);

/// model_state_dict.pt and model_metadata.pkl, each written atomically, as the version of the package that computes the model reads
/// them; tensors are made one at a time. Throws CheckpointError for models that it does not have.
void write_neuralop_model(const std::filesystem::path& folder, const ConfigValue& config, const std::vector<LateTensor>& tensors);

}  // namespace trident
