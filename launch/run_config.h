/// The run file: one document for training and evaluation. docs/configuration.md explains every key.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/command_context.h"
#include "launch/data/data_config.h"
#include "models/losses.h"
#include "runtime/config.h"

namespace trident {

enum class OptimizerChoice { adamw, neuralop_adamw };
inline auto config_names(OptimizerChoice) {
  return std::array{std::pair{OptimizerChoice::adamw, "adamw"}, std::pair{OptimizerChoice::neuralop_adamw, "neuralop_adamw"}};
}

enum class ScheduleChoice { cosine, step, cosine_annealing, plateau, constant };
inline auto config_names(ScheduleChoice) {
  return std::array{std::pair{ScheduleChoice::cosine, "cosine"}, std::pair{ScheduleChoice::step, "step"},
                    std::pair{ScheduleChoice::cosine_annealing, "cosine_annealing"}, std::pair{ScheduleChoice::plateau, "plateau"},
                    std::pair{ScheduleChoice::constant, "constant"}};
}

/// What a schedule counts.
enum class ScheduleUnit { step, epoch };
inline auto config_names(ScheduleUnit) {
  return std::array{std::pair{ScheduleUnit::step, "step"}, std::pair{ScheduleUnit::epoch, "epoch"}};
}

enum class LossChoice { relative_l1, relative_l2, lp, h1 };
inline auto config_names(LossChoice) {
  return std::array{std::pair{LossChoice::relative_l1, "relative_l1"}, std::pair{LossChoice::relative_l2, "relative_l2"},
                    std::pair{LossChoice::lp, "lp"}, std::pair{LossChoice::h1, "h1"}};
}

/// Of the fields that a loss or an error compares: the model's own numbers, or the data's.
enum class Units { normalized, physical };
inline auto config_names(Units) { return std::array{std::pair{Units::normalized, "normalized"}, std::pair{Units::physical, "physical"}}; }

/// Of the losses lp and h1.
struct NormLossConfig {
  double p = 2.0;                              // lp
  ConfigValue periodic = true;                 // h1: true, false, or one for each space axis
  std::optional<std::vector<double>> measure;  // the domain's extent along each space axis; null: 1
  Relation relation = Relation::relative;
  Reduction reduction = Reduction::sum;  // over samples and channels

  static void visit(auto& self, auto& v) {
    v("p", self.p), v("periodic", self.periodic), v("measure", self.measure), v("relation", self.relation), v("reduction", self.reduction);
  }
};

struct TrainingConfig {
  std::int64_t global_batch_size = 16;  // samples of one step, over all ranks and accumulation
  int gradient_accumulation_steps = 1;
  std::optional<std::int64_t> steps, epochs;  // one of them
  OptimizerChoice optimizer = OptimizerChoice::adamw;
  bool restore_optimizer = false;  // go on from the moments and steps beside `model.from`
  double learning_rate = 5e-4;
  std::optional<double> learning_rate_embedding_recovery, learning_rate_time_embedding;
  std::array<double, 2> betas{0.9, 0.999};
  std::optional<double> eps;  // null: the optimiser's own
  bool correct_bias = true;   // of the moments, which start from 0; false: neuralop_adamw alone
  double weight_decay = 0.0;
  std::optional<double> max_grad_norm = 5.0;
  ScheduleChoice lr_scheduler = ScheduleChoice::cosine;
  std::int64_t warmup_steps = 0;
  ScheduleUnit schedule_unit = ScheduleUnit::step;
  std::optional<std::int64_t> step_size;  // units between two reductions of the rate (lr_scheduler: step)
  double gamma = 0.5;                     // of each reduction (step, plateau)
  std::optional<std::int64_t> t_max;      // units of half a period (cosine_annealing)
  double eta_min = 0.0;                   // the main group's rate at its end
  std::int64_t patience = 10;             // epochs without improvement (plateau)
  std::optional<LossChoice> loss;         // null: the model's own
  NormLossConfig loss_options;
  LossScope loss_scope = LossScope::global;  // per_rank: as the reference under data parallelism
  Units loss_units = Units::normalized;
  Precision precision = Precision::f32;
  bool activation_checkpointing = false;
  bool cuda_graphs = true;
  std::optional<int> early_stopping_patience;  // evaluations without a better model
  std::vector<std::string> freeze;             // shell patterns of parameter names
  std::optional<std::string> max_wall_time;    // "11h30m"

  double adamw_eps() const { return eps.value_or(optimizer == OptimizerChoice::neuralop_adamw ? 1e-6 : 1e-8); }

  static void visit(auto& self, auto& v) {
    v("global_batch_size", self.global_batch_size), v("gradient_accumulation_steps", self.gradient_accumulation_steps);
    v("steps", self.steps), v("epochs", self.epochs), v("optimizer", self.optimizer);
    v("restore_optimizer", self.restore_optimizer), v("learning_rate", self.learning_rate);
    v("learning_rate_embedding_recovery", self.learning_rate_embedding_recovery);
    v("learning_rate_time_embedding", self.learning_rate_time_embedding);
    v("betas", self.betas), v("eps", self.eps), v("correct_bias", self.correct_bias), v("weight_decay", self.weight_decay),
        v("max_grad_norm", self.max_grad_norm);
    v("lr_scheduler", self.lr_scheduler), v("warmup_steps", self.warmup_steps), v("schedule_unit", self.schedule_unit);
    v("step_size", self.step_size), v("gamma", self.gamma), v("t_max", self.t_max), v("eta_min", self.eta_min),
        v("patience", self.patience);
    v("loss", self.loss), v("loss_options", self.loss_options), v("loss_scope", self.loss_scope), v("loss_units", self.loss_units),
        v("precision", self.precision), v("activation_checkpointing", self.activation_checkpointing), v("cuda_graphs", self.cuda_graphs);
    v("early_stopping_patience", self.early_stopping_patience), v("freeze", self.freeze), v("max_wall_time", self.max_wall_time);
  }
};

/// One comparison of frame `final_time`, reached from frame `initial_time`, with the data.
struct EvaluationCase {
  int initial_time = 0, final_time = 0;  // frames
  ConfigValue ar_steps = 1;              // n equal steps, or a list of the frames of each
  bool every_step = false;               // compare each step with the frame that it reaches

  static void visit(auto& self, auto& v) {
    v("initial_time", self.initial_time), v("final_time", self.final_time), v("ar_steps", self.ar_steps), v("every_step", self.every_step);
  }
};

struct EvaluationConfig {
  std::optional<std::int64_t> every;       // steps
  std::optional<std::int64_t> batch_size;  // null: training.global_batch_size
  Units units = Units::normalized;
  std::vector<EvaluationCase> cases;

  static void visit(auto& self, auto& v) {
    v("every", self.every), v("batch_size", self.batch_size), v("units", self.units), v("cases", self.cases);
  }
};

struct CheckpointConfig {
  std::optional<std::int64_t> every;  // steps; null: at the end, and when the run is told to stop
  int keep = 3;
  std::optional<bool> background;  // null: on GPUs

  static void visit(auto& self, auto& v) { v("every", self.every), v("keep", self.keep), v("background", self.background); }
};

inline auto config_names(Axis) {
  return std::array{std::pair{Axis::data, "data"}, std::pair{Axis::domain_y, "domain_y"}, std::pair{Axis::domain_x, "domain_x"},
                    std::pair{Axis::tensor, "tensor"}};
}

struct ParallelConfig {
  std::optional<int> data;  // null: the ranks that the other axes leave
  int domain_y = 1, domain_x = 1, tensor = 1;
  bool optimizer_sharding = false, sequence_parallel = false;
  int timeout_seconds = 600;
  MeshOrder order = kDefaultOrder;  // from the fastest axis to the slowest

  static void visit(auto& self, auto& v) {
    v("data", self.data), v("domain_y", self.domain_y), v("domain_x", self.domain_x), v("tensor", self.tensor);
    v("optimizer_sharding", self.optimizer_sharding), v("sequence_parallel", self.sequence_parallel);
    v("timeout_seconds", self.timeout_seconds), v("order", self.order);
  }
};

struct RunConfig {
  std::string output;
  std::uint64_t seed = 0;
  DeviceChoice device = DeviceChoice::cpu;
  ConfigValue model = ConfigValue::map();  // type and the reference's own keys, or from: DIR and what it overrides
  DataConfig data;
  TrainingConfig training;
  EvaluationConfig evaluation;
  CheckpointConfig checkpoint;
  ParallelConfig parallel;

  static void visit(auto& self, auto& v) {
    v("output", self.output), v("seed", self.seed), v("device", self.device), v("model", self.model), v("data", self.data);
    v("training", self.training), v("evaluation", self.evaluation), v("checkpoint", self.checkpoint), v("parallel", self.parallel);
  }
};

/// A run file with its overrides: what it says, and where it says it.
struct RunFile {
  RunConfig config;      // paths are absolute
  ConfigValue document;  // with the lines, for messages

  /// An error about a key, with its line.
  ConfigError error(std::string_view key, const std::string& what) const { return config_error(document, key, what); }
};

/// Reads a run file; `overrides` are key=value. Paths in the file are relative to its folder, in overrides to the current one.
/// Throws ConfigError on what no run can mean; the two checks below add what training and evaluation need.
RunFile read_run(const std::string& path, const std::vector<std::string>& overrides);
void check_for_training(const RunFile& run);
void check_for_evaluation(const RunFile& run);

/// "training.steps=10" put into a document. Throws ConfigError if it is no key=value.
void apply_override(ConfigValue& document, const std::string& text);
/// The flags of the command line as overrides of a run file.
std::vector<std::string> overrides_of(const CommonOptions& options);

/// Frames that each step of a case advances: whole ones if every step is compared. Throws ConfigError, naming `evaluation.cases[index]`, on
/// steps that do not fit.
std::vector<double> step_frames(const RunFile& run, std::size_t index);

/// "11h30m", "90m", "45s", "2d" in seconds; nothing if it is not a duration.
std::optional<double> seconds_of(std::string_view duration);

}  // namespace trident
