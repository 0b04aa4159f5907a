#include "launch/run_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "launch/mesh_choice.h"
#include "runtime/device/device.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCommandLine = "command line";  // where overrides come from
constexpr std::size_t kLongestRunFile = std::size_t{4} << 20;
constexpr int kMostSteps = 10'000;  // of a roll-out

std::string read_text(const std::string& path) {
  if (fs::is_directory(path)) throw ConfigError(concat(path, ": is a folder; a run file is expected"));
  std::ifstream file(path, std::ios::binary);
  if (!file) throw ConfigError(concat(path, ": cannot be opened; check the path of the run file"));
  std::string text(kLongestRunFile + 1, '\0');  // a pipe is read, too, and some of them have no end
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kLongestRunFile) throw ConfigError(concat(path, ": is longer than ", kLongestRunFile, " bytes; is this a run file?"));
  return text;
}

/// `path` made absolute, against the folder of the document that named it.
std::string resolved(const RunFile& run, const std::string& key, const std::string& path, const fs::path& folder) {
  const ConfigValue* value = find_path(run.document, key);
  const bool from_command_line = value != nullptr && value->where().starts_with(kCommandLine);
  return ((from_command_line ? fs::current_path() : folder) / path).lexically_normal().string();
}

void resolve_paths(RunFile& run, const fs::path& folder) {
  RunConfig& config = run.config;
  if (!config.output.empty()) config.output = resolved(run, "output", config.output, folder);
  if (const ConfigValue* from = config.model.find("from")) {
    config.model.set("from", resolved(run, "model.from", read_config<std::string>(*from, "model.from"), folder));
  }
  for (const auto& [name, entries] : {std::pair{"train", &config.data.train}, std::pair{"validation", &config.data.validation}}) {
    for (std::size_t index = 0; index < entries->size(); ++index) {
      std::string& path = (*entries)[index].path;
      const std::string key = concat("data.", name, "[", index, "].path");
      if (path.empty()) throw run.error(key, "a path is missing; give the data file or the folder of chunk files");
      path = resolved(run, key, path, folder);
    }
  }
}

/// No setting of a run is infinite.
void require_finite(const RunFile& run, const ConfigValue& value, const std::string& path) {
  for (const auto& [key, child] : value.kind() == ConfigValue::Kind::map ? value.entries() : std::vector<ConfigValue::Entry>{}) {
    require_finite(run, child, path.empty() ? key : concat(path, ".", key));
  }
  for (std::size_t index = 0; value.kind() == ConfigValue::Kind::list && index < value.elements().size(); ++index) {
    require_finite(run, value.elements()[index], concat(path, "[", index, "]"));
  }
  if (value.kind() != ConfigValue::Kind::number || std::isfinite(value.as_number())) return;
  throw run.error(path, concat("expected a finite number, found ", value.described()));
}

/// Throws unless `holds`; the value found stands in the message as it was written.
template <class T>
void require(const RunFile& run, bool holds, const char* key, const T& found, const char* expected) {
  if (!holds) throw run.error(key, concat("expected ", expected, ", found ", write_config(found).described()));
}
template <class T>
void require_at_least(const RunFile& run, const char* key, const std::optional<T>& found, T smallest) {
  if (found && *found < smallest) throw run.error(key, concat("expected at least ", smallest, ", found ", *found));
}

void check_schedule(const RunFile& run) {
  const TrainingConfig& training = run.config.training;
  require_at_least(run, "training.step_size", training.step_size, std::int64_t{1});
  require_at_least(run, "training.t_max", training.t_max, std::int64_t{1});
  require(run, training.gamma > 0.0, "training.gamma", training.gamma, "a number above 0");
  require(run, training.eta_min >= 0.0, "training.eta_min", training.eta_min, "a rate that is not negative");
  require(run, training.patience >= 0, "training.patience", training.patience, "at least 0");
  if (training.lr_scheduler == ScheduleChoice::step && !training.step_size) {
    throw run.error(
        "training.lr_scheduler",
        "the schedule \"step\" needs training.step_size, the steps (or epochs: training.schedule_unit) between two reductions of "
        "the rate");
  }
  if (training.lr_scheduler == ScheduleChoice::cosine_annealing && !training.t_max) {
    throw run.error(
        "training.lr_scheduler",
        "the schedule \"cosine_annealing\" needs training.t_max, the steps (or epochs: training.schedule_unit) of half a period");
  }
}

void check_optimizer(const RunFile& run) {
  const TrainingConfig& training = run.config.training;
  for (const auto& [key, rate] : {std::pair{"training.learning_rate", std::optional(training.learning_rate)},
                                  std::pair{"training.learning_rate_embedding_recovery", training.learning_rate_embedding_recovery},
                                  std::pair{"training.learning_rate_time_embedding", training.learning_rate_time_embedding},
                                  std::pair{"training.weight_decay", std::optional(training.weight_decay)}}) {
    if (rate) require(run, *rate >= 0.0, key, *rate, "a number that is not negative");
  }
  for (int index = 0; index < 2; ++index) {
    const double beta = training.betas[static_cast<std::size_t>(index)];
    require(run, beta >= 0.0 && beta < 1.0, index == 0 ? "training.betas[0]" : "training.betas[1]", beta, "a number from 0 to below 1");
  }
  if (training.eps) require(run, *training.eps > 0.0, "training.eps", *training.eps, "a number above 0");
  require(run, training.correct_bias || training.optimizer == OptimizerChoice::neuralop_adamw, "training.correct_bias",
          training.correct_bias, "true with the optimizer adamw; neuralop_adamw takes both");
  if (training.max_grad_norm) {
    require(run, *training.max_grad_norm > 0.0, "training.max_grad_norm", *training.max_grad_norm,
            "a number above 0, or null for no clipping");
  }
  require(run, training.warmup_steps >= 0, "training.warmup_steps", training.warmup_steps, "at least 0");
  check_schedule(run);
}

void check_loss(const RunFile& run) {
  const TrainingConfig& training = run.config.training;
  const NormLossConfig& options = training.loss_options;
  require(run, options.p >= 1.0, "training.loss_options.p", options.p, "at least 1");
  for (const double extent : options.measure.value_or(std::vector<double>{})) {
    require(run, extent > 0.0, "training.loss_options.measure", extent, "extents above 0");
  }
  const ConfigValue given = write_config(options), defaults = write_config(NormLossConfig{});
  for (const auto& [key, value] : given.entries()) {
    const bool is_used = training.loss == LossChoice::h1 ? key != "p" : training.loss == LossChoice::lp && key != "periodic";
    if (is_used || to_json(value) == to_json(*defaults.find(key))) continue;
    throw run.error(
        "training.loss_options." + key,
        "changes nothing with this training.loss (p is of lp, periodic of h1, the others of both); leave it out, or change the loss");
  }
  const bool norm = training.loss == LossChoice::lp || training.loss == LossChoice::h1;
  if (norm && training.loss_scope == LossScope::per_rank) {
    throw run.error("training.loss_scope", "norms belong to samples, not to a rank's batch; leave it global with training.loss h1 and lp");
  }
}

void check_training(const RunFile& run) {
  const TrainingConfig& training = run.config.training;
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();  // so that products of counts stay countable
  require(run, training.global_batch_size >= 1, "training.global_batch_size", training.global_batch_size, "at least 1");
  require(run, training.global_batch_size <= kMost, "training.global_batch_size", training.global_batch_size, "at most 2147483647");
  require(run, training.gradient_accumulation_steps >= 1, "training.gradient_accumulation_steps", training.gradient_accumulation_steps,
          "at least 1");
  require(run, training.gradient_accumulation_steps <= training.global_batch_size, "training.gradient_accumulation_steps",
          training.gradient_accumulation_steps, "at most the samples of training.global_batch_size");
  require_at_least(run, "training.steps", training.steps, std::int64_t{1});
  require_at_least(run, "training.epochs", training.epochs, std::int64_t{1});
  require(run, training.epochs.value_or(1) <= kMost, "training.epochs", training.epochs.value_or(1), "at most 2147483647");
  require_at_least(run, "training.early_stopping_patience", training.early_stopping_patience, 1);
  if (training.max_wall_time && !seconds_of(*training.max_wall_time)) {
    throw run.error("training.max_wall_time",
                    concat("expected a duration such as 11h30m, 90m or 45s, found \"", *training.max_wall_time, "\""));
  }
  if (training.early_stopping_patience && !run.config.evaluation.every) {
    throw run.error("training.early_stopping_patience", "needs evaluation.every, the steps between two evaluations");
  }
}

void check_device(const RunFile& run) {
  const bool cuda = run.config.device == DeviceChoice::cuda;
  if (cuda && !build::kHasCuda) throw run.error("device", "this build has no CUDA; set device: cpu");
  if (run.config.training.precision == Precision::bf16 && !cuda) {
    throw run.error("training.precision", "bf16 needs device: cuda; on the CPU use f32 or f64");
  }
}

void check_evaluation(const RunFile& run) {
  const EvaluationConfig& evaluation = run.config.evaluation;
  require_at_least(run, "evaluation.every", evaluation.every, std::int64_t{1});
  require_at_least(run, "evaluation.batch_size", evaluation.batch_size, std::int64_t{1});
  for (std::size_t index = 0; index < evaluation.cases.size(); ++index) step_frames(run, index);
  if (evaluation.every && run.config.data.validation.empty()) {
    throw run.error("evaluation.every", "needs data.validation, the data to evaluate on");
  }
  require_at_least(run, "checkpoint.every", run.config.checkpoint.every, std::int64_t{1});
  require_at_least(run, "checkpoint.keep", std::optional(run.config.checkpoint.keep), 1);
}

}  // namespace

void apply_override(ConfigValue& document, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw ConfigError(concat(kCommandLine, ": expected key=value such as training.steps=10, found \"", text, "\""));
  }
  set_path(document, text.substr(0, equals), parse_yaml(text.substr(equals + 1), kCommandLine));
}

RunFile read_run(const std::string& path, const std::vector<std::string>& overrides) {
  RunFile run;
  run.document = parse_yaml(read_text(path), path);
  for (const std::string& text : overrides) apply_override(run.document, text);
  run.config = read_config<RunConfig>(run.document);
  if (run.config.model.kind() != ConfigValue::Kind::map) throw run.error("model", "expected a map of keys");
  require_finite(run, run.document, "");
  resolve_paths(run, fs::absolute(path).parent_path());
  check_training(run);
  check_optimizer(run);
  check_loss(run);
  check_device(run);
  check_parallel(run.config.parallel, run.document);
  check_evaluation(run);
  return run;
}

void check_for_training(const RunFile& run) {
  const RunConfig& config = run.config;
  if (config.output.empty()) throw run.error("output", "is missing; name the folder that the run writes");
  if (config.data.train.empty()) throw run.error("data.train", "is missing; list at least one data set");
  if (config.model.find("type") == nullptr && config.model.find("from") == nullptr) {
    throw run.error("model", "needs `type` (scot, fno, tfno or mg_tfno) with its sizes, or `from`, a model directory to start from");
  }
  if (config.training.restore_optimizer && config.model.find("from") == nullptr) {
    throw run.error("training.restore_optimizer",
                    "needs model.from, the folder in which neuraloperator's trainer saved model and optimizer.pt");
  }
  if (config.training.steps.has_value() == config.training.epochs.has_value()) {
    throw run.error("training.steps", "give either training.steps or training.epochs");
  }
}

void check_for_evaluation(const RunFile& run) {
  if (run.config.data.validation.empty()) throw run.error("data.validation", "is missing; list at least one data set to evaluate on");
}

std::vector<std::string> overrides_of(const CommonOptions& options) {
  std::vector<std::string> overrides;
  if (options.device) overrides.push_back("device=" + write_config(*options.device).as_string());
  if (options.precision) overrides.push_back("training.precision=" + write_config(*options.precision).as_string());
  return overrides;
}

std::vector<double> step_frames(const RunFile& run, std::size_t index) {
  const EvaluationCase& wanted = run.config.evaluation.cases[index];
  const std::string key = concat("evaluation.cases[", index, "]");
  const std::int64_t frames = std::int64_t{wanted.final_time} - wanted.initial_time;
  if (wanted.initial_time < 0 || frames < 1) {
    throw run.error(key, concat("expected 0 <= initial_time < final_time, found ", wanted.initial_time, " and ", wanted.final_time));
  }
  if (wanted.ar_steps.kind() != ConfigValue::Kind::list) {
    const int steps = read_config<int>(wanted.ar_steps, key + ".ar_steps");
    if (steps < 1) throw run.error(key + ".ar_steps", concat("expected at least 1 step, found ", steps));
    if (steps > kMostSteps) throw run.error(key + ".ar_steps", concat("expected at most ", kMostSteps, " steps, found ", steps));
    if (wanted.every_step && frames % steps != 0) {
      throw run.error(key + ".ar_steps", concat("every_step compares with frames of the data, but ", frames, " frames do not divide into ",
                                                steps, " equal steps; give a list of frames instead"));
    }
    return std::vector<double>(static_cast<std::size_t>(steps), static_cast<double>(frames) / steps);
  }
  const std::vector<int> steps = read_config<std::vector<int>>(wanted.ar_steps, key + ".ar_steps");
  std::int64_t sum = 0;
  for (const int step : steps) {
    if (step < 1) throw run.error(key + ".ar_steps", concat("expected at least 1 frame a step, found ", step));
    sum += step;
  }
  if (sum != frames) {
    throw run.error(key + ".ar_steps", concat("the steps advance ", sum, " frames, but final_time - initial_time is ", frames));
  }
  return {steps.begin(), steps.end()};
}

std::optional<double> seconds_of(std::string_view duration) {
  double seconds = 0.0;
  if (duration.empty()) return std::nullopt;
  while (!duration.empty()) {
    double number = 0.0;
    const auto parsed = std::from_chars(duration.data(), duration.data() + duration.size(), number);
    const auto digits = static_cast<std::size_t>(parsed.ptr - duration.data());
    if (parsed.ec != std::errc() || digits == duration.size() || !(number >= 0.0)) return std::nullopt;
    switch (duration[digits]) {
      case 'd':
        number *= 24.0 * 3600.0;
        break;
      case 'h':
        number *= 3600.0;
        break;
      case 'm':
        number *= 60.0;
        break;
      case 's':
        break;
      default:
        return std::nullopt;
    }
    seconds += number;
    duration.remove_prefix(digits + 1);
  }
  return seconds;
}

}  // namespace trident
