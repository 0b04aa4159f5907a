/// The model that a run file asks for, completed by what the data are.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/data/dataset.h"
#include "launch/run_config.h"
#include "models/model.h"
#include "models/model_description.h"

namespace trident {

struct ModelChoice {
  ConfigValue config;                          // complete: for describe_model()
  std::optional<std::string> from;             // the model directory that the weights come from
  ConfigValue overrides = ConfigValue::map();  // of its config.json
  std::vector<std::string> notes;              // for the log
};

/// Entries of the user's own that do not say how many axes of space their fields have, or that their numbers are complex, take it from the
/// model: the section of a run file, or the configuration of a model directory.
void follow_model(const ConfigValue& model, DataConfig& data);
/// The numbers of channels, and of scOT `channel_slice_list_normalized_loss`, default to the data set's. Throws ConfigError, with
/// the two numbers and the key to change, if model and data do not fit.
ModelChoice choose_model(const RunFile& run, const Dataset& dataset);

/// The model's own loss, or what `training.loss` puts in its place.
LossDescription loss_of_run(const Model& model, const TrainingConfig& config);

/// Running statistics mean that layers normalise by the micro-batch: accumulation would change the result, and is a ConfigError.
void require_whole_batches(const RunFile& run, const ParameterList& parameters);

/// trident.json of a model trained on these data.
ModelDescription description_of(const Dataset& dataset);

}  // namespace trident
