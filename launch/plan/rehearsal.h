/// What one rank needs for a training step: the trainer's own code on tensors without memory and ranks that are not there, so nothing is
/// estimated but time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "launch/data/dataset.h"
#include "launch/run_model.h"

namespace trident {

/// A run that is not started.
struct PlannedRun {
  RunFile run;
  std::shared_ptr<const Dataset> data;
  ModelChoice choice;
  std::int64_t steps = 0;  // of all
};

/// Bytes that a rank holds, as the allocator counts them (blocks are rounded up by at most an eighth).
struct MemoryNeeds {
  std::int64_t parameters = 0, gradients = 0, moments = 0;
  std::int64_t batches = 0;      // in use and read ahead
  std::int64_t activations = 0;  // kept for the backward when a forward has ended
  std::int64_t others = 0;       // at the peak: what operations need for themselves, gradients of activations, and rounding
  std::int64_t peak = 0;
};

/// What a rank sends in a step over a set of axes.
struct Traffic {
  AxisSet axes;
  bool background = false;  // while the backward computes
  std::int64_t calls = 0, bytes = 0;
};

struct RankNeeds {
  std::int64_t parameters = 0;  // numbers that the rank holds
  MemoryNeeds memory{};
  std::vector<Traffic> traffic{};
  double flops = 0.0;
  std::int64_t bytes_touched = 0;  // read and written by all operations together, if each passes over its tensors once
};

/// One step of the rank with these coordinates, counted. `config` is run.config with another `parallel` and `training`. Throws ConfigError
/// as the run itself would.
RankNeeds rehearse(const PlannedRun& planned, const RunConfig& config, const MeshSizes& sizes, const MeshSizes& coordinates);

}  // namespace trident
