/// trident train: from a run file to a trained model.
#include <chrono>
#include <iostream>

#include "checkpoint/atomic_file.h"
#include "checkpoint/model_directory.h"
#include "launch/commands.h"
#include "launch/data/fitted_normalization.h"
#include "launch/device_choice.h"
#include "launch/mesh_choice.h"
#include "launch/run_model.h"
#include "launch/trainer/training_run.h"
#include "parallel/messages.h"
#include "runtime/device/allocator.h"

namespace trident {
namespace {

struct TrainOptions {
  std::string run_file;
  std::vector<std::string> overrides;
  bool resume = false, dry_run = false, profile = false;
};

std::shared_ptr<const Dataset> open(const RunFile& run, const std::vector<DataEntry>& entries, Split split, const char* key) {
  if (entries.empty()) return nullptr;
  return std::make_shared<const Dataset>(open_dataset(run.config.data, entries, split, key));
}

/// What the command has before anything is written.
struct Setup {
  RunFile run;
  Mesh mesh;
  Device device;  // of this rank
  std::shared_ptr<const Dataset> train, validation;
  ModelChoice choice;
  std::int64_t steps_per_epoch = 0, total_steps = 0;
};

std::string constants_text(const std::vector<Channel>& channels) {
  std::string text;
  for (const Channel& channel : channels)
    text += concat(text.empty() ? "" : ", ", channel.name, " ", to_json(channel.mean), " +- ", to_json(channel.std));
  return text;
}

/// Measures the training data where the run file says so. The resolved run file then has the constants.
void fit_normalization(Setup& setup) {
  if (setup.run.config.data.normalization == Normalization::given) return;
  const Problem problem = fitted_problem(*setup.train, setup.mesh.world());
  give_constants(setup.run.config.data, problem);
  setup.train = std::make_shared<const Dataset>(normalized_as(*setup.train, problem));
  if (setup.validation) setup.validation = std::make_shared<const Dataset>(normalized_as(*setup.validation, problem));
  setup.choice.notes.push_back(concat("normalisation: input ", constants_text(problem.input), "; output ", constants_text(problem.output)));
}

Setup prepare(const TrainOptions& options, CommandContext& context) {
  std::vector<std::string> overrides = options.overrides;
  for (const std::string& text : overrides_of(context.common)) overrides.push_back(text);
  Setup setup;
  setup.run = read_run(options.run_file, overrides);
  const RunConfig& config = setup.run.config;
  check_for_training(setup.run);
  check_data_config(config.data, setup.run.document);
  follow_model(config.model, setup.run.config.data);
  setup.train = open(setup.run, config.data.train, Split::train, "data.train");
  setup.validation = open(setup.run, config.data.validation, Split::validation, "data.validation");
  setup.choice = choose_model(setup.run, *setup.train);
  const std::int64_t batch = config.training.global_batch_size;
  setup.device = device_of_rank(config.device, context);
  setup.mesh = make_mesh(config.parallel, setup.run.document,
                         {.models = {setup.choice.config}, .batch = batch, .points = {setup.train->ny(), setup.train->nx()}}, context);
  fit_normalization(setup);
  setup.steps_per_epoch = (setup.train->size() + batch - 1) / batch;
  setup.total_steps = config.training.steps ? *config.training.steps : *config.training.epochs * setup.steps_per_epoch;
  return setup;
}

/// The model with its weights, in memory. `notes` receives what is to be said about them.
Trainer make_trainer(const Setup& setup, std::vector<std::string>& notes) {
  const RunConfig& config = setup.run.config;
  const DType precision = dtype_of_precision(config.training.precision);
  const RandomKey key = RandomKey(config.seed).fold("initial weights");
  notes = setup.choice.notes;
  const auto trainer = [&](const Model& model, ParameterList parameters) {
    const PhysicalUnits units =
        config.training.loss_units == Units::physical
            ? PhysicalUnits(*setup.train, &Problem::output, model->num_dims(), parameter_type(precision), setup.device)
            : PhysicalUnits();
    return Trainer(model, std::move(parameters), config.training, config.parallel, {setup.total_steps, setup.steps_per_epoch}, config.seed,
                   setup.mesh, units);
  };
  if (!setup.choice.from) {
    const Model model = describe_model(setup.choice.config, setup.mesh);
    ParameterList parameters = materialize(model, precision, Use::training, key, config.training.freeze, setup.device);
    return trainer(model, std::move(parameters));
  }
  LoadedModel loaded = load_model(*setup.choice.from, setup.mesh,
                                  {.dtype = precision,
                                   .use = Use::training,
                                   .fit = Fit::fine_tuning,
                                   .overrides = setup.choice.overrides,
                                   .key = key,
                                   .frozen = config.training.freeze,
                                   .device = setup.device});
  for (const std::string& line : loaded.started_anew) notes.push_back("starts anew: " + line);
  return trainer(loaded.model, std::move(loaded.parameters));
}

/// Moments and steps of the folder that the model was started from, where the run goes on from it.
std::optional<NeuralopTraining> restored_training(const Setup& setup, const Trainer& trainer) {
  if (!setup.run.config.training.restore_optimizer) return std::nullopt;
  const std::string& folder = *setup.choice.from;
  const auto saved = load_neuralop_training(folder, trainer.optimizer().state());
  const char* key = "training.restore_optimizer";
  if (!saved) {
    throw setup.run.error(key, concat(folder,
                                      " has no optimizer.pt; set it to false, or give as model.from the folder that neuraloperator's "
                                      "trainer wrote"));
  }
  if (saved->step >= setup.total_steps) {
    throw setup.run.error(key, concat(folder, " has ", saved->step, " steps behind it, and the run ends after ", setup.total_steps,
                                      "; raise training.steps or training.epochs"));
  }
  return saved;
}

void require_something_to_train(const Setup& setup, const Trainer& trainer) {
  if (trainer.parameters().gradients().numel() > 0) return;
  throw setup.run.error("training.freeze", "freezes every parameter of the model; leave some of them to be trained");
}

std::int64_t count_parameters(const ParameterList& parameters) {
  std::int64_t count = 0;
  for (const NamedPiece& piece : parameters.pieces()) count += reals_in(piece.piece.full_shape, piece.piece.numbers);
  return count;
}

void log_start(const Setup& setup, const Trainer& trainer, const std::vector<std::string>& notes, const CommandContext& context, Log& log) {
  const RunConfig& config = setup.run.config;
  const int ranks = setup.mesh.world().size();
  log(concat("model: ", trainer.model()->type(), ", ", count_parameters(trainer.parameters()), " parameters"));
  for (const std::string& note : notes) log(note);
  log("data: " + setup.train->description());
  if (setup.validation) log("validation: " + setup.validation->description());
  log(concat(setup.total_steps, " steps of ", config.training.global_batch_size, " samples, ", setup.steps_per_epoch, " steps an epoch; ",
             ranks, ranks == 1 ? " rank, " : " ranks, ", context.threads));
  if (config.training.loss_scope == LossScope::per_rank)
    log("losses are relative to each rank's own batch: they depend on the number of ranks");
}

/// One forward and backward, which allocates all that a step needs.
void print_dry_run(const Setup& setup, Trainer& trainer, const CommandContext& context, Log& log) {
  const RunConfig& config = setup.run.config;
  LoaderOptions reading = shared_out(trainer.model(), setup.mesh);
  reading.global_batch_size = config.training.global_batch_size;
  reading.micro_batches = config.training.gradient_accumulation_steps;
  reading.seed = config.seed;
  reading.shuffle = config.data.shuffle;
  reading.dtype = parameter_type(dtype_of_precision(config.training.precision));
  reading.device = setup.device;
  Loader loader(setup.train, reading);
  const StepResult first = trainer.rehearse(*loader.next());
  const std::int64_t peak = memory_counters(setup.device).peak_bytes;
  log(concat("one step: loss ", first.loss, ", gradient norm ", first.grad_norm, ", ", readable_bytes(static_cast<double>(peak)),
             " at its peak on this rank"));
  if (setup.mesh.world().rank() != 0) return;
  ConfigValue run = write_config(config);
  run.set("model", trainer.model()->config());
  if (context.common.json) {
    std::cout << to_json(ConfigValue::map({{"run", run},
                                           {"parameters", count_parameters(trainer.parameters())},
                                           {"samples", setup.train->size()},
                                           {"steps", setup.total_steps},
                                           {"loss", first.loss},
                                           {"peak_bytes", peak}}))
              << '\n';
  } else {
    std::cout << to_yaml(run);
  }
}

void print_profile(Trainer& trainer, Log& log) {
  double total = 0.0;
  for (const auto& [phase, seconds] : trainer.timer().seconds()) total += seconds;
  for (const auto& [phase, seconds] : trainer.timer().seconds()) {
    std::array<char, 96> line{};
    std::snprintf(line.data(), line.size(), "%-14s %9.3f s  %5.1f %%", phase.c_str(), seconds, 100.0 * seconds / total);
    log(line.data());
  }
}

void train(const TrainOptions& options, CommandContext& context) {
  const auto started = std::chrono::steady_clock::now();
  const Setup setup = prepare(options, context);
  const RunConfig& config = setup.run.config;
  const bool first = setup.mesh.world().rank() == 0;
  const RunFolder folder{config.output};
  const auto checkpoint =
      options.dry_run ? std::nullopt : find_checkpoint(folder, options.resume ? Start::resume : Start::anew, setup.mesh);
  // The model is made before anything is written: what it refuses leaves no folder behind.
  std::vector<std::string> notes;
  Trainer trainer = make_trainer(setup, notes);
  require_something_to_train(setup, trainer);
  require_whole_batches(setup.run, trainer.parameters());
  const auto restored = checkpoint ? std::nullopt : restored_training(setup, trainer);
  if (options.dry_run) {
    Log log = first ? Log::to_terminal() : Log();
    log_start(setup, trainer, notes, context, log);
    return print_dry_run(setup, trainer, context, log);
  }
  std::optional<RunLock> lock;
  if (first) {
    lock.emplace(folder);
    write_file_atomically(folder.run_file(), to_yaml(write_config(config)));
  }
  Log log = first ? Log(folder.log().string()) : Log();
  log_start(setup, trainer, notes, context, log);
  TrainingRun run({.run = setup.run,
                   .folder = folder,
                   .train = setup.train,
                   .validation = setup.validation,
                   .total_steps = setup.total_steps,
                   .description = write_config(description_of(*setup.train)),
                   .mesh = setup.mesh,
                   .profile = options.profile,
                   .started = started},
                  trainer, log);
  if (checkpoint) {
    run.resume(*checkpoint, setup.steps_per_epoch);
  } else if (options.resume) {
    if (first) drop_metrics_past(folder.metrics(), 0);
    log("no checkpoint to go on from: starting anew");
  }
  if (restored) run.resume(*restored, *setup.choice.from, setup.steps_per_epoch);
  run.run();
  if (options.profile) print_profile(trainer, log);
  if (!first || !context.common.json) return;
  ConfigValue result =
      ConfigValue::map({{"output", folder.root.string()}, {"steps", run.state().steps_done}, {"of_steps", setup.total_steps}});
  if (run.state().best_loss) result.set("best_loss", *run.state().best_loss);
  std::cout << to_json(result) << '\n';
}

}  // namespace

Command train_command() {
  return {"train", "trains a model as a run file says", [](Arguments& arguments) {
            auto options = std::make_shared<TrainOptions>();
            arguments.add("run_file", options->run_file, "the run file (docs/configuration.md)", Presence::required);
            arguments.add("key=value", options->overrides, "overrides such as training.steps=10");
            arguments.flag("--resume", options->resume, "go on from the last checkpoint of the output");
            arguments.flag("--dry-run", options->dry_run, "check everything, compute one step, print the resolved run, write nothing");
            arguments.flag("--profile", options->profile, "print where the time went, and trace 50 steps of all ranks");
            return [options](CommandContext& context) { train(*options, context); };
          }};
}

}  // namespace trident
