#include "checkpoint/model_directory.h"

#include <algorithm>
#include <map>
#include <set>

#include "checkpoint/atomic_file.h"
#include "checkpoint/box.h"
#include "checkpoint/gathered_tensor.h"
#include "checkpoint/neuralop_folder.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/weight_files.h"
#include "parallel/messages.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = "config.json";
constexpr const char* kDescription = "trident.json";
constexpr const char* kWeights = "model.safetensors";

/// Constants that older versions of the reference saved with the weights, and that newer ones do not read.
bool is_passed_over(std::string_view name) {
  return name.ends_with(".relative_coords_table") || name.ends_with(".relative_position_index");
}

/// What has another shape when the number of channels changes.
bool depends_on_channels(std::string_view name) {
  return name.starts_with("embeddings.patch_embeddings.projection.") || name.starts_with("patch_recovery.");
}

/// Matches the tensors of a file with those of a model, collecting what does not fit.
class WeightLoader {
 public:
  WeightLoader(const std::vector<StoredTensor>& stored, Fit fit, RandomKey key) : stored_(stored), fit_(fit), key_(key) {
    for (const StoredTensor& tensor : stored) {
      if (!index_.emplace(tensor.name, &tensor).second) problems_.push_back(concat("twice: ", tensor.name, ' ', to_string(tensor.shape)));
    }
  }

  void load(const NamedPiece& piece) {
    const bool may_start_anew = fit_ == Fit::fine_tuning && depends_on_channels(piece.name);
    if (const StoredTensor* stored = match(piece.name, piece.piece.full_shape, piece.value.dtype(), may_start_anew ? anew_ : problems_)) {
      actions_.push_back(
          [stored, piece] { copy_overlap(piece.value.detached(), piece.piece.owned, stored->load(), whole_box(piece.piece.full_shape)); });
    } else if (may_start_anew) {
      actions_.push_back([key = key_, piece] { initialize(piece, key); });
    }
  }

  void load(const ParameterList::NamedBuffer& buffer) {
    if (const StoredTensor* stored = match(buffer.name, buffer.value.shape(), buffer.value.dtype(), problems_)) {
      actions_.push_back([stored, buffer] { copy_into(buffer.value, stored->load()); });
    }
  }

  /// Throws if anything did not fit; else copies, and returns what started anew.
  std::vector<std::string> finish(const fs::path& folder) {
    for (const StoredTensor& stored : stored_) {
      if (!known_.contains(stored.name) && !is_passed_over(stored.name)) {
        problems_.push_back(concat("surplus: ", stored.name, ' ', to_string(stored.shape)));
      }
    }
    if (!problems_.empty()) {
      std::string lines;
      for (const std::string& problem : problems_) lines += "\n  " + problem;
      throw CheckpointError(concat(folder.string(), ": its tensors are not those that its configuration asks for:", lines,
                                   "\ngive the config.json that belongs to the weights"));
    }
    for (const auto& action : actions_) action();
    return std::move(anew_);
  }

 private:
  /// The stored tensor if it fits; else null, and a line in `differences`. What is missing is a problem in any case.
  const StoredTensor* match(const std::string& name, const Shape& shape, DType dtype, std::vector<std::string>& differences) {
    known_.insert(name);
    const auto found = index_.find(name);
    const StoredTensor* stored = found == index_.end() ? nullptr : found->second;
    if (stored == nullptr) {
      problems_.push_back(concat("missing: ", name, ' ', to_string(shape)));
    } else if (stored->shape != shape) {
      differences.push_back(concat(name, ": ", to_string(stored->shape), " in the file, ", to_string(shape), " in the model"));
      stored = nullptr;
    } else if (!stored->dtype || is_floating(*stored->dtype) != is_floating(dtype) || is_complex(*stored->dtype) != is_complex(dtype)) {
      problems_.push_back(concat(name, ": numbers of type ", stored->type, " in the file, ", name_of(dtype), " in the model"));
      stored = nullptr;
    }
    return stored;
  }

  const std::vector<StoredTensor>& stored_;
  std::map<std::string_view, const StoredTensor*> index_;
  Fit fit_;
  RandomKey key_;
  std::set<std::string> known_;
  std::vector<std::string> problems_, anew_;
  std::vector<std::function<void()>> actions_;
};

/// Hugging Face's name of the number type that the weights are saved in.
std::string torch_dtype(DType dtype) { return dtype == DType::f64 ? "float64" : "float32"; }

std::string config_text(const Model& model, DType dtype) {
  ConfigValue config = model->config();
  if (config.find("type") == nullptr) config.set("torch_dtype", torch_dtype(dtype));  // Hugging Face's configurations have no type
  auto entries = config.entries();
  std::ranges::sort(entries, {}, &ConfigValue::Entry::first);
  return to_json(ConfigValue::map(std::move(entries))) + "\n";
}

/// All parameters and buffers. To make one is collective: the first rank gets it.
std::vector<LateTensor> late_tensors(const ParameterList& parameters, const Mesh& mesh) {
  std::vector<LateTensor> tensors;
  for (const NamedPiece& piece : parameters.pieces()) {
    tensors.push_back({piece.name, piece.value.dtype(), piece.piece.full_shape, [piece, mesh] { return gathered_tensor(piece, mesh); }});
  }
  for (const auto& buffer : parameters.buffers()) {
    tensors.push_back({buffer.name, buffer.value.dtype(), buffer.value.shape(), [buffer] { return to_device(buffer.value, Device{}); }});
  }
  return tensors;
}

}  // namespace

ConfigValue read_model_config(const fs::path& folder) {
  if (is_neuralop_model(folder)) return read_neuralop_model(folder).config;
  const fs::path path = folder / kConfig;
  if (!fs::exists(path))
    throw CheckpointError(concat(folder.string(), ": is no model directory: it has no config.json; give the path of one"));
  return parse_json(read_text_file(path), path.string());
}

std::optional<ConfigValue> read_trident_json(const fs::path& folder) {
  const fs::path path = folder / kDescription;
  if (!fs::exists(path)) return std::nullopt;
  return parse_json(read_text_file(path), path.string());
}

std::vector<StoredTensor> model_tensors(const fs::path& folder) {
  return is_neuralop_model(folder) ? read_neuralop_model(folder).tensors : WeightFiles(folder).tensors();
}

std::vector<std::string> load_weights(const fs::path& folder, const ParameterList& parameters, Fit fit, RandomKey key) {
  const std::vector<StoredTensor> stored = model_tensors(folder);
  WeightLoader loader(stored, fit, key);
  for (const NamedPiece& piece : parameters.pieces()) loader.load(piece);
  for (const auto& buffer : parameters.buffers()) loader.load(buffer);
  std::vector<std::string> anew = loader.finish(folder);
  parameters.round_values();
  return anew;
}

LoadedModel load_model(const fs::path& folder, const Mesh& mesh, const LoadOptions& options) {
  ConfigValue config = read_model_config(folder);
  for (const auto& [key, value] : options.overrides.entries()) config.set(key, value);
  LoadedModel loaded;
  loaded.model = describe_model(config, mesh);
  // No initial values: every one is read from the file.
  const auto visit = [&](const ParameterVisitor& visitor) { loaded.model->visit(visitor); };
  loaded.parameters = materialize(visit, options.dtype, options.use, std::nullopt, options.frozen, options.device);
  loaded.started_anew = load_weights(folder, loaded.parameters, options.fit, options.key);
  loaded.description = read_trident_json(folder);
  return loaded;
}

void write_model(const fs::path& folder, const Model& model, const std::vector<LateTensor>& tensors,
                 const std::optional<ConfigValue>& description) {
  const bool has_f64 = std::ranges::any_of(tensors, [](const LateTensor& tensor) { return tensor.dtype == DType::f64; });
  make_folder(folder);
  write_safetensors(folder / kWeights, tensors);
  if (description) {
    write_file_atomically(folder / kDescription, to_json(*description) + "\n");
  } else {
    fs::remove(folder / kDescription);  // another model's
  }
  // Last: without it the folder is no model directory.
  write_file_atomically(folder / kConfig, config_text(model, has_f64 ? DType::f64 : DType::f32));
}

void save_model(const fs::path& folder, const Model& model, const ParameterList& parameters, const Mesh& mesh,
                const std::optional<ConfigValue>& description) {
  const std::vector<LateTensor> tensors = late_tensors(parameters, mesh);
  if (mesh.world().rank() == 0) {
    write_model(folder, model, tensors, description);
  } else {
    for (const LateTensor& tensor : in_file_order(tensors)) tensor.make();
  }
  barrier(mesh.world());
}

void save_for_neuralop(const fs::path& folder, const Model& model, const ParameterList& parameters, const Mesh& mesh) {
  const std::vector<LateTensor> tensors = late_tensors(parameters, mesh);
  if (mesh.world().rank() == 0) {
    write_neuralop_model(folder, model->config(), tensors);
    for (const char* name : {kConfig, kWeights, kDescription}) fs::remove(folder / name);  // another model's would be read instead
  } else {
    for (const LateTensor& tensor : neuralop_tensors(model->config(), tensors)) tensor.make();
  }
  barrier(mesh.world());
}

}  // namespace trident
