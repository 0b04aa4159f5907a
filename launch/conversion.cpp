#include "launch/conversion.h"

#include <algorithm>
#include <array>

#include "checkpoint/checkpoint_conversion.h"
#include "checkpoint/neuralop_folder.h"
#include "launch/trainer/training_run.h"
#include "runtime/error.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

Description description_in(ModelFormat format) { return format == ModelFormat::trident ? Description::keep : Description::leave_out; }

void convert_checkpoint(const Conversion& conversion) {
  if (conversion.to == ModelFormat::checkpoint) {
    throw ConfigError(concat(conversion.source.string(), ": is a training checkpoint already; convert it to trident or hugging-face"));
  }
  model_from_checkpoint(conversion.source, conversion.target, description_in(conversion.to), conversion.dtype);
}

void convert_model(const Conversion& conversion) {
  if (conversion.to == ModelFormat::checkpoint) {
    checkpoint_from_model(conversion.source, conversion.target, write_config(RunState{}), conversion.dtype);
    return;
  }
  if (conversion.target.extension() == ".safetensors") {
    throw ConfigError(concat(conversion.target.string(), ": a model directory becomes a folder; give the name of a folder"));
  }
  if (conversion.to == ModelFormat::neuraloperator) return neuralop_from_model(conversion.source, conversion.target, conversion.dtype);
  model_from_model(conversion.source, conversion.target, description_in(conversion.to), conversion.dtype);
}

void convert_file(const Conversion& conversion) {
  constexpr std::array kEndings{".safetensors", ".pt", ".pth", ".bin"};
  if (std::ranges::find(kEndings, conversion.target.extension()) == kEndings.end()) {
    throw ConfigError(concat(conversion.target.string(),
                             ": a file of tensors becomes a .safetensors, .pt, .pth or .bin file; name it so, or give a model directory as "
                             "source"));
  }
  file_from_file(conversion.source, conversion.target);
}

}  // namespace

void convert(const Conversion& conversion) {
  if (!fs::exists(conversion.source)) throw CheckpointError(concat(conversion.source.string(), ": no such file or folder; check the path"));
  if (conversion.dtype == DType::bf16) throw ConfigError("convert: weights are written in f32 or f64, not in bf16; choose one of these");
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
