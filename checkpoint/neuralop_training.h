/// The state of a training that neuraloperator's trainer saved beside its model: optimizer.pt, scheduler.pt, manifest.pt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "parallel/parameter.h"
#include "runtime/config.h"

namespace trident {

struct NeuralopTraining {
  std::int64_t step = 0;       // updates done
  double learning_rate = 0.0;  // of the next one
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-6, weight_decay = 0.0;
  bool correct_bias = true;
  ConfigValue schedule;                 // the scheduler's own values; null if it was not saved
  std::optional<std::int64_t> epoch{};  // the last one that ended
};

/// Reads the state and copies the moments into `moments` (AdamW::state(): NAME.exp_avg and NAME.exp_avg_sq of each trained parameter),
/// boxes of split ones too. The optimiser numbers the parameters as the state dict orders them. Nothing if the folder has no optimizer.pt.
/// Throws CheckpointError for a state of another model, of several groups or of parameters that were updated differently often.
std::optional<NeuralopTraining> load_neuralop_training(const std::filesystem::path& folder, const std::vector<NamedPiece>& moments);

}  // namespace trident
