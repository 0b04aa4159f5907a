#include "checkpoint/model_directory.h"

#include <algorithm>

#include "checkpoint/atomic_file.h"
#include "checkpoint/box.h"
#include "checkpoint/gathered_tensor.h"
#include "checkpoint/neuralop_folder.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/tensor_match.h"
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

/// What has another shape when the number of channels changes.
bool depends_on_channels(std::string_view name) {
  return name.starts_with("embeddings.patch_embeddings.projection.") || name.starts_with("patch_recovery.");
}

/// Copies stored tensors into a model's, once all have been found to fit.
class WeightLoader {
 public:
  WeightLoader(const std::vector<StoredTensor>& stored, Fit fit, RandomKey key) : match_(stored), fit_(fit), key_(key) {}

  void load(const NamedPiece& piece) {
    const bool may_start_anew = fit_ == Fit::fine_tuning && depends_on_channels(piece.name);
    if (const StoredTensor* stored =
            match_.find(piece.name, piece.piece.full_shape, piece.value.dtype(), may_start_anew ? &anew_ : nullptr)) {
      actions_.push_back(
          [stored, piece] { copy_overlap(piece.value.detached(), piece.piece.owned, stored->load(), whole_box(piece.piece.full_shape)); });
    } else if (may_start_anew) {
      actions_.push_back([key = key_, piece] { initialize(piece, key); });
    }
  }

  void load(const ParameterList::NamedBuffer& buffer) {
    if (const StoredTensor* stored = match_.find(buffer.name, buffer.value.shape(), buffer.value.dtype())) {
      actions_.push_back([stored, buffer] { copy_into(buffer.value, stored->load()); });
    }
  }

  /// Throws if anything did not fit; else copies, and returns what started anew.
  std::vector<std::string> finish(const fs::path& folder) {
    match_.finish(folder);
    for (const auto& action : actions_) action();
    return std::move(anew_);
  }

 private:
  TensorMatch match_;
  Fit fit_;
  RandomKey key_;
  std::vector<std::string> anew_;
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

void write_for_neuralop(const fs::path& folder, const Model& model, const std::vector<LateTensor>& tensors) {
  write_neuralop_model(folder, model->config(), tensors);
  for (const char* name : {kConfig, kWeights, kDescription}) fs::remove(folder / name);  // another model's would be read instead
}

}  // namespace trident
