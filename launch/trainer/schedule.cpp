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
      return std::pow(options_.gamma, static_cast<double>((step - warmup) / options_.step_size));
    case ScheduleChoice::constant:
      return 1.0;
  }
  return 1.0;
}

}  // namespace trident
