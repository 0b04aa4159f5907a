#include "launch/trainer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trident {

double Schedule::factor(std::int64_t step) const {
  const std::int64_t warmup = options_.warmup_steps;
  if (step < warmup) return static_cast<double>(step) / static_cast<double>(warmup);
  const auto since = static_cast<double>(step - warmup);
  switch (options_.choice) {
    case ScheduleChoice::cosine: {
      const double progress = since / static_cast<double>(std::max<std::int64_t>(1, options_.total_steps - warmup));
      return std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
    }
    case ScheduleChoice::step:
      return std::pow(options_.gamma, static_cast<double>((step - warmup) / options_.steps_per_unit / options_.step_size));
    case ScheduleChoice::cosine_annealing: {
      const auto unit = static_cast<double>((step - warmup) / options_.steps_per_unit);
      const double height = 0.5 * (1.0 + std::cos(std::numbers::pi * unit / static_cast<double>(options_.t_max)));
      return options_.floor + (1.0 - options_.floor) * height;
    }
    case ScheduleChoice::plateau:
      return state_.factor;
    case ScheduleChoice::constant:
      return 1.0;
  }
  return 1.0;
}

void Schedule::observe(double loss) {
  constexpr double kThreshold = 1e-4, kLeastChange = 1e-8;
  if (options_.choice != ScheduleChoice::plateau) return;
  state_.loss_sum += loss;
  if (++state_.steps < options_.steps_per_epoch) return;
  const double mean = state_.loss_sum / static_cast<double>(state_.steps);
  if (!state_.best || mean < *state_.best * (1.0 - kThreshold)) {
    state_.best = mean;
    state_.bad_epochs = 0;
  } else if (++state_.bad_epochs > options_.patience) {
    const double reduced = state_.factor * options_.gamma;
    if (options_.rate * (state_.factor - reduced) > kLeastChange) state_.factor = reduced;
    state_.bad_epochs = 0;
  }
  state_.loss_sum = 0.0;
  state_.steps = 0;
}

}  // namespace trident
