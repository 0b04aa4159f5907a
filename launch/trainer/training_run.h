/// A whole run: the steps, with what happens between them: metrics, evaluation, the best model, checkpoints, stopping and going on.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/checkpoint_conversion.h"
#include "checkpoint/neuralop_training.h"
#include "checkpoint/training_state.h"
#include "launch/data/dataset.h"
#include "launch/evaluation.h"
#include "launch/trainer/checkpoint_saver.h"
#include "launch/trainer/log.h"
#include "launch/trainer/metrics.h"
#include "launch/trainer/profile.h"
#include "launch/trainer/progress.h"
#include "launch/trainer/run_folder.h"
#include "launch/trainer/stop_signal.h"
#include "launch/trainer/trainer.h"

namespace trident {

/// Where a run stands between two steps; saved with every checkpoint.
struct RunState {
  std::uint64_t seed = 0;
  std::int64_t steps_done = 0;
  LoaderPosition position;          // of the next batch
  std::optional<double> best_loss;  // of the validation
  int evaluations_without_better = 0;
  ScheduleState schedule;
  ConfigValue model = ConfigValue::map(), description = ConfigValue::map();  // config.json and trident.json: what the weights are of

  static void visit(auto& self, auto& v) {
    v("seed", self.seed), v("steps_done", self.steps_done), v("position", self.position), v("best_loss", self.best_loss);
    v("evaluations_without_better", self.evaluations_without_better), v("schedule", self.schedule), v(kModelKey, self.model);
    v(kDescriptionKey, self.description);
  }
};

class TrainingRun {
 public:
  struct Parts {
    RunFile run;
    RunFolder folder;
    std::shared_ptr<const Dataset> train, validation;  // validation may be null
    std::int64_t total_steps = 0;
    ConfigValue description;  // trident.json
    Mesh mesh;
    bool profile = false;
    std::chrono::steady_clock::time_point started;  // the command: reading and measuring data count as its time
  };
  /// `trainer` must outlive the run.
  TrainingRun(Parts parts, Trainer& trainer, Log& log);

  /// Goes on from a checkpoint: weights, moments, state; metrics.jsonl loses the rows past it.
  void resume(const std::filesystem::path& checkpoint, std::int64_t steps_per_epoch);
  /// Goes on from a training of neuraloperator, whose weights and moments the trainer has already: steps done, place in the order of
  /// samples, and what a plateau schedule remembers.
  void resume(const NeuralopTraining& saved, const std::filesystem::path& folder, std::int64_t steps_per_epoch);
  /// All steps that are left. Returns when they are done, or when the run was told to stop and has saved.
  void run();
  const RunState& state() const { return state_; }

 private:
  /// Why the run ends before its last step; the same on every rank.
  enum class Stop { no, signal, wall_time, early };

  TrainingState saved_state() const;
  /// `last`: nothing follows it.
  void save(bool last);
  void finish(Stop stop, int signal);
  /// Launches the next step, and reads the numbers of the one before, or of this one where nothing may run ahead.
  void take_step(GlobalBatch batch);
  bool may_run_ahead() const;
  /// Waits for the numbers of the step that was launched last, and writes them down.
  void record_launched();
  /// Whether the model has got better, and early stopping is not due.
  Stop evaluate();
  bool patience_is_over() const;
  Stop asked_to_stop(int& signal) const;
  /// Begins and ends the trace; `done`: steps of this process.
  void profile(std::int64_t done, bool last);
  bool due(const std::optional<std::int64_t>& every, std::int64_t steps) const;

  Parts parts_;
  Trainer& trainer_;
  Log& log_;
  Evaluator evaluator_;
  std::optional<MetricsFile> metrics_;  // rank 0
  Progress progress_;
  std::optional<Profiler> profiler_;
  StopSignal stop_signal_;
  RunState state_;
  std::chrono::steady_clock::time_point last_recorded_;  // or since when the next step has been under way
  std::optional<LaunchedStep> launched_;
  double longest_step_ = 0.0, longest_evaluation_ = 0.0;  // seconds
  CheckpointSaver saver_;
};

/// FLOP/s of a large matrix product, on this rank's threads or GPU: the machine's limit.
double measured_flops_limit(const Computing& computing);

}  // namespace trident
