/// One optimiser step, on any number of ranks: totals, shares, backward with the reducer, norm, update.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launch/data/loader.h"
#include "launch/physical_units.h"
#include "launch/run_config.h"
#include "launch/trainer/phase_timer.h"
#include "launch/trainer/schedule.h"
#include "models/losses.h"
#include "parallel/gradient_reducer.h"
#include "parallel/optimizer.h"
#include "runtime/device/cuda_graph.h"
#include "runtime/tensor/host_copy.h"
#include "runtime/tensor/sent_numbers.h"

namespace trident {

/// What a step found out; the same on every rank.
struct StepResult {
  double loss = 0.0;           // of the global batch, before the update
  double grad_norm = 0.0;      // before clipping
  double learning_rate = 0.0;  // of the main group
};

/// A step whose numbers are on their way to the host.
struct LaunchedStep {
  GlobalBatch batch;
  std::int64_t step = 0;
  double learning_rate = 0.0;
  HostCopy numbers;  // (2,) f64: the loss and the gradient norm
};

/// How long a run is, for its schedule.
struct RunLength {
  std::int64_t total_steps = 1;
  std::int64_t steps_per_epoch = 1;
  RunLength(std::int64_t total, std::int64_t epoch = 1) : total_steps(total), steps_per_epoch(epoch) {}  // NOLINT: steps are a length
};

/// A step of a GPU as a graph, with the memory that it reads and writes.
struct CapturedStep {
  GlobalBatch inputs;
  Tensor numbers;
  bool is_computed = false;          // the first step
  std::unique_ptr<CudaGraph> graph;  // null before it
  std::string refusal;               // why there is none, if it was tried
};

class Trainer {
 public:
  /// `parameters` belong to `model` and were made for training. `units`: of the fields that the loss compares.
  Trainer(Model model, ParameterList parameters, const TrainingConfig& config, const ParallelConfig& parallel, RunLength length,
          std::uint64_t seed, const Mesh& mesh, PhysicalUnits units = {});

  /// Step number `step` (from 0). Throws Error if the loss or a gradient is not finite: it names the step, the rank and the first bad
  /// tensors. The weights are then those before the step.
  StepResult step(GlobalBatch batch, std::int64_t step);
  /// The same in two parts: everything is put on the device; what it found out is waited for later, when the next step may have been
  /// launched.
  LaunchedStep launch(GlobalBatch batch, std::int64_t step);
  StepResult finish(LaunchedStep& launched);
  /// The forward and backward of a step without the update: what a dry run measures.
  StepResult rehearse(const GlobalBatch& batch);

  const Model& model() const { return model_; }
  const ParameterList& parameters() const { return parameters_; }
  Device device() const { return parameters_.values().device(); }
  const AdamW& optimizer() const { return optimizer_; }
  Schedule& schedule() { return schedule_; }
  PhaseTimer& timer() { return timer_; }
  /// Whether steps are captured as a graph, and why not if that failed.
  const CapturedStep& captured() const { return captured_; }

 private:
  /// Forward, backward and sums over ranks. `numbers` (2,) f64 receives the loss of the global batch and the norm of its gradients.
  void gradients_of(const GlobalBatch& batch, const Tensor& numbers);
  /// That and the update, with the numbers that the optimiser was last prepared for.
  void compute(const GlobalBatch& batch, const Tensor& numbers);
  /// Takes a step's random numbers from now on.
  void draw_for(std::int64_t step);
  bool may_be_captured(const GlobalBatch& batch);
  /// Computes captured_.inputs, and makes the graph.
  void capture();
  /// compute() by the graph, which the first batch makes. Batches of other shapes are computed without it.
  void compute_captured(const GlobalBatch& batch, const Tensor& numbers);
  Tensor share_of(const MicroBatch& batch, const LossTotals& totals, const Prepared& prepared);
  [[noreturn]] void raise_not_finite(const GlobalBatch& batch, std::int64_t step, const StepResult& found);
  LossTotals totals_of(const GlobalBatch& batch) const;
  /// The fields with the label that the loss compares.
  Fields target_of(const MicroBatch& batch) const;
  std::vector<double> rates(std::int64_t step) const;

  Model model_;
  ParameterList parameters_;
  TrainingConfig config_;
  TokensBetween tokens_;
  Mesh mesh_;
  RandomKey key_;
  SentNumbers step_key_;  // of the step that is computed: where the parameters are
  Schedule schedule_;
  Loss loss_;
  PhysicalUnits units_;
  FlatShares shares_;
  GradientReducer reducer_;
  GlobalNorm global_norm_;
  AdamW optimizer_;
  Tensor stopped_;  // (1,) f64: 0, or NaN behind a step whose numbers are not finite
  PhaseTimer timer_;
  CapturedStep captured_;
};

}  // namespace trident
