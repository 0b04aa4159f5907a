/// A recorded training run: loss, gradient norm and rates of every step, and the parameters after some of them.
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "checkpoint/gathered_tensor.h"
#include "launch/trainer/schedule.h"
#include "models/losses.h"
#include "models/optimizer_groups.h"
#include "parallel/gradient_reducer.h"
#include "parallel/optimizer.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/golden/mesh_case.h"
#include "tests/golden/scot.h"

namespace trident::golden {
namespace {

constexpr std::array kGroups = {OptimizerGroup::decay, OptimizerGroup::no_decay, OptimizerGroup::embedding_recovery,
                                OptimizerGroup::time_conditioning};

double number(const ConfigValue& document, const std::string& path) {
  const ConfigValue* value = find_path(document, path);
  if (value == nullptr) throw DataError(concat("case.json has no ", path));
  return value->as_number();
}

/// The recipe of a case.
struct Recipe {
  std::int64_t steps, batches;
  double learning_rate, weight_decay;
  FineTuningGroups fine_tuning;
  std::array<double, kGroups.size()> rates;  // at factor 1, by OptimizerGroup
  AdamWOptions optimizer;
  Schedule schedule;

  explicit Recipe(const ConfigValue& c)
      : steps(c.find("steps")->as_integer()),
        batches(c.find("batches")->as_integer()),
        learning_rate(number(c, "lr")),
        weight_decay(number(c, "weight_decay")),
        schedule({.warmup_steps = c.find("warmup_steps")->as_integer(), .total_steps = steps}) {
    rates.fill(learning_rate);
    if (const ConfigValue* finetune = c.find("finetune"); finetune != nullptr && !finetune->is_null()) {
      fine_tuning = {.embedding_recovery = true, .time_conditioning = true};
      rates[static_cast<std::size_t>(OptimizerGroup::embedding_recovery)] = number(*finetune, "lr_embedding_recovery");
      rates[static_cast<std::size_t>(OptimizerGroup::time_conditioning)] = number(*finetune, "lr_time_conditioning");
    }
    optimizer = {.beta1 = number(c, "betas[0]"),
                 .beta2 = number(c, "betas[1]"),
                 .eps = number(c, "eps"),
                 .max_grad_norm = number(c, "max_grad_norm")};
  }
};

/// One quantity of all steps.
using Curve = std::map<std::string, std::vector<double>>;

Curve recorded_curve(const ConfigValue& rows) {
  Curve curve;
  for (const ConfigValue& row : rows.elements()) {
    for (const auto& [key, value] : row.entries()) {
      if (key == "step") continue;
      if (key != "group_rates")
        curve[key].push_back(value.as_number());
      else
        for (const auto& [group, rate] : value.entries()) curve["rate of " + group].push_back(rate.as_number());
    }
  }
  return curve;
}

/// The largest relative difference of a step.
double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double scale = std::fabs(b[i]) > 0.0 ? std::fabs(b[i]) : 1.0;
    const double difference = std::fabs(a[i] - b[i]) / scale;
    if (!(difference <= largest)) largest = difference;  // keeps a NaN
  }
  return largest;
}

class TrainingCheck {
 public:
  TrainingCheck(Folder& folder, const Options& options)
      : folder_(folder), options_(options), document_(folder.json("case.json")), recipe_(document_) {}

  Rows run() {
    rows_ = unknown_keys(document_, {"steps", "batch", "batches", "lr", "warmup_steps", "weight_decay", "max_grad_norm", "betas", "eps",
                                     "finetune", "order", "curve", "groups"});
    check_groups();
    require_mesh(folder_.json("config.json"), folder_.take("input/0"), options_);
    for (const DType dtype : kPrecisions) {
      if (find_path(document_, concat("curve.", name_of(dtype))) != nullptr) check_curve(dtype, train(dtype));
    }
    if (options_.device.kind == Device::Kind::cuda) {
      const Curve expected = recorded_curve(*find_path(document_, "curve.f64"));
      rows_.push_back({"bf16 curve of loss", largest_difference(train(DType::bf16)["loss"], expected.at("loss")), kBf16CurveBound});
    }
    return std::move(rows_);
  }

 private:
  void check_groups() {
    const ConfigValue* groups = document_.find("groups");
    if (groups == nullptr) return;
    double differences = 0.0;
    for (const auto& [name, group] : groups->entries()) {
      if (name_of(optimizer_group(name, recipe_.fine_tuning)) != group.as_string()) ++differences;
    }
    rows_.push_back({"optimiser groups (differences)", differences, 0.0});
  }

  Range samples_of(std::int64_t batch) const {
    return part_of(batch, options_.mesh.size(Axis::data), options_.mesh.coordinate(Axis::data));
  }

  /// This rank's samples, and its rectangle of fields and masks of points.
  Tensor own(const std::string& name, DType dtype, const Model& model) {
    Tensor part = folder_.take(name);
    if (!part.defined()) return part;
    const Range samples = samples_of(part.size(0));
    part = view::slice(part, 0, samples.first, samples.last);
    if (part.rank() == 4) {
      const Rectangle rectangle = model->rectangle(part.size(2), part.size(3));
      part = view::slice(part, 2, rectangle.rows.first, rectangle.rows.last);
      part = view::slice(part, 3, rectangle.columns.first, rectangle.columns.last);
    }
    return on_device(part, dtype, options_);
  }

  Fields batch(std::int64_t step, DType dtype, const Model& model) {
    const std::string suffix = concat("/", step % recipe_.batches);
    const Shape whole = folder_.take("input" + suffix).shape();
    return {.input = own("input" + suffix, dtype, model),
            .time = own("time" + suffix, dtype, model),
            .pixel_mask = own("pixel_mask" + suffix, DType::boolean, model),
            .label = own("label" + suffix, dtype, model),
            .ny = whole[2],
            .nx = whole[3]};
  }

  Curve train(DType dtype) {
    const LoadedModel loaded = load_model(folder_, dtype, Use::training, options_);
    const Loss loss(loaded.model->loss(), loaded.model->num_out_channels(), LossScope::global, options_.mesh);
    const FlatShares shares(loaded.parameters, options_.mesh);
    GradientReducer reducer(loaded.parameters, shares);
    AdamW optimizer(
        loaded.parameters, recipe_.optimizer, {recipe_.weight_decay, 0.0, recipe_.weight_decay, 0.0},
        [&](const std::string& name) { return static_cast<int>(optimizer_group(name, recipe_.fine_tuning)); }, shares);
    Curve curve;
    for (std::int64_t step = 0; step < recipe_.steps; ++step) {
      loaded.parameters.zero_gradients();
      const Fields fields = batch(step, parameter_type(dtype), loaded.model);
      Pass pass;
      pass.mode = Mode::train;
      pass.precision = dtype;
      pass.first_sample = samples_of(folder_.take(concat("input/", step % recipe_.batches)).size(0)).first;
      const Tensor output = loaded.model(fields, loaded.model->prepare(), pass);
      const Tensor share = loss.share(output, fields.label, loss.totals({&fields.label, 1}));
      backward(share, reducer.on_final());
      reducer.finish();
      const Tensor norm = global_norm(loaded.parameters, shares), sum = from_values<double>({1}, std::vector{to_number(share)});
      options_.mesh.world().all_reduce(sum, ReduceOp::sum);
      curve["loss"].push_back(to_number(sum));
      curve["grad_norm"].push_back(to_number(norm));
      optimizer.update(step + 1, rates(step, curve), norm);
      if (dtype == DType::f64) check_parameters(loaded.parameters, step + 1);
    }
    return curve;
  }

  std::vector<double> rates(std::int64_t step, Curve& curve) const {
    const double factor = recipe_.schedule.factor(step);
    curve["learning_rate"].push_back(recipe_.learning_rate * factor);
    std::vector<double> rates;
    for (const OptimizerGroup group : kGroups) {
      rates.push_back(recipe_.rates[static_cast<std::size_t>(group)] * factor);
      curve[concat("rate of ", name_of(group))].push_back(rates.back());
    }
    return rates;
  }

  void check_parameters(const ParameterList& parameters, std::int64_t steps_done) {
    std::vector<std::string> prefixes{concat("after_", steps_done, ".f64/")};
    if (steps_done == recipe_.steps) prefixes.push_back("final.f64/");
    for (const std::string& prefix : prefixes) {
      if (folder_.names_with(prefix).empty()) continue;
      for (const NamedPiece& piece : parameters.pieces()) {
        const Tensor expected = folder_.take(prefix + piece.name), actual = gathered_tensor(piece, options_.mesh);
        if (!actual.defined()) continue;  // the first rank compares
        rows_.push_back(expected.defined() ? Row{prefix + piece.name, relative_error(actual, expected), kF64Bound}
                                           : failed(prefix + piece.name, "was not recorded"));
      }
    }
  }

  void check_curve(DType dtype, const Curve& actual) {
    const Curve wide = recorded_curve(*find_path(document_, "curve.f64"));
    const Curve own = recorded_curve(*find_path(document_, concat("curve.", name_of(dtype))));
    for (const auto& [quantity, expected] : wide) {
      const std::string name = concat(name_of(dtype), " curve of ", quantity);
      const auto found = actual.find(quantity);
      if (found == actual.end()) {
        rows_.push_back(failed(name, "is not computed"));
        continue;
      }
      const double bound = dtype == DType::f64
                               ? kF64Bound
                               : f32_curve_bound(largest_difference(own.at(quantity), expected), quantity, loss_exponent(folder_));
      rows_.push_back({name, largest_difference(found->second, expected), bound});
    }
  }

  Folder& folder_;
  const Options& options_;
  ConfigValue document_;
  Recipe recipe_;
  Rows rows_;
};

}  // namespace

bool matches_training(const Folder& folder) {
  return is_scot(folder) && folder.has("case.json") && folder.json("case.json").find("curve") != nullptr;
}

Rows check_training(Folder& folder, const Options& options) { return TrainingCheck(folder, options).run(); }

}  // namespace trident::golden
