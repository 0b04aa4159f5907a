#include "launch/run_model.h"

#include <algorithm>

#include "checkpoint/model_directory.h"
#include "models/scot/scot_config.h"

namespace trident {
namespace {

constexpr const char* kSlices = "channel_slice_list_normalized_loss";

std::string names_of(const std::vector<Channel>& channels) {
  std::string names;
  for (const Channel& channel : channels) names += (names.empty() ? "" : ", ") + channel.name;
  return names;
}

/// First channels of the groups, and the end.
ConfigValue slices_of(const Problem& problem) {
  ConfigValue slices = ConfigValue::list({0});
  for (const ChannelGroup& group : channel_groups(problem)) slices.append(group.last);
  return slices;
}

/// The keys of `model` but those that say which model it is.
ConfigValue own_keys(const ConfigValue& model) {
  ConfigValue keys = ConfigValue::map();
  for (const auto& [key, value] : model.entries()) {
    if (key != "type" && key != "from") keys.set(key, value);
  }
  return keys;
}

/// The number that the run file gives for `key` must be the data's.
void require_channels(const RunFile& run, const ConfigValue& keys, const char* key, int of_data, const std::vector<Channel>& channels) {
  const ConfigValue* given = keys.find(key);
  if (given == nullptr || read_config<int>(*given, concat("model.", key)) == of_data) return;
  throw run.error(concat("model.", key), concat("the model would have ", given->as_integer(), " channels, but the data have ", of_data,
                                                " (", names_of(channels), "); set it to ", of_data, " or leave it out"));
}

void note_difference(ModelChoice& choice, const char* key, std::int64_t of_data) {
  const ConfigValue* stored = choice.config.find(key);
  if (stored != nullptr && stored->kind() == ConfigValue::Kind::integer && stored->as_integer() != of_data) {
    choice.notes.push_back(concat(*choice.from, " has ", key, " ", stored->as_integer(), ", the data have ", of_data));
  }
}

void check_time(const RunFile& run, ModelChoice& choice, const Dataset& dataset) {
  const ConfigValue* conditioned = choice.config.find("use_conditioning");
  const bool uses_time = conditioned != nullptr && read_config<bool>(*conditioned, "model.use_conditioning");
  if (uses_time && !dataset.has_time()) {
    throw run.error("model.use_conditioning",
                    concat("the model is conditioned on lead time, but problem \"", dataset.problem().name,
                           "\" is steady; set use_conditioning: false, or use the problem \"", dataset.problem().name, ".time\""));
  }
  if (!uses_time && dataset.has_time()) choice.notes.push_back("the model is not told the lead time (model.use_conditioning is false)");
}

}  // namespace

ModelChoice choose_model(const RunFile& run, const Dataset& dataset) {
  const ConfigValue& model = run.config.model;
  const Problem& problem = dataset.problem();
  ConfigValue keys = own_keys(model);
  // A misspelt key is an error, also where it would only override a config.json, which may hold keys of others.
  read_config<ScotConfig>(keys, "model");
  require_channels(run, keys, "num_channels", dataset.in_channels(), problem.input);
  require_channels(run, keys, "num_out_channels", dataset.out_channels(), problem.output);
  keys.set("num_channels", dataset.in_channels());
  keys.set("num_out_channels", dataset.out_channels());
  if (keys.find(kSlices) == nullptr) keys.set(kSlices, slices_of(problem));

  ModelChoice choice;
  if (const ConfigValue* from = model.find("from")) {
    choice.from = from->as_string();
    choice.config = read_model_config(*choice.from);
    note_difference(choice, "num_channels", dataset.in_channels());
    note_difference(choice, "num_out_channels", dataset.out_channels());
    choice.overrides = keys;
    for (const auto& [key, value] : keys.entries()) choice.config.set(key, value);
  } else {
    choice.config = keys;
    choice.config.set("type", *model.find("type"));
  }
  check_time(run, choice, dataset);
  return choice;
}

LossDescription loss_of_run(const Model& model, const TrainingConfig& config) {
  LossDescription loss = model->loss();
  if (config.loss) {
    loss.p = *config.loss == LossChoice::relative_l1 ? 1 : 2;
    if (loss.groups.empty()) loss.groups = {{0, model->num_out_channels()}};
  }
  return loss;
}

ModelDescription description_of(const Dataset& dataset) {
  ModelDescription description;
  for (const DatasetMember& member : dataset.members()) {
    const bool known = std::ranges::find(description.problems, member.problem.name, &Problem::name) != description.problems.end();
    if (!known) description.problems.push_back(member.problem);
  }
  return description;
}

}  // namespace trident
