/// Model directories: config.json, the weights, and (from our own training) trident.json, as Hugging Face lays them out.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "checkpoint/weight_files.h"
#include "models/model.h"

namespace trident {

/// exact: every tensor fits, or loading fails. fine_tuning: embedding and recovery of another number of channels start anew.
enum class Fit { exact, fine_tuning };

struct LoadOptions {
  DType dtype = DType::f32;
  Use use = Use::inference;
  Fit fit = Fit::exact;
  ConfigValue overrides = ConfigValue::map();  // keys of config.json with another value
  RandomKey key{};                             // of the initial values of what starts anew
  std::vector<std::string> frozen{};           // name patterns
  Device device{};
};

struct LoadedModel {
  Model model;
  ParameterList parameters;
  std::optional<ConfigValue> description;  // trident.json
  std::vector<std::string> started_anew;   // what fine-tuning initialised, one line each, for the log
};

/// config.json as it is, or what the files of neuraloperator or The Well mean by ours (neuralop_folder.h). Throws CheckpointError if there
/// is none of them.
ConfigValue read_model_config(const std::filesystem::path& folder);
/// The tensors of a model directory of any kind under our names.
std::vector<StoredTensor> model_tensors(const std::filesystem::path& folder);
/// trident.json, if there is one.
std::optional<ConfigValue> read_trident_json(const std::filesystem::path& folder);

/// Reads what this rank holds of each tensor straight into the parameters. Throws CheckpointError with one line for each tensor that is
/// missing, surplus or of another shape, and ConfigError for a configuration that cannot be built.
LoadedModel load_model(const std::filesystem::path& folder, const Mesh& mesh, const LoadOptions& options = {});

/// Copies the stored tensors into parameters that exist already, as load_model() does. Returns what started anew.
std::vector<std::string> load_weights(const std::filesystem::path& folder, const ParameterList& parameters, Fit fit, RandomKey key);

/// Writes config.json, trident.json (or removes it, without a description) and model.safetensors, each atomically and the weights last;
/// other files of the folder stay. The first rank writes, tensors that are split over ranks one at a time; returns on all ranks when it is
/// done.
void save_model(const std::filesystem::path& folder, const Model& model, const ParameterList& parameters, const Mesh& mesh,
                const std::optional<ConfigValue>& description = {});
/// The same of tensors that are made one at a time, floating ones in one number type. Of one rank.
void write_model(const std::filesystem::path& folder, const Model& model, const std::vector<LateTensor>& tensors,
                 const std::optional<ConfigValue>& description = {});

/// Writes a model of type fno or tfno as neuraloperator reads it (neuralop_folder.h), and removes a model of ours from the folder.
void write_for_neuralop(const std::filesystem::path& folder, const Model& model, const std::vector<LateTensor>& tensors);

}  // namespace trident
