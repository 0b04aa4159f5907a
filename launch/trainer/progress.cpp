#include "launch/trainer/progress.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace trident {
namespace {

template <class... Parts>
std::string formatted(const char* format, Parts... parts) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), format, parts...);
  return text.data();
}

}  // namespace

std::string readable_duration(double seconds) {
  const auto whole = static_cast<long long>(std::ceil(seconds));
  if (whole < 60) return formatted("%lld s", whole);
  if (whole < 3600) return formatted("%lld min %02lld s", whole / 60, whole % 60);
  return formatted("%lld h %02lld min", whole / 3600, whole % 3600 / 60);
}

std::string readable_bytes(double bytes) {
  if (bytes < 1024.0 * 1024.0) return formatted("%.1f KiB", bytes / 1024.0);
  if (bytes < 1024.0 * 1024.0 * 1024.0) return formatted("%.1f MiB", bytes / (1024.0 * 1024.0));
  return formatted("%.2f GiB", bytes / (1024.0 * 1024.0 * 1024.0));
}

void Progress::report(const Step& step) {
  // The first step also warms up caches and pools; the second replaces it, later ones are averaged in.
  const double weight = step.step < 2 || seconds_per_step_ == 0.0 ? 1.0 : 0.1;
  seconds_per_step_ += weight * (step.seconds - seconds_per_step_);
  samples_per_second_ += weight * (static_cast<double>(step.samples) / step.seconds - samples_per_second_);
  const double interval_seconds = live_ ? 0.2 : 10.0;
  const Clock::time_point now = Clock::now();
  const bool last = step.step + 1 == options_.total_steps;
  const bool due = step.step == 0 || last || std::chrono::duration<double>(now - last_print_).count() >= interval_seconds;
  if (!due) return;
  last_print_ = now;
  if (live_ && !last) {
    log_.show_live(line(step));
  } else {
    log_(line(step));
  }
}

std::string Progress::line(const Step& step) const {
  const double flops = samples_per_second_ * options_.flops_per_sample;
  std::string text =
      formatted("step %lld/%lld  loss %.5g  rate %.3g  %.4g samples/s  %.3g TFLOP/s", static_cast<long long>(step.step + 1),
                static_cast<long long>(options_.total_steps), step.loss, step.learning_rate, samples_per_second_, flops / 1e12);
  if (options_.flops_limit > 0.0) text += formatted(" (%.0f %% of the limit)", 100.0 * flops / options_.flops_limit);
  text += "  " + readable_bytes(static_cast<double>(step.memory_bytes));
  const double left = seconds_per_step_ * static_cast<double>(options_.total_steps - step.step - 1);
  return text + "  " + readable_duration(left) + " left";
}

}  // namespace trident
