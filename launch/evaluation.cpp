#include "launch/evaluation.h"

#include <cstdio>

#include "models/captured_model.h"
#include "models/field_share.h"
#include "models/mg_tfno/patch_loss.h"
#include "models/rollout.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// The frames that a case compares: only the last, or what every step reaches.
std::vector<FramePair> pairs_of(const EvaluationCase& wanted, const std::vector<double>& steps) {
  if (!wanted.every_step) return {{wanted.initial_time, wanted.final_time}};
  std::vector<FramePair> pairs;
  double frame = wanted.initial_time;
  for (const double step : steps) {
    frame += step;
    pairs.push_back({wanted.initial_time, static_cast<int>(frame)});
  }
  return pairs;
}

/// "7" or "4+10".
std::string name_of_steps(const ConfigValue& ar_steps) {
  if (ar_steps.kind() != ConfigValue::Kind::list) return std::to_string(ar_steps.as_integer());
  std::string name;
  for (const ConfigValue& step : ar_steps.elements()) name += concat(name.empty() ? "" : "+", step.as_integer());
  return name;
}

/// What is known once all batches are done: a table a step, its labels those of the step or of the end.
ConfigValue report_of(const std::vector<ErrorTable>& tables, bool every_step, bool with_loss) {
  if (every_step) {
    ConfigValue list = ConfigValue::list();
    for (const ErrorTable& table : tables) list.append(table.metrics(MetricsDetail::full));
    return list;
  }
  ConfigValue report = ConfigValue::map();
  double loss = 0.0;
  for (const ErrorTable& table : tables) loss += table.loss() / static_cast<double>(tables.size());
  if (with_loss) report.set("loss", loss);
  const ConfigValue metrics = tables.back().metrics(MetricsDetail::full);
  for (const auto& [name, value] : metrics.entries()) report.set(name, value);
  return report;
}

/// What the fields of a case are called: input, label, prediction.
std::vector<std::string> names_of(const EvaluationCase& wanted, const std::string& prefix) {
  const std::string first = concat(prefix, wanted.initial_time), frames = concat(first, "-", wanted.final_time);
  return {first + "/input", frames + "/label", frames + "/" + name_of_steps(wanted.ar_steps)};
}

/// `physical`: of the labels; the prediction is in their units.
void add_errors(ErrorTable& table, const MicroBatch& batch, const PhysicalUnits& physical, const Tensor& prediction) {
  Fields fields = batch.fields;
  fields.label = physical(fields.label);
  if (fields.patches) {
    table.add_patches(batch.samples, prediction, fields);
  } else {
    table.add(batch.samples, prediction, fields.label);
  }
}

/// Loaders that walk the same trajectories side by side, one for each frame that is compared.
class FrameLoaders {
 public:
  FrameLoaders(const Dataset& dataset, const std::vector<FramePair>& pairs, const LoaderOptions& options) {
    for (const FramePair& pair : pairs) {
      loaders_.push_back(std::make_unique<Loader>(std::make_shared<Dataset>(dataset.with_pairs({pair})), options));
    }
  }
  /// The next batch of every frame; none at the end.
  std::vector<GlobalBatch> next() {
    std::vector<GlobalBatch> batches;
    for (const auto& loader : loaders_) {
      if (auto batch = loader->next()) batches.push_back(std::move(*batch));
    }
    return batches;
  }

 private:
  std::vector<std::unique_ptr<Loader>> loaders_;
};

constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;

}  // namespace

std::vector<FieldDescription> kept_fields(const RunFile& run, std::size_t index, const Dataset& dataset, DType dtype,
                                          const std::string& prefix) {
  const EvaluationCase& wanted = run.config.evaluation.cases[index];
  const std::vector<std::string> names = names_of(wanted, prefix);
  const std::int64_t samples = dataset.with_pairs({{wanted.initial_time, wanted.final_time}}).size();
  const DType numbers = dataset.is_complex() ? complex_of(dtype) : dtype;
  const auto shape_of = [&](int channels) {
    Shape shape{samples, channels};
    for (const std::int64_t extent : dataset.extents()) shape.push_back(extent);
    return shape;
  };
  return {{names[0], numbers, shape_of(dataset.in_channels())},
          {names[1], numbers, shape_of(dataset.out_channels())},
          {names[2], numbers, shape_of(dataset.out_channels())}};
}

Evaluator::Evaluator(Model model, LossDescription loss, const Computing& computing, std::int64_t batch_size, const Mesh& mesh, Units units)
    : model_(std::move(model)), loss_(std::move(loss)), computing_(computing), batch_size_(batch_size), mesh_(mesh), units_(units) {
  pass_.precision = computing.precision;
}

PhysicalUnits Evaluator::units_of(const Dataset& dataset, std::vector<Channel> Problem::*channels) const {
  return units_ == Units::physical
             ? PhysicalUnits(dataset, channels, model_->num_dims(), parameter_type(computing_.precision), computing_.device)
             : PhysicalUnits();
}

bool Evaluator::shares_patches() const { return model_->patching() && mesh_.size(kBatchAxes) > 1; }

LoaderOptions Evaluator::loader_options() const {
  LoaderOptions options = shared_out(model_, mesh_);
  options.global_batch_size = batch_size_;
  options.patch_windows = false;  // the ranks exchange them, as in every further step of a roll-out
  options.epochs = 1;
  options.dtype = parameter_type(computing_.precision);
  options.device = computing_.device;
  return options;
}

ErrorTable Evaluator::table_for(const Dataset& dataset) const {
  return ErrorTable({.groups = channel_groups(dataset.problem()),
                     .group_names = group_names(dataset.problem()),
                     .loss = loss_,
                     .out_channels = dataset.out_channels(),
                     .points = dataset.points(),
                     .mesh = mesh_,
                     .sample_axes = shares_patches() ? AxisSet{} : AxisSet(Axis::data),
                     .part_axes = shares_patches() ? kBatchAxes : Axis::domain_y | Axis::domain_x});
}

ErrorTable Evaluator::validate(const std::shared_ptr<const Dataset>& dataset) const {
  const Recording off(false);
  const Model model = captured(model_, mesh_, computing_.device);
  const Prepared prepared = model->prepare();
  ErrorTable table = table_for(*dataset);
  const PhysicalUnits physical = units_of(*dataset, &Problem::output);
  Loader loader(dataset, loader_options());
  while (const auto batch = loader.next()) {
    const MicroBatch& mine = batch->micro_batches.front();
    add_errors(table, mine, physical, physical(model(mine.fields, prepared, pass_)));
  }
  table.gather();
  return table;
}

Tensor Evaluator::collect(const Model& model, const std::vector<GlobalBatch>& batches, const std::vector<double>& fractions,
                          const Prepared& prepared, Collected& collected) const {
  const MicroBatch& last = batches.back().micro_batches.front();
  const std::int64_t out = last.fields.label.size(1);
  const bool persistent = last.fields.input.size(1) >= out;  // a prediction that is the input
  const Tensor start = persistent ? view::slice(collected.physical_input(last.fields.input), 1, 0, out) : Tensor{};
  if (last.fields.time.defined() && last.fields.time.numel() > 0) {
    collected.time = to_number(view::slice(last.fields.time, 0, 0, 1));
  }
  Tensor final_output;
  roll_out(model, prepared, last.fields, fractions, pass_, [&](std::size_t step, const Tensor& output) {
    const MicroBatch& reached = batches[batches.size() > 1 ? step : 0].micro_batches.front();
    add_errors(collected.of_model[step], reached, collected.physical, collected.physical(output));
    if (persistent) add_errors(collected.of_persistence[step], reached, collected.physical, start);
    final_output = output;
  });
  return final_output;
}

void Evaluator::keep(const GlobalBatch& batch, const Tensor& output, std::int64_t first_sample, const std::vector<std::string>& names,
                     const Dataset& dataset, const FieldFileWriter& file) const {
  if (mesh_.coordinate(Axis::tensor) != 0) return;  // its first rank has the same
  const Fields& fields = batch.micro_batches.front().fields;
  const FieldPieces pieces = share_of(model_, mesh_, batch.size, dataset.ny(), dataset.nx()).pieces;
  const auto here = [](const Tensor& x) { return to_device(x, Device{}); };
  file.write(names[0], pieces, here(fields.input), model_->num_dims(), false, first_sample);
  file.write(names[1], pieces, here(fields.patches ? without_margin(fields.label) : fields.label), model_->num_dims(), false, first_sample);
  file.write(names[2], pieces, here(output), model_->num_dims(), false, first_sample);
}

CaseResult Evaluator::run_case(const RunFile& run, std::size_t index, const Dataset& dataset, const std::optional<KeptFields>& kept) const {
  const Recording off(false);
  const EvaluationCase& wanted = run.config.evaluation.cases[index];
  const std::vector<double> steps = step_frames(run, index);
  std::vector<double> fractions;
  for (const double step : steps) fractions.push_back(step / (wanted.final_time - wanted.initial_time));
  const std::vector<FramePair> pairs = pairs_of(wanted, steps);
  FrameLoaders loaders(dataset, pairs, loader_options());
  const Model model = captured(model_, mesh_, computing_.device);
  const Prepared prepared = model->prepare();
  Collected collected;
  collected.of_model.assign(steps.size(), table_for(dataset));
  collected.of_persistence = collected.of_model;
  collected.physical = units_of(dataset, &Problem::output);
  collected.physical_input = units_of(dataset, &Problem::input);
  for (auto batches = loaders.next(); !batches.empty(); batches = loaders.next()) {
    const Tensor output = collect(model, batches, fractions, prepared, collected);
    if (kept) keep(batches.back(), output, collected.samples, names_of(wanted, kept->prefix), dataset, kept->file);
    collected.samples += batches.back().size;
  }
  for (ErrorTable& table : collected.of_model) table.gather();
  for (ErrorTable& table : collected.of_persistence) table.gather();

  CaseResult result;
  result.report = write_config(wanted);
  result.report.set("problem", dataset.problem().name);
  result.report.set("time", collected.time);
  result.report.set("samples", collected.of_model.front().num_samples());
  if (wanted.every_step) {
    ConfigValue frames = ConfigValue::list();
    for (const FramePair& pair : pairs) frames.append(pair.second);
    result.report.set("frames", frames);
  }
  result.report.set("model", report_of(collected.of_model, wanted.every_step, true));
  if (collected.of_persistence.front().num_samples() > 0) {
    result.report.set("persistence", report_of(collected.of_persistence, wanted.every_step, false));
  }
  return result;
}

std::string table_of(const std::vector<CaseResult>& cases) {
  std::string text = "median relative L1 error in percent: model (persistence)\n";
  const auto line = [&](const ConfigValue& report, std::int64_t final_time, const ConfigValue& model, const ConfigValue* persistence) {
    text += concat(report.find("problem")->as_string(), "  frame ", report.find("initial_time")->as_integer(), " to ", final_time, " in ",
                   name_of_steps(*report.find("ar_steps")), ":");
    const std::string ending = "/median_relative_l1_error";
    for (const auto& [name, value] : model.entries()) {
      if (!name.ends_with(ending)) continue;
      std::array<char, 96> cell{};
      std::snprintf(cell.data(), cell.size(), "  %s %.4g", name.substr(0, name.size() - ending.size()).c_str(), value.as_number());
      text += cell.data();
      if (persistence == nullptr) continue;
      std::snprintf(cell.data(), cell.size(), " (%.4g)", persistence->find(name)->as_number());
      text += cell.data();
    }
    text += '\n';
  };
  for (const CaseResult& result : cases) {
    const ConfigValue& report = result.report;
    const ConfigValue &model = *report.find("model"), *persistence = report.find("persistence");
    const ConfigValue* frames = report.find("frames");
    if (frames == nullptr) line(report, report.find("final_time")->as_integer(), model, persistence);
    for (std::size_t step = 0; frames != nullptr && step < frames->elements().size(); ++step) {
      line(report, frames->elements()[step].as_integer(), model.elements()[step],
           persistence == nullptr ? nullptr : &persistence->elements()[step]);
    }
  }
  return text;
}

}  // namespace trident
