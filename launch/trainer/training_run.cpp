#include "launch/trainer/training_run.h"

#include <algorithm>
#include <cmath>
#include <csignal>

#include "checkpoint/model_directory.h"
#include "checkpoint/sharded_checkpoint.h"
#include "launch/run_model.h"
#include "parallel/messages.h"
#include "runtime/activity.h"
#include "runtime/device/allocator.h"
#include "runtime/ops/matmul.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::int64_t batch_size_of(const RunConfig& config) { return config.evaluation.batch_size.value_or(config.training.global_batch_size); }

double sum_over_ranks(const Mesh& mesh, double here) {
  const Tensor sum = from_values<double>({1}, std::vector{here});
  mesh.world().all_reduce(sum, ReduceOp::sum);
  return to_number(sum);
}

Progress::Options progress_options(const TrainingRun::Parts& parts, const Trainer& trainer) {
  const Computing computing(dtype_of_precision(parts.run.config.training.precision), trainer.device());
  // The backward takes twice the products of the forward.
  return {.total_steps = parts.total_steps,
          .flops_per_sample = 3.0 * trainer.model()->forward_flops(1, {parts.train->extents().begin(), parts.train->extents().end()}),
          .flops_limit = sum_over_ranks(parts.mesh, measured_flops_limit(computing))};
}

}  // namespace

double measured_flops_limit(const Computing& computing) {
  constexpr double kLong = 2e-3;  // seconds, beside which launching is nothing
  double best = 0.0;
  bool is_long = false;
  for (std::int64_t size = 768; !is_long && size <= 12288; size *= 2) {
    const Tensor a = full({size, size}, 0.5, computing.precision, computing.device),
                 b = full({size, size}, 0.25, computing.precision, computing.device);
    for (int repeat = 0; repeat < 4; ++repeat) {  // the first one makes the library's kernels
      const Clock::time_point start = Clock::now();
      to_number(view::slice(view::slice(matmul(a, b), 0, 0, 1), 1, 0, 1));  // waits for it
      const double seconds = seconds_since(start);
      best = std::max(best, 2.0 * std::pow(static_cast<double>(size), 3.0) / seconds);
      is_long = seconds > kLong;
    }
  }
  return best;
}

TrainingRun::TrainingRun(Parts parts, Trainer& trainer, Log& log)
    : parts_(std::move(parts)),
      trainer_(trainer),
      log_(log),
      evaluator_(trainer.model(), loss_of_run(trainer.model(), parts_.run.config.training),
                 {dtype_of_precision(parts_.run.config.training.precision), trainer.device()}, batch_size_of(parts_.run.config),
                 parts_.mesh, parts_.run.config.evaluation.units),
      progress_(log, progress_options(parts_, trainer)),
      saver_(parts_.folder, parts_.run.config.checkpoint.keep, parts_.mesh) {
  state_.seed = parts_.run.config.seed;
  state_.model = trainer.model()->config();
  state_.description = parts_.description;
}

TrainingState TrainingRun::saved_state() const {
  TrainingState state;
  add_pieces(state, kWeightsGroup, trainer_.parameters(), trainer_.parameters().values());
  add_buffers(state, kBuffersGroup, trainer_.parameters());
  for (const NamedPiece& piece : trainer_.optimizer().state()) {
    state.pieces.push_back(
        {concat(kMomentsGroup, '/', piece.name), piece.piece.full_shape, piece.piece.owned, piece.replicated, piece.value});
  }
  state.values = write_config(state_);
  return state;
}

void TrainingRun::resume(const std::filesystem::path& checkpoint, std::int64_t steps_per_epoch) {
  RunState saved = read_config<RunState>(load_checkpoint(checkpoint, saved_state().pieces));
  trainer_.parameters().round_values();
  if (saved.seed != state_.seed) {
    throw parts_.run.error("seed", concat("the run was started with seed ", saved.seed, ", not ", state_.seed, "; set it to ", saved.seed));
  }
  saved.model = state_.model, saved.description = state_.description;
  state_ = saved;
  trainer_.schedule().restore(state_.schedule);
  if (parts_.mesh.world().rank() == 0) drop_metrics_past(parts_.folder.metrics(), state_.steps_done);
  log_(concat("going on after step ", state_.steps_done, " from ", checkpoint.string()));
  if (state_.position.batch >= steps_per_epoch) {  // of more data, or of smaller batches
    log_(concat("an epoch has ", steps_per_epoch, " steps now, and this one had done ", state_.position.batch, ": the next one begins"));
    state_.position = {state_.position.epoch + 1, 0};
  }
}

void TrainingRun::resume(const NeuralopTraining& saved, const std::filesystem::path& folder, std::int64_t steps_per_epoch) {
  const TrainingConfig& training = parts_.run.config.training;
  state_.steps_done = saved.step;
  state_.position = {saved.step / steps_per_epoch, saved.step % steps_per_epoch};
  if (training.lr_scheduler == ScheduleChoice::plateau) {
    state_.schedule.factor = saved.learning_rate / training.learning_rate;
    if (const ConfigValue* best = saved.schedule.find("best")) state_.schedule.best = best->as_number();
    if (const ConfigValue* bad = saved.schedule.find("num_bad_epochs")) state_.schedule.bad_epochs = bad->as_integer();
    trainer_.schedule().restore(state_.schedule);
  }
  log_(concat("going on after step ", state_.steps_done, " from ", folder.string()));
  const auto compare = [&](const char* key, double of_run, double stored) {
    if (std::abs(of_run - stored) <= 1e-9 * std::abs(stored)) return;
    log_(concat("training.", key, " is ", to_json(of_run), " now; optimizer.pt has ", to_json(stored)));
  };
  compare("learning_rate with its schedule", training.learning_rate * trainer_.schedule().factor(saved.step), saved.learning_rate);
  compare("betas[0]", training.betas[0], saved.beta1);
  compare("betas[1]", training.betas[1], saved.beta2);
  compare("eps", training.adamw_eps(), saved.eps);
  compare("weight_decay", training.weight_decay, saved.weight_decay);
  if (training.correct_bias != saved.correct_bias) {
    log_(concat("training.correct_bias is ", to_json(training.correct_bias), " now; optimizer.pt has ", to_json(saved.correct_bias)));
  }
  if (saved.epoch && (*saved.epoch + 1) * steps_per_epoch != saved.step) {
    log_(concat("an epoch has ", steps_per_epoch, " steps now; manifest.pt has ", *saved.epoch + 1, " epochs for ", saved.step, " steps"));
  }
}

bool TrainingRun::due(const std::optional<std::int64_t>& every, std::int64_t steps) const {
  return every && (steps % *every == 0 || steps == parts_.total_steps);
}

void TrainingRun::run() {
  const TrainingConfig& training = parts_.run.config.training;
  if (parts_.mesh.world().rank() == 0) metrics_.emplace(parts_.folder.metrics());
  LoaderOptions reading = shared_out(trainer_.model(), parts_.mesh);
  reading.global_batch_size = training.global_batch_size;
  reading.micro_batches = training.gradient_accumulation_steps;
  reading.seed = parts_.run.config.seed;
  reading.shuffle = parts_.run.config.data.shuffle;
  reading.dtype = parameter_type(dtype_of_precision(training.precision));
  reading.device = trainer_.device();
  reset_peak(trainer_.device());  // memory_bytes is of steps, not of what came before them
  Loader loader(parts_.train, reading, state_.position);
  Stop stop = patience_is_over() ? Stop::early : Stop::no;  // resumed after it had ended
  int signal = 0;
  const std::int64_t first = state_.steps_done;
  while (state_.steps_done < parts_.total_steps && stop == Stop::no) {
    profile(state_.steps_done - first, false);
    if (!launched_) last_recorded_ = Clock::now();
    std::optional<GlobalBatch> batch = trainer_.timer().measure("wait for data", [&] { return loader.next(); });
    take_step(std::move(*batch));
    saver_.check();
    state_.position = loader.position();
    const std::string& refusal = trainer_.captured().refusal;
    if (!refusal.empty() && state_.steps_done == first + 1) log_(concat("steps are not captured as a graph: ", refusal));
    if (parts_.validation && due(parts_.run.config.evaluation.every, state_.steps_done)) {
      stop = trainer_.timer().measure("evaluation", [&] { return evaluate(); });
    }
    if (stop == Stop::no) stop = asked_to_stop(signal);
    const bool last = stop != Stop::no || state_.steps_done == parts_.total_steps;
    if (last && launched_) record_launched();
    if (last) profile(state_.steps_done - first, true);
    if (last || due(parts_.run.config.checkpoint.every, state_.steps_done)) trainer_.timer().measure("checkpoint", [&] { save(last); });
  }
  finish(stop, signal);
}

void TrainingRun::take_step(GlobalBatch batch) {
  const Activity activity("step");
  LaunchedStep launched = trainer_.launch(std::move(batch), state_.steps_done++);
  if (launched_) record_launched();
  launched_ = std::move(launched);
  if (!may_run_ahead()) record_launched();
}

void TrainingRun::profile(std::int64_t done, bool last) {
  if (!parts_.profile) return;
  const std::int64_t begin = std::min(Profiler::kWarmUp, parts_.total_steps - 1);
  if (done == begin && !last) profiler_.emplace(parts_.mesh);
  if (!profiler_ || (!last && done != begin + Profiler::kSteps)) return;
  profiler_->finish(parts_.folder.root, log_);
  profiler_.reset();
}

/// A GPU has its next step before the numbers of this one are read; not where these are needed first.
bool TrainingRun::may_run_ahead() const {
  const RunConfig& config = parts_.run.config;
  const bool evaluates = parts_.validation && due(config.evaluation.every, state_.steps_done);
  return trainer_.device().kind == Device::Kind::cuda && config.training.lr_scheduler != ScheduleChoice::plateau && !evaluates &&
         !due(config.checkpoint.every, state_.steps_done) && state_.steps_done < parts_.total_steps;
}

void TrainingRun::record_launched() {
  const StepResult result = trainer_.timer().measure("wait for numbers", [&] { return trainer_.finish(*launched_); });
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - std::exchange(last_recorded_, now)).count();
  const std::int64_t step = launched_->step, samples = launched_->batch.size, memory = memory_counters(trainer_.device()).peak_bytes;
  launched_.reset();
  state_.schedule = trainer_.schedule().state();
  longest_step_ = std::max(longest_step_, seconds);
  if (metrics_) {
    metrics_->append(ConfigValue::map({{"step", step},
                                       {"loss", result.loss},
                                       {"grad_norm", result.grad_norm},
                                       {"learning_rate", result.learning_rate},
                                       {"samples_per_second", static_cast<double>(samples) / seconds},
                                       {"seconds", seconds},
                                       {"memory_bytes", memory}}));
  }
  progress_.report({step, result.loss, result.learning_rate, samples, seconds, memory});
}

TrainingRun::Stop TrainingRun::evaluate() {
  const Clock::time_point start = Clock::now();
  const ErrorTable table = evaluator_.validate(parts_.validation);
  const double loss = table.loss_of_batches(batch_size_of(parts_.run.config));
  ConfigValue row = ConfigValue::map({{"step", state_.steps_done}, {"validation_loss", loss}});
  const ConfigValue metrics = table.metrics(MetricsDetail::summary);
  for (const auto& [name, value] : metrics.entries()) row.set(name, value);
  if (metrics_) metrics_->append(row);
  const bool better = std::isfinite(loss) && (!state_.best_loss || loss < *state_.best_loss);
  log_(concat("step ", state_.steps_done, ": validation loss ", loss, better ? ", the best so far" : ""));
  state_.evaluations_without_better = better ? 0 : state_.evaluations_without_better + 1;
  if (better) {
    state_.best_loss = loss;
    save_model(parts_.folder.best(), trainer_.model(), trainer_.parameters(), parts_.mesh, parts_.description);
  }
  longest_evaluation_ = std::max(longest_evaluation_, seconds_since(start));
  return patience_is_over() ? Stop::early : Stop::no;
}

bool TrainingRun::patience_is_over() const {
  const auto& patience = parts_.run.config.training.early_stopping_patience;
  return patience && state_.evaluations_without_better >= *patience;
}

TrainingRun::Stop TrainingRun::asked_to_stop(int& signal) const {
  const auto& limit = parts_.run.config.training.max_wall_time;
  // What is still to come must fit: another step, its evaluation, and saving, with as much time again in reserve.
  const bool evaluates = parts_.validation && due(parts_.run.config.evaluation.every, state_.steps_done + 1);
  const double saving = (saver_.is_saving() ? 2.0 : 1.0) * saver_.longest();
  const double needed = 2.0 * (longest_step_ + saving + (evaluates ? longest_evaluation_ : 0.0));
  const bool late = limit && seconds_since(parts_.started) + needed > *seconds_of(*limit);
  const Tensor wishes = from_values<std::int64_t>({2}, std::vector<std::int64_t>{StopSignal::received(), late ? 1 : 0});
  parts_.mesh.world().all_reduce(wishes, ReduceOp::max);
  const std::vector<std::int64_t> agreed = to_host<std::int64_t>(wishes);
  signal = static_cast<int>(agreed[0]);
  return signal != 0 ? Stop::signal : agreed[1] != 0 ? Stop::wall_time : Stop::no;
}

void TrainingRun::save(bool last) {
  const bool in_background = parts_.run.config.checkpoint.background.value_or(trainer_.device().kind == Device::Kind::cuda);
  if (in_background && !last) {
    saver_.start(state_.steps_done, saved_state());
  } else {
    saver_.save(state_.steps_done, saved_state());
  }
}

void TrainingRun::finish(Stop stop, int signal) {
  const std::string go_on = concat("trident train '", parts_.folder.run_file().string(), "' --resume");  // folders may have spaces
  switch (stop) {
    case Stop::no:
      log_(concat("done: ", state_.steps_done, " steps; the model is in ", parts_.folder.model().string()));
      break;
    case Stop::early:
      log_(concat("stopped after step ", state_.steps_done, ": ", state_.evaluations_without_better,
                  " evaluations without a better model; the best one is in ", parts_.folder.best().string(),
                  "; raise training.early_stopping_patience to go on"));
      break;
    case Stop::wall_time:
      log_(concat("max_wall_time is near: saved after step ", state_.steps_done, "; go on with: ", go_on));
      break;
    case Stop::signal:
      log_(concat(signal == SIGTERM ? "SIGTERM" : "SIGUSR1", ": saved after step ", state_.steps_done, "; go on with: ", go_on));
      break;
  }
}

}  // namespace trident
