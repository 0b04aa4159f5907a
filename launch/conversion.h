/// Checkpoints between formats.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include "runtime/tensor/dtype.h"

namespace trident {

enum class ModelFormat { trident, hugging_face, neuraloperator, checkpoint };
inline auto config_names(ModelFormat) {
  return std::array{std::pair{ModelFormat::trident, "trident"}, std::pair{ModelFormat::hugging_face, "hugging-face"},
                    std::pair{ModelFormat::neuraloperator, "neuraloperator"}, std::pair{ModelFormat::checkpoint, "checkpoint"}};
}
enum class Existing { refuse, replace };

struct Conversion {
  std::filesystem::path source, target;
  // hugging_face leaves trident.json out; neuraloperator: fno, tfno; checkpoint: of training, in the folder `target`, at step 0
  ModelFormat to = ModelFormat::trident;
  Existing existing = Existing::refuse;
  std::optional<DType> dtype = std::nullopt;  // of the weights, f32 or f64; default: f64 if the source has any, else f32
};

/// A model directory in any form (Hugging Face's, neuraloperator's, The Well's) becomes config.json and model.safetensors, or
/// model_state_dict.pt and model_metadata.pkl for neuraloperator, once every tensor that the configuration asks for has been
/// found and no other. So does a training checkpoint, and a model directory becomes one. A file of tensors (.bin, .pt, .safetensors)
/// becomes another such file with the same names. One tensor is in memory at a time. Throws CheckpointError, with the target as it was.
void convert(const Conversion& conversion);

}  // namespace trident
