/// Between the forms in which models lie on disk, on one machine: one tensor in memory at a time, however many ranks saved it.
#pragma once

#include <filesystem>
#include <optional>

#include "checkpoint/training_state.h"

namespace trident {

/// How a training state names what a model is made of: its parameters and buffers (`GROUP/NAME`), the parameters' moments, and in its
/// document config.json and trident.json.
inline constexpr const char* kWeightsGroup = "weights";
inline constexpr const char* kBuffersGroup = "buffers";
inline constexpr const char* kMomentsGroup = "moments";
inline constexpr const char* kModelKey = "model";
inline constexpr const char* kDescriptionKey = "description";

enum class Description { keep, leave_out };

/// Whether the path is a committed training checkpoint.
bool is_training_checkpoint(const std::filesystem::path& path);

/// Writes the weights of a training checkpoint as a model directory, in `dtype` or as they are. Throws CheckpointError, before anything is
/// written, unless it has exactly the tensors that its configuration asks for.
void model_from_checkpoint(const std::filesystem::path& checkpoint, const std::filesystem::path& folder, Description description,
                           std::optional<DType> dtype = {});

/// What follows takes model directories of any kind (Hugging Face's, ours, neuraloperator's, The Well's) and throws CheckpointError, before
/// anything is written, unless the tensors are those that the configuration asks for. Real numbers become `dtype`; default: f64 if the
/// source has any, else f32.
void model_from_model(const std::filesystem::path& source, const std::filesystem::path& folder, Description description,
                      std::optional<DType> dtype = {});
void neuralop_from_model(const std::filesystem::path& source, const std::filesystem::path& folder, std::optional<DType> dtype = {});
/// A training checkpoint of step 0 in `folder`: moments are 0 and `values` are the rest of its document. Returns its path.
std::filesystem::path checkpoint_from_model(const std::filesystem::path& model, const std::filesystem::path& folder, ConfigValue values,
                                            std::optional<DType> dtype = {});

/// The tensors of a file in another one: .safetensors, else one of torch.save.
void file_from_file(const std::filesystem::path& source, const std::filesystem::path& file);

}  // namespace trident
