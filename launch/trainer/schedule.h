/// The learning rate as a function of the step: what a group's own rate is multiplied by.
#pragma once

#include <cstdint>

#include "launch/run_config.h"

namespace trident {

class Schedule {
 public:
  struct Options {
    ScheduleChoice choice = ScheduleChoice::cosine;
    std::int64_t warmup_steps = 0;
    std::int64_t total_steps = 1;
    std::int64_t step_size = 1;  // step: steps between two reductions
    double gamma = 1.0;          // step: of each reduction
  };
  explicit Schedule(const Options& options) : options_(options) {}

  /// Of the update that ends step number `step` (from 0). Rises linearly from 0 at step 0 during the warm-up; then cosine: half a
  /// period, to 0 at total_steps; step: times gamma every step_size steps after the warm-up; constant: 1.
  /// Source: get_cosine_schedule_with_warmup of Hugging Face's transformers, whose first rate after a warm-up from 0 is 0.
  double factor(std::int64_t step) const;

 private:
  Options options_;
};

}  // namespace trident
