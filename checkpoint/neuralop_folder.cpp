#include "checkpoint/neuralop_folder.h"

#include <algorithm>

#include "checkpoint/atomic_file.h"
#include "checkpoint/neuralop_config.h"
#include "checkpoint/pickled_values.h"
#include "checkpoint/torch_writer.h"
#include "runtime/error.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStateEnding = "_state_dict.pt";
constexpr const char* kWellPrefix = "model.";

bool is_state_dict(const fs::path& path) { return path.filename().string().ends_with(kStateEnding); }

std::optional<ConfigValue> the_well_config(const fs::path& folder) {
  if (!fs::is_directory(folder) || !fs::exists(folder / "config.json")) return std::nullopt;
  const ConfigValue config = parse_json(read_text_file(folder / "config.json"), (folder / "config.json").string());
  return is_the_well_config(config) ? std::optional(config) : std::nullopt;
}

std::vector<fs::path> state_dicts_in(const fs::path& folder) {
  std::vector<fs::path> found;
  if (!fs::is_directory(folder)) return found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && is_state_dict(entry.path())) found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

/// NAME_metadata.pkl beside NAME_state_dict.pt, else what the state dict says itself.
ConfigValue arguments_of(const fs::path& state_dict) {
  const std::string name = state_dict.filename().string();
  const fs::path metadata = state_dict.parent_path() / (name.substr(0, name.size() - kStateEnding.size()) + "_metadata.pkl");
  if (fs::exists(metadata)) return read_pickled_values(metadata);
  const ConfigValue values = read_pickled_values(state_dict);
  const ConfigValue* beside = values.kind() == ConfigValue::Kind::map ? values.find("_metadata") : nullptr;
  if (beside != nullptr) return *beside;
  throw CheckpointError(concat(state_dict.string(), ": nothing says how its model is built: ", metadata.filename().string(),
                               " is missing, and it has no \"_metadata\"; put the package's metadata file beside it"));
}

/// Names as the package has them: The Well wraps the model in a module.
std::vector<StoredTensor> without_prefix(std::vector<StoredTensor> tensors) {
  for (StoredTensor& tensor : tensors) {
    if (tensor.name.starts_with(kWellPrefix)) tensor.name = tensor.name.substr(std::string_view(kWellPrefix).size());
  }
  return tensors;
}

}  // namespace

bool is_neuralop_model(const fs::path& path) {
  if (fs::is_regular_file(path)) return is_state_dict(path);
  if (fs::exists(path / "config.json")) return the_well_config(path).has_value();
  return !state_dicts_in(path).empty();
}

fs::path neuralop_weights(const fs::path& path) {
  if (fs::is_regular_file(path) || fs::exists(path / "config.json")) return path;
  const std::vector<fs::path> found = state_dicts_in(path);
  if (found.size() == 1) return found.front();
  if (fs::exists(path / "manifest.pt")) {
    const ConfigValue manifest = read_pickled_values(path / "manifest.pt");
    const ConfigValue* model = manifest.kind() == ConfigValue::Kind::map ? manifest.find("model") : nullptr;
    for (const fs::path& file : found) {
      if (model != nullptr && model->kind() == ConfigValue::Kind::string && file.filename() == model->as_string()) return file;
    }
  }
  std::string names;
  for (const fs::path& file : found) names += concat(names.empty() ? "" : ", ", file.filename().string());
  throw CheckpointError(concat(path.string(), ": has ", found.size(), " state dicts (", names,
                               ") and no manifest.pt that names one of them; give the path of one"));
}

NeuralopModel read_neuralop_model(const fs::path& path) {
  const auto well = the_well_config(path);
  const fs::path weights = neuralop_weights(path);
  const std::vector<StoredTensor> tensors = without_prefix(WeightFiles(weights).tensors());
  const NeuralopLayout layout = neuralop_layout(tensors);
  NeuralopModel model;
  model.config = config_from_neuralop(well ? *well : arguments_of(weights), layout, tensors, weights.string());
  model.tensors = from_neuralop(tensors, layout, model.config);
  return model;
}

void write_neuralop_model(const fs::path& folder, const ConfigValue& config, const std::vector<LateTensor>& tensors) {
  const ConfigValue arguments = arguments_for_neuralop(config, folder.string());
  const NeuralopLayout layout = neuralop_layout_for(config);
  make_folder(folder);
  // 0.3.0 has no place for arguments in a state dict.
  write_state_dict(folder / "model_state_dict.pt", to_neuralop(tensors, layout, config),
                   layout == NeuralopLayout::current ? arguments : ConfigValue());
  write_pickled_values(folder / "model_metadata.pkl", arguments);  // last: where space ends, it most likely does before
}

}  // namespace trident
