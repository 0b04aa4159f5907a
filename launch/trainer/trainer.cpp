#include "launch/trainer/trainer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "launch/run_model.h"
#include "launch/trainer/not_finite.h"
#include "models/optimizer_groups.h"
#include "parallel/messages.h"
#include "parallel/tape_agreement.h"
#include "runtime/autograd/tape.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

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
          .eps = config.adamw_eps(),
          .max_grad_norm = config.max_grad_norm.value_or(0.0),
          .correct_bias = config.correct_bias};
}

Schedule::Options schedule_options(const TrainingConfig& config, RunLength length) {
  return {.choice = config.lr_scheduler,
          .rate = config.learning_rate,
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

std::array<const Tensor*, 4> tensors_of(const Fields& fields) { return {&fields.input, &fields.time, &fields.pixel_mask, &fields.label}; }

/// Calls visit(tensor of a, tensor of b) for those that are defined in either, until it returns false.
template <class Visit>
bool for_each_pair(const GlobalBatch& a, const GlobalBatch& b, Visit visit) {
  if (a.micro_batches.size() != b.micro_batches.size()) return false;
  for (std::size_t part = 0; part < a.micro_batches.size(); ++part) {
    const auto left = tensors_of(a.micro_batches[part].fields), right = tensors_of(b.micro_batches[part].fields);
    for (std::size_t i = 0; i < left.size(); ++i) {
      if ((left[i]->defined() || right[i]->defined()) && !visit(*left[i], *right[i])) return false;
    }
  }
  return true;
}

bool have_same_shapes(const GlobalBatch& a, const GlobalBatch& b) {
  return a.size == b.size &&
         for_each_pair(a, b, [](const Tensor& x, const Tensor& y) { return x.defined() && y.defined() && x.shape() == y.shape(); });
}

void copy_fields(const GlobalBatch& to, const GlobalBatch& from) {
  for_each_pair(to, from, [](const Tensor& target, const Tensor& source) {
    copy_into(target, source);
    return true;
  });
}

/// The same fields in memory of their own.
GlobalBatch copy_of(const GlobalBatch& batch) {
  GlobalBatch copy = batch;
  for (MicroBatch& part : copy.micro_batches) {
    Fields& fields = part.fields;
    for (Tensor* tensor : {&fields.input, &fields.time, &fields.pixel_mask, &fields.label}) {
      if (tensor->defined()) *tensor = empty_like(*tensor);
    }
  }
  copy_fields(copy, batch);
  return copy;
}

FineTuningGroups fine_tuning_groups(const TrainingConfig& config) {
  return {.embedding_recovery = config.learning_rate_embedding_recovery.has_value(),
          .time_conditioning = config.learning_rate_time_embedding.has_value()};
}

}  // namespace

Trainer::Trainer(Model model, ParameterList parameters, const TrainingConfig& config, const ParallelConfig& parallel, RunLength length,
                 std::uint64_t seed, const Mesh& mesh, PhysicalUnits units)
    : model_(std::move(model)),
      parameters_(std::move(parameters)),
      config_(config),
      tokens_(parallel.sequence_parallel ? TokensBetween::shared : TokensBetween::alike),
      mesh_(mesh),
      key_(RandomKey(seed).fold("training")),
      step_key_({1}, DType::i64, device()),
      schedule_(schedule_options(config, length)),
      loss_(loss_of_run(model_, config), model_->num_out_channels(), config.loss_scope, mesh),
      units_(std::move(units)),
      shares_(parameters_, mesh, parallel.optimizer_sharding ? Sharding::over_replicas : Sharding::none),
      reducer_(parameters_, shares_),
      global_norm_(parameters_, shares_),
      optimizer_(
          parameters_, optimizer_options(config), weight_decays(config),
          [&](const std::string& name) { return static_cast<int>(optimizer_group(name, fine_tuning_groups(config))); }, shares_),
      stopped_(zeros({1}, DType::f64, device())) {}

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

Tensor Trainer::share_of(const MicroBatch& batch, const LossTotals& totals, const Prepared& prepared) {
  const Pass pass{.mode = Mode::train,
                  .key = StreamKey::at(step_key_.tensor().data<std::int64_t>()),
                  .first_sample = batch.first_sample,
                  .precision = dtype_of_precision(config_.precision),
                  .recompute = config_.activation_checkpointing ? Recompute::blocks : Recompute::none,
                  .tokens = tokens_};
  return loss_.share(units_(model_(batch.fields, prepared, pass)), target_of(batch), totals);
}

void Trainer::gradients_of(const GlobalBatch& batch, const Tensor& numbers) {
  parameters_.start_gradients();
  const LossTotals totals = timer_.measure("loss totals", [&] { return totals_of(batch); });
  set_zero(numbers);
  const Tensor loss = view::slice(numbers, 0, 0, 1), norm = view::slice(numbers, 0, 1, 2);
  for (const MicroBatch& part : batch.micro_batches) {
    const bool last = &part == &batch.micro_batches.back();
    // A tape runs backward once, so what depends on the weights alone is computed for every micro-batch.
    const Tensor share = timer_.measure("forward", [&] { return share_of(part, totals, model_->prepare()); });
    add_into(loss, view::reshape(cast(share.detached(), DType::f64), {1}));
    if constexpr (kCheckTapes) require_same_tape(mesh_, share);
    timer_.measure("backward", [&] { backward(share, last ? reducer_.on_final() : OnFinal{}); });
  }
  parameters_.complete_gradients();
  timer_.measure("gradient sums", [&] { reducer_.finish(); });
  copy_into(norm, timer_.measure("gradient norm", [&] { return global_norm_(); }));
  timer_.measure("loss sum", [&] { mesh_.world().all_reduce(loss, ReduceOp::sum); });
}

void Trainer::compute(const GlobalBatch& batch, const Tensor& numbers) {
  gradients_of(batch, numbers);
  timer_.measure("update", [&] {
    // 0 times what is not finite is NaN: a loss stops the update as a norm does, and that of the next step, which may be launched by then.
    const Recording off(false);
    const Tensor loss = view::slice(numbers, 0, 0, 1), norm = view::slice(numbers, 0, 1, 2);
    copy_into(stopped_, stopped_ + affine(loss + norm, 0.0));
    optimizer_.apply(norm + stopped_);
  });
}

bool Trainer::may_be_captured(const GlobalBatch& batch) {
  if (!config_.cuda_graphs || !captured_.refusal.empty() || device().kind != Device::Kind::cuda) return false;
  if (!mesh_.world().only_launches()) {
    captured_.refusal = "the ranks exchange by MPI, for which a GPU has to be waited for; ranks with a GPU each and NCCL do not";
    return false;
  }
  const auto has_patches = [](const MicroBatch& part) { return part.fields.patches.has_value(); };
  return std::ranges::none_of(batch.micro_batches, has_patches);  // which are shared out by the host
}

void Trainer::capture() {
  try {
    captured_.graph = std::make_unique<CudaGraph>(device(), [this] {
      compute(captured_.inputs, captured_.numbers);
      captured_.is_computed = true;
    });
  } catch (const DeviceError& error) {
    if (!captured_.is_computed) throw;
    captured_.refusal = error.what();  // the step is done; further ones go without a graph
  }
  if (mesh_.world().size() > 1 && any_of(mesh_.world(), !captured_.refusal.empty()) && captured_.refusal.empty()) {
    captured_.refusal = "another rank could not";
    captured_.graph = nullptr;
  }
}

void Trainer::compute_captured(const GlobalBatch& batch, const Tensor& numbers) {
  if (captured_.graph == nullptr) {
    captured_.inputs = copy_of(batch);
    captured_.numbers = zeros({2}, DType::f64, device());
    capture();
  } else if (have_same_shapes(captured_.inputs, batch)) {
    copy_fields(captured_.inputs, batch);
    captured_.graph->launch();
    mesh_.world().launched("a training step");
  } else {
    return compute(batch, numbers);
  }
  copy_into(numbers, captured_.numbers);
}

void Trainer::draw_for(std::int64_t step) {
  const std::uint64_t bits = key_.fold(static_cast<std::uint64_t>(step)).bits();
  step_key_.send(std::as_bytes(std::span(&bits, 1)));
}

LaunchedStep Trainer::launch(GlobalBatch batch, std::int64_t step) {
  const std::vector<double> learning_rates = rates(step);
  optimizer_.prepare(step + 1, learning_rates);
  draw_for(step);
  const Tensor numbers = zeros({2}, DType::f64, device());
  if (may_be_captured(batch)) {
    compute_captured(batch, numbers);
  } else {
    compute(batch, numbers);
  }
  return {std::move(batch), step, learning_rates.front(), HostCopy(numbers)};
}

StepResult Trainer::finish(LaunchedStep& launched) {
  const Tensor& numbers = launched.numbers.wait();
  const double* found = numbers.data<double>();
  const StepResult result{.loss = found[0], .grad_norm = found[1], .learning_rate = launched.learning_rate};
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) raise_not_finite(launched.batch, launched.step, result);
  schedule_.observe(result.loss);
  return result;
}

StepResult Trainer::step(GlobalBatch batch, std::int64_t step) {
  const Activity activity("step");
  LaunchedStep launched = launch(std::move(batch), step);
  return timer_.measure("wait for numbers", [&] { return finish(launched); });
}

StepResult Trainer::rehearse(const GlobalBatch& batch) {
  const Tensor numbers = zeros({2}, DType::f64, device());
  draw_for(0);
  gradients_of(batch, numbers);
  const std::vector<double> found = to_host<double>(numbers);
  const StepResult result{.loss = found[0], .grad_norm = found[1], .learning_rate = 0.0};
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) raise_not_finite(batch, 0, result);
  return result;
}

void Trainer::raise_not_finite(const GlobalBatch& batch, std::int64_t step, const StepResult& found) {
  // The sums over ranks have spread the bad numbers everywhere, so the rank's own part is computed again, without the reducer and without
  // the gradients of what ranks prepare together.
  set_zero(stopped_);
  draw_for(step);
  parameters_.zero_gradients();
  const LossTotals totals = totals_of(batch);
  const Prepared prepared = [&] {
    const Recording off(false);
    return model_->prepare();
  }();
  double loss = 0.0;
  for (const MicroBatch& part : batch.micro_batches) {
    const Tensor share = share_of(part, totals, prepared);
    loss += to_number(share);
    backward(share);
  }
  const std::string where = agreed_culprit(mesh_.world(), bad_tensors(parameters_, loss));
  throw Error(
      concat("step ", step, ": the loss is ", found.loss, " and the gradient norm ", found.grad_norm, "; ", where,
             "; the weights are those before this step. Lower training.learning_rate or training.max_grad_norm, or look at the data"));
}

}  // namespace trident
