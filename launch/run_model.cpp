#include "launch/run_model.h"

#include <algorithm>

#include "checkpoint/model_directory.h"
#include "launch/data/own_data.h"
#include "models/fno/fno_config.h"

namespace trident {
namespace {

constexpr const char* kSlices = "channel_slice_list_normalized_loss";
constexpr const char* kPeriodic = "training.loss_options.periodic";

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

/// What a type of model calls its channels.
struct ChannelKeys {
  const char *in, *out;
};

bool is_scot(const std::string& type) { return type == "scot"; }

ChannelKeys channel_keys(const std::string& type) {
  return is_scot(type) ? ChannelKeys{"num_channels", "num_out_channels"} : ChannelKeys{"in_channels", "out_channels"};
}

/// The type of the model in a directory: config.json of the reference of scOT has none.
std::string type_of(const ConfigValue& config) {
  const ConfigValue* type = config.find("type");
  return type == nullptr ? "scot" : read_config<std::string>(*type, "model.type");
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

void require_axes(const char* key, std::size_t given, int axes) {
  if (given == static_cast<std::size_t>(axes)) return;
  throw ConfigError(concat("training.loss_options.", key, ": has ", given, " entries for a model of ", axes,
                           " space axes; give one for each axis, in the order of the array"));
}

NormLoss norm_loss_of(const TrainingConfig& config, int axes) {
  const NormLossConfig& options = config.loss_options;
  NormLoss loss{.kind = config.loss == LossChoice::h1 ? NormKind::h1 : NormKind::lp,
                .axes = axes,
                .p = options.p,
                .relation = options.relation,
                .reduction = options.reduction};
  if (options.measure) {
    require_axes("measure", options.measure->size(), axes);
    loss.measure = *options.measure;
  }
  if (options.periodic.kind() != ConfigValue::Kind::list) {
    loss.periodic.assign(static_cast<std::size_t>(axes), read_config<bool>(options.periodic, kPeriodic));
  } else {
    require_axes("periodic", options.periodic.elements().size(), axes);
    for (const ConfigValue& periodic : options.periodic.elements()) loss.periodic.push_back(read_config<bool>(periodic, kPeriodic));
  }
  return loss;
}

/// The key that makes a model of this type depend on the lead time, and the value that does not.
std::string way_out_of_time(const std::string& type) { return is_scot(type) ? "use_conditioning: false" : "another norm than ada_in"; }

void check_time(const RunFile& run, ModelChoice& choice, const Dataset& dataset) {
  const std::string type = type_of(choice.config), key = is_scot(type) ? "use_conditioning" : "norm";
  const ConfigValue* value = choice.config.find(key);
  const bool uses_time = value != nullptr && (is_scot(type) ? read_config<bool>(*value, "model." + key)
                                                            : value->kind() == ConfigValue::Kind::string && value->as_string() == "ada_in");
  if (uses_time && !dataset.has_time()) {
    throw run.error("model." + key,
                    concat("the model is conditioned on lead time, but problem \"", dataset.problem().name, "\" is steady; set ",
                           way_out_of_time(type), ", or use the problem \"", dataset.problem().name, ".time\""));
  }
  if (!uses_time && dataset.has_time()) choice.notes.push_back(concat("the model is not told the lead time (model.", key, ")"));
}

/// The axes of space that a model's fields have; nothing if its configuration makes no sense, which describe_model() says.
std::optional<int> space_axes_of(const ConfigValue* modes) {
  if (modes == nullptr) return 2;  // scOT
  if (modes->kind() != ConfigValue::Kind::list || modes->elements().empty() || modes->elements().size() > 3) return std::nullopt;
  return static_cast<int>(modes->elements().size());
}

void check_fields(const RunFile& run, const ConfigValue& config, const Problem& problem) {
  const std::optional<int> axes = space_axes_of(config.find("n_modes"));
  if (axes && *axes != problem.space_axes) {
    throw run.error("model.n_modes",
                    concat("the model has ", *axes, " dimensions, but the fields of \"", problem.name, "\" have ", problem.space_axes,
                           "; give ", problem.space_axes, problem.space_axes == 1 ? " number" : " numbers",
                           " of modes to fno or tfno, "
                           "or other data (space_axes)"));
  }
  const ConfigValue* complex = config.find("complex_data");
  const bool takes_complex = complex != nullptr && read_config<bool>(*complex, "model.complex_data");
  if (takes_complex != problem.complex) {
    throw run.error("model.complex_data",
                    concat("the model takes ", takes_complex ? "complex" : "real", " fields, but those of \"", problem.name, "\" are ",
                           problem.complex ? "complex" : "real", "; set it to ", problem.complex ? "true" : "false"));
  }
}

}  // namespace

void follow_model(const ConfigValue& model, DataConfig& data) {
  const ConfigValue* from = model.find("from");
  const ConfigValue stored = from != nullptr ? read_model_config(from->as_string()) : ConfigValue::map();
  const auto value_of = [&](const char* key) { return model.find(key) != nullptr ? model.find(key) : stored.find(key); };
  const std::optional<int> axes = space_axes_of(value_of("n_modes"));
  const ConfigValue* complex = value_of("complex_data");
  const bool is_complex = complex != nullptr && complex->kind() == ConfigValue::Kind::boolean && complex->as_bool();
  for (auto* entries : {&data.train, &data.validation}) {
    for (DataEntry& entry : *entries) {
      if (entry.problem) continue;
      entry.has_axes_of_model = !entry.space_axes;
      if (entry.has_axes_of_model) entry.space_axes = axes;
      if (!entry.complex && is_complex) entry.complex = true;
    }
  }
}

ModelChoice choose_model(const RunFile& run, const Dataset& dataset) {
  const ConfigValue& model = run.config.model;
  const Problem& problem = dataset.problem();
  ConfigValue keys = own_keys(model);
  ModelChoice choice;
  if (const ConfigValue* from = model.find("from")) {
    choice.from = from->as_string();
    choice.config = read_model_config(*choice.from);
  }
  const std::string type = type_of(choice.from ? choice.config : model);
  const ChannelKeys channels = channel_keys(type);
  ConfigValue given = keys;
  given.set("type", choice.from ? ConfigValue(type) : *model.find("type"));
  check_model_keys(given);  // a misspelt key is an error, also where it would only override a config.json, which may hold keys of others
  require_channels(run, keys, channels.in, dataset.in_channels(), problem.input);
  require_channels(run, keys, channels.out, dataset.out_channels(), problem.output);
  keys.set(channels.in, dataset.in_channels());
  keys.set(channels.out, dataset.out_channels());
  if (is_scot(type) && keys.find(kSlices) == nullptr) keys.set(kSlices, slices_of(problem));

  if (choice.from) {
    note_difference(choice, channels.in, dataset.in_channels());
    note_difference(choice, channels.out, dataset.out_channels());
    choice.overrides = keys;
    for (const auto& [key, value] : keys.entries()) choice.config.set(key, value);
  } else {
    choice.config = keys;
    choice.config.set("type", *model.find("type"));
  }
  check_time(run, choice, dataset);
  check_fields(run, choice.config, problem);
  return choice;
}

LossDescription loss_of_run(const Model& model, const TrainingConfig& config) {
  LossDescription loss = model->loss();
  if (config.loss == LossChoice::lp || config.loss == LossChoice::h1) {
    loss.norm = norm_loss_of(config, model->num_dims());
  } else if (config.loss) {
    loss.norm.reset();
    loss.p = *config.loss == LossChoice::relative_l1 ? 1 : 2;
    if (loss.groups.empty()) loss.groups = {{0, model->num_out_channels()}};
  }
  return loss;
}

void require_whole_batches(const RunFile& run, const ParameterList& parameters) {
  const std::int64_t micro_batches = run.config.training.gradient_accumulation_steps;
  if (micro_batches == 1 || parameters.buffers().empty()) return;
  throw run.error("training.gradient_accumulation_steps",
                  concat("got ", micro_batches, ", but \"", parameters.buffers().front().name,
                         "\" is a statistic of the whole batch; set it to 1, or take a model without batch norms (another model.norm; ",
                         "model.residual_model: convnext)"));
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
