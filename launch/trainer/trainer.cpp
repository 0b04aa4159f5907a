#include "launch/trainer/trainer.h"

#include <cmath>

#include "launch/run_model.h"
#include "launch/trainer/not_finite.h"
#include "models/optimizer_groups.h"
#include "parallel/tape_agreement.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// Weight decays by OptimizerGroup. neuraloperator's AdamW decays everything alike.
std::vector<double> weight_decays(const TrainingConfig& config) {
  const double of_norms = config.optimizer == OptimizerChoice::neuralop_adamw ? config.weight_decay : 0.0;
  return {config.weight_decay, of_norms, config.weight_decay, of_norms};
}

AdamWOptions optimizer_options(const TrainingConfig& config) {
  const bool neuralop = config.optimizer == OptimizerChoice::neuralop_adamw;
  return {.rule = neuralop ? AdamWRule::neuralop : AdamWRule::torch,
          .beta1 = config.betas[0],
          .beta2 = config.betas[1],
          .eps = config.eps.value_or(neuralop ? 1e-6 : 1e-8),
          .max_grad_norm = config.max_grad_norm.value_or(0.0)};
}

Schedule::Options schedule_options(const TrainingConfig& config, RunLength length) {
  return {.choice = config.lr_scheduler,
          .warmup_steps = config.warmup_steps,
          .total_steps = length.total_steps,
          .steps_per_unit = config.schedule_unit == ScheduleUnit::epoch ? length.steps_per_epoch : 1,
          .step_size = config.step_size.value_or(1),
          .gamma = config.gamma,
          .t_max = config.t_max.value_or(1),
          .floor = config.learning_rate > 0.0 ? config.eta_min / config.learning_rate : 0.0,
          .patience = config.patience,
          .steps_per_epoch = length.steps_per_epoch};
}

FineTuningGroups fine_tuning_groups(const TrainingConfig& config) {
  return {.embedding_recovery = config.learning_rate_embedding_recovery.has_value(),
          .time_conditioning = config.learning_rate_time_embedding.has_value()};
}

}  // namespace

Trainer::Trainer(Model model, ParameterList parameters, const TrainingConfig& config, const ParallelConfig& parallel,
                 RunLength length, std::uint64_t seed, const Mesh& mesh, PhysicalUnits units)
    : model_(std::move(model)),
      parameters_(std::move(parameters)),
      config_(config),
      tokens_(parallel.sequence_parallel ? TokensBetween::shared : TokensBetween::alike),
      mesh_(mesh),
      key_(RandomKey(seed).fold("training")),
      schedule_(schedule_options(config, length)),
      loss_(loss_of_run(model_, config), model_->num_out_channels(), config.loss_scope, mesh),
      units_(std::move(units)),
      shares_(parameters_, mesh, parallel.optimizer_sharding ? Sharding::over_replicas : Sharding::none),
      reducer_(parameters_, shares_),
      global_norm_(parameters_, shares_),
      optimizer_(
          parameters_,
          optimizer_options(config),
          weight_decays(config),
          [&](const std::string& name) { return static_cast<int>(optimizer_group(name, fine_tuning_groups(config))); },
          shares_) {}

std::vector<double> Trainer::rates(std::int64_t step) const {
  const double factor = schedule_.factor(step), main = config_.learning_rate;
  return {factor * main, factor * main, factor * config_.learning_rate_embedding_recovery.value_or(main),
          factor * config_.learning_rate_time_embedding.value_or(main)};
}

LossTotals Trainer::totals_of(const GlobalBatch& batch) const {
  std::vector<Fields> micro_batches;
  for (const MicroBatch& part : batch.micro_batches) micro_batches.push_back(target_of(part));
  return loss_.totals(micro_batches);
}

Fields Trainer::target_of(const MicroBatch& batch) const {
  Fields fields = batch.fields;
  fields.label = units_(fields.label);
  return fields;
}

Tensor Trainer::share_of(const MicroBatch& batch, const LossTotals& totals, std::int64_t step, const Prepared& prepared) {
  const Pass pass{.mode = Mode::train,
                  .key = key_.fold(static_cast<std::uint64_t>(step)),
                  .first_sample = batch.first_sample,
                  .precision = dtype_of_precision(config_.precision),
                  .recompute = config_.activation_checkpointing ? Recompute::blocks : Recompute::none,
                  .tokens = tokens_};
  return loss_.share(units_(model_(batch.fields, prepared, pass)), target_of(batch), totals);
}

StepResult Trainer::gradients_of(const GlobalBatch& batch, std::int64_t step) {
  parameters_.zero_gradients();
  const LossTotals totals = timer_.measure("loss totals", [&] { return totals_of(batch); });
  double loss = 0.0;
  for (const MicroBatch& part : batch.micro_batches) {
    const bool last = &part == &batch.micro_batches.back();
    // A tape runs backward once, so what depends on the weights alone is computed for every micro-batch.
    const Tensor share = timer_.measure("forward", [&] { return share_of(part, totals, step, model_->prepare()); });
    loss += to_number(share);
    if constexpr (kCheckTapes) require_same_tape(mesh_, share);
    timer_.measure("backward", [&] { backward(share, last ? reducer_.on_final() : OnFinal{}); });
  }
  timer_.measure("gradient sums", [&] { reducer_.finish(); });
  norm_ = timer_.measure("gradient norm", [&] { return global_norm_(); });
  const Tensor loss_sum = from_values<double>({1}, std::vector{loss});
  timer_.measure("loss sum", [&] { mesh_.world().all_reduce(loss_sum, ReduceOp::sum); });
  return {.loss = to_number(loss_sum), .grad_norm = to_number(norm_), .learning_rate = 0.0};
}

StepResult Trainer::step(const GlobalBatch& batch, std::int64_t step) {
  const Activity activity("step");
  StepResult result = gradients_of(batch, step);
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) raise_not_finite(batch, step, result);
  const std::vector<double> learning_rates = rates(step);
  result.learning_rate = learning_rates.front();
  timer_.measure("update", [&] { optimizer_.update(step + 1, learning_rates, norm_); });
  schedule_.observe(result.loss);
  return result;
}

StepResult Trainer::rehearse(const GlobalBatch& batch) { return gradients_of(batch, 0); }

void Trainer::raise_not_finite(const GlobalBatch& batch, std::int64_t step, const StepResult& found) {
  // The sums over ranks have spread the bad numbers everywhere, so the rank's own part is computed again, without the reducer and without
  // the gradients of what ranks prepare together.
  parameters_.zero_gradients();
  const LossTotals totals = totals_of(batch);
  const Prepared prepared = [&] {
    const Recording off(false);
    return model_->prepare();
  }();
  double loss = 0.0;
  for (const MicroBatch& part : batch.micro_batches) {
    const Tensor share = share_of(part, totals, step, prepared);
    loss += to_number(share);
    backward(share);
  }
  const std::string where = agreed_culprit(mesh_.world(), bad_tensors(parameters_, loss));
  throw Error(
      concat("step ", step, ": the loss is ", found.loss, " and the gradient norm ", found.grad_norm, "; ", where,
             "; the weights are those before this step. Lower training.learning_rate or training.max_grad_norm, or look at the data"));
}

}  // namespace trident
