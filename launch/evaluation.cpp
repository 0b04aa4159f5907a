#include "launch/evaluation.h"

#include <cstdio>
#include <numeric>

#include "models/rollout.h"
#include "parallel/field_sharing.h"
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

Tensor joined(const std::vector<Tensor>& batches) {
  std::int64_t size = 0;
  for (const Tensor& batch : batches) size += batch.size(0);
  Shape shape = batches.front().shape();
  shape[0] = size;
  const Tensor result = empty(shape, batches.front().dtype());
  std::int64_t first = 0;
  for (const Tensor& batch : batches) {
    copy_into(view::slice(result, 0, first, first + batch.size(0)), batch);
    first += batch.size(0);
  }
  return result;
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

/// The axes whose ranks evaluate different samples: of models that hold whole fields also the domain axes.
AxisSet axes_of_samples(const Model& model) {
  return model->patching() ? (Axis::data | Axis::domain_y) | Axis::domain_x : AxisSet(Axis::data);
}

LoaderOptions loader_options(const Mesh& mesh, const Model& model, std::int64_t batch_size, DType dtype) {
  Communicator& ranks = mesh.comm(axes_of_samples(model));
  return {.global_batch_size = batch_size,
          .rank = ranks.rank(),
          .num_ranks = ranks.size(),
          .part = [model](std::int64_t ny, std::int64_t nx) { return model->rectangle(ny, nx); },
          .epochs = 1,
          .dtype = dtype};
}

}  // namespace

Evaluator::Evaluator(Model model, LossDescription loss, DType dtype, std::int64_t batch_size, const Mesh& mesh)
    : model_(std::move(model)), loss_(std::move(loss)), dtype_(dtype), batch_size_(batch_size), mesh_(mesh) {
  pass_.precision = dtype;
}

ErrorTable Evaluator::table_for(const Dataset& dataset) const {
  return ErrorTable({.groups = channel_groups(dataset.problem()),
                     .group_names = group_names(dataset.problem()),
                     .loss = loss_,
                     .out_channels = dataset.out_channels(),
                     .points = dataset.ny() * dataset.nx(),
                     .mesh = mesh_,
                     .sample_axes = axes_of_samples(model_)});
}

ErrorTable Evaluator::validate(const std::shared_ptr<const Dataset>& dataset) const {
  const Recording off(false);
  const Prepared prepared = model_->prepare();
  ErrorTable table = table_for(*dataset);
  Loader loader(dataset, loader_options(mesh_, model_, batch_size_, dtype_));
  while (const auto batch = loader.next()) {
    const MicroBatch& mine = batch->micro_batches.front();
    table.add(mine.samples, model_(mine.fields, prepared, pass_), mine.fields.label);
  }
  table.gather();
  return table;
}

Tensor Evaluator::gathered(const Tensor& mine, std::int64_t all, const Dataset& dataset) const {
  const std::int64_t ny = dataset.ny(), nx = dataset.nx();
  return FieldSharing(mesh_, all, model_->rectangle(ny, nx), ny, nx, 2).gather(mine);
}

void Evaluator::collect(const std::vector<GlobalBatch>& batches, const std::vector<double>& fractions, const Prepared& prepared,
                        const Dataset& dataset, KeepFields keep, Collected& collected) const {
  const MicroBatch& last = batches.back().micro_batches.front();
  const std::int64_t out = last.fields.label.size(1);
  const bool persistent = last.fields.input.size(1) >= out;  // a prediction that is the input
  const Tensor start = persistent ? view::slice(last.fields.input, 1, 0, out) : Tensor{};
  if (last.fields.time.defined() && last.fields.time.numel() > 0) {
    collected.time = to_number(view::slice(last.fields.time, 0, 0, 1));
  }
  roll_out(model_, prepared, last.fields, fractions, pass_, [&](std::size_t step, const Tensor& output) {
    const Tensor& label = batches[batches.size() > 1 ? step : 0].micro_batches.front().fields.label;
    collected.of_model[step].add(last.samples, output, label);
    if (persistent) collected.of_persistence[step].add(last.samples, start, label);
    if (keep == KeepFields::yes && step + 1 == fractions.size()) collected.outputs.push_back(gathered(output, batches.back().size, dataset));
  });
  if (keep == KeepFields::yes) {
    collected.inputs.push_back(gathered(last.fields.input, batches.back().size, dataset));
    collected.labels.push_back(gathered(last.fields.label, batches.back().size, dataset));
  }
}

CaseResult Evaluator::run_case(const RunFile& run, std::size_t index, const Dataset& dataset, KeepFields keep) const {
  const Recording off(false);
  const EvaluationCase& wanted = run.config.evaluation.cases[index];
  const std::vector<double> steps = step_frames(run, index);
  std::vector<double> fractions;
  for (const double step : steps) fractions.push_back(step / (wanted.final_time - wanted.initial_time));
  const std::vector<FramePair> pairs = pairs_of(wanted, steps);
  FrameLoaders loaders(dataset, pairs, loader_options(mesh_, model_, batch_size_, dtype_));
  const Prepared prepared = model_->prepare();
  Collected collected;
  collected.of_model.assign(steps.size(), table_for(dataset));
  collected.of_persistence = collected.of_model;
  for (auto batches = loaders.next(); !batches.empty(); batches = loaders.next()) collect(batches, fractions, prepared, dataset, keep, collected);
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
  if (keep == KeepFields::yes && mesh_.world().rank() == 0) {
    const std::string frames = concat(wanted.initial_time, "-", wanted.final_time);
    result.fields = {{concat(wanted.initial_time, "/input"), joined(collected.inputs)},
                     {frames + "/label", joined(collected.labels)},
                     {frames + "/" + name_of_steps(wanted.ar_steps), joined(collected.outputs)}};
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
