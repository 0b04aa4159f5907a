/// How fast a run goes and how long it still takes: one live line on a terminal, a plain line now and then otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "launch/trainer/log.h"

namespace trident {

/// "3 h 12 min", "4 min 10 s", "12 s".
std::string readable_duration(double seconds);
/// "1.2 GiB".
std::string readable_bytes(double bytes);

class Progress {
 public:
  struct Options {
    std::int64_t total_steps = 1;
    double flops_per_sample = 0.0;  // of a training step
    double flops_limit = 0.0;       // FLOP/s that all ranks together reach on a large matrix product
  };
  struct Step {
    std::int64_t step = 0;  // from 0
    double loss = 0.0, learning_rate = 0.0;
    std::int64_t samples = 0;
    double seconds = 0.0;
    std::int64_t memory_bytes = 0;  // of this rank, at its peak
  };

  Progress(Log& log, const Options& options) : log_(log), options_(options), live_(on_terminal()) {}

  /// To be called after every step; prints what is due.
  void report(const Step& step);

 private:
  std::string line(const Step& step) const;

  using Clock = std::chrono::steady_clock;
  Log& log_;
  Options options_;
  bool live_;
  double seconds_per_step_ = 0.0, samples_per_second_ = 0.0;  // smoothed
  Clock::time_point last_print_{};
};

}  // namespace trident
