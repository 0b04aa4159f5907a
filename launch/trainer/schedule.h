/// The learning rate as a function of the step: what a group's own rate is multiplied by.
#pragma once

#include <cstdint>
#include <optional>

#include "launch/run_config.h"

namespace trident {

/// What a schedule remembers of the run, for a checkpoint: plateau alone has something to remember.
struct ScheduleState {
  double factor = 1.0;
  std::optional<double> best;  // loss of an epoch
  std::int64_t bad_epochs = 0, steps = 0;
  double loss_sum = 0.0;  // of the epoch in progress, over its `steps`

  static void visit(auto& self, auto& v) {
    v("factor", self.factor), v("best", self.best), v("bad_epochs", self.bad_epochs), v("steps", self.steps), v("loss_sum", self.loss_sum);
  }
};

class Schedule {
 public:
  struct Options {
    ScheduleChoice choice = ScheduleChoice::cosine;
    double rate = 1.0;  // that factors are of; the main group's
    std::int64_t warmup_steps = 0;
    std::int64_t total_steps = 1;
    std::int64_t steps_per_unit = 1;  // 1, or those of an epoch; a unit has one rate
    std::int64_t step_size = 1;       // step: units between two reductions
    double gamma = 1.0;               // step, plateau: of each reduction
    std::int64_t t_max = 1;           // cosine_annealing: units of half a period
    double floor = 0.0;               // cosine_annealing: the factor at its end
    std::int64_t patience = 10;       // plateau: epochs without improvement that are tolerated
    std::int64_t steps_per_epoch = 1;
  };
  explicit Schedule(const Options& options) : options_(options) {}

  /// Of the update that ends step number `step` (from 0). Rises linearly from 0 at step 0 during the warm-up; then cosine: half a
  /// period, to 0 at total_steps; step: times gamma every step_size units; cosine_annealing: between 1 and floor with half period t_max;
  /// plateau: what observe() has reduced it to; constant: 1. Units are counted from the end of the warm-up.
  /// Sources: get_cosine_schedule_with_warmup of Hugging Face's transformers, whose first rate after a warm-up from 0 is 0; StepLR,
  /// CosineAnnealingLR and ReduceLROnPlateau of torch.optim, stepped once a unit.
  double factor(std::int64_t step) const;
  /// The loss of a step that is done. plateau: the factor is multiplied by gamma when the mean loss of an epoch has not fallen by a
  /// relative 1e-4 for more than `patience` epochs, unless that changes the rate by 1e-8 or less.
  void observe(double loss);

  const ScheduleState& state() const { return state_; }
  void restore(const ScheduleState& state) { state_ = state; }

 private:
  Options options_;
  ScheduleState state_;
};

}  // namespace trident
