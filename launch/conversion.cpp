#include "launch/conversion.h"

#include <algorithm>

#include "checkpoint/checkpoint_conversion.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/neuralop_folder.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/torch_writer.h"
#include "checkpoint/weight_files.h"
#include "launch/trainer/training_run.h"
#include "runtime/error.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

bool has_f64(const std::vector<StoredTensor>& tensors) {
  return std::ranges::any_of(tensors, [](const StoredTensor& tensor) { return tensor.dtype == DType::f64 || tensor.dtype == DType::c128; });
}

void convert_checkpoint(const Conversion& conversion) {
  if (conversion.to == ModelFormat::checkpoint) {
    throw ConfigError(concat(conversion.source.string(), ": is a training checkpoint already; convert it to trident or hugging-face"));
  }
  model_from_checkpoint(conversion.source, conversion.target,
                        conversion.to == ModelFormat::trident ? Description::keep : Description::leave_out, conversion.dtype);
}

void convert_model(const Conversion& conversion) {
  if (conversion.to == ModelFormat::checkpoint) {
    checkpoint_from_model(conversion.source, conversion.target, write_config(RunState{}), conversion.dtype);
    return;
  }
  if (conversion.target.extension() == ".safetensors") {
    throw ConfigError(concat(conversion.target.string(), ": a model directory becomes a folder; give the name of a folder"));
  }
  LoadOptions options;
  options.dtype = conversion.dtype.value_or(has_f64(model_tensors(conversion.source)) ? DType::f64 : DType::f32);
  const LoadedModel loaded = load_model(conversion.source, Mesh(), options);
  if (conversion.to == ModelFormat::neuraloperator) return save_for_neuralop(conversion.target, loaded.model, loaded.parameters, Mesh());
  const bool keeps_description = conversion.to == ModelFormat::trident;
  save_model(conversion.target, loaded.model, loaded.parameters, Mesh(), keeps_description ? loaded.description : std::nullopt);
}

/// Of a file of tensors.
enum class FileFormat { safetensors, torch };

FileFormat file_format_of(const fs::path& target) {
  const fs::path ending = target.extension();
  if (ending == ".safetensors") return FileFormat::safetensors;
  if (ending == ".pt" || ending == ".pth" || ending == ".bin") return FileFormat::torch;
  throw ConfigError(concat(target.string(),
                           ": a file of tensors becomes a .safetensors, .pt, .pth or .bin file; name it so, or give a model directory as "
                           "source"));
}

void convert_file(const Conversion& conversion) {
  const FileFormat format = file_format_of(conversion.target);
  const WeightFiles files(conversion.source);
  std::vector<NamedTensor> tensors;
  for (const StoredTensor& tensor : files.tensors()) tensors.push_back({tensor.name, tensor.load()});
  if (format == FileFormat::safetensors) {
    write_safetensors(conversion.target, tensors);
  } else {
    write_state_dict(conversion.target, tensors);
  }
}

}  // namespace

void convert(const Conversion& conversion) {
  if (!fs::exists(conversion.source)) throw CheckpointError(concat(conversion.source.string(), ": no such file or folder; check the path"));
  const bool taken = fs::is_directory(conversion.target) ? !fs::is_empty(conversion.target) : fs::exists(conversion.target);
  if (taken && conversion.existing == Existing::refuse) {
    throw ConfigError(concat(conversion.target.string(), ": exists already; choose another target or add --overwrite"));
  }
  if (is_training_checkpoint(conversion.source)) {
    convert_checkpoint(conversion);
  } else if (fs::is_directory(conversion.source) || is_neuralop_model(conversion.source)) {
    convert_model(conversion);
  } else {
    convert_file(conversion);
  }
}

}  // namespace trident
