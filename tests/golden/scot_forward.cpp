/// One forward and backward pass: output, loss, hidden states and every gradient, in f64 and f32.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "models/losses.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/golden/mesh_case.h"
#include "tests/golden/scot.h"

namespace trident::golden {
namespace {

constexpr double kRounding = 1e-12;

using Gradients = std::map<std::string, std::vector<double>>;

struct Inputs {
  Tensor input, time, pixel_mask, label;
};

struct Results {
  double loss = 0.0;
  Tensor output, input_gradient;
  Tensor prediction;  // the output where nothing is recorded; in bf16 alone, which then has other kernels
  std::vector<Tensor> hidden;
  Gradients gradients;
  std::int64_t num_parameters = 0;
};

/// On all ranks; the first one has the results. Hidden states are those of one rank.
Results compute(const Folder& folder, const Inputs& inputs, Mode mode, DType dtype, const Options& options) {
  const LoadedModel loaded = load_model(folder, dtype, Use::training, options);
  const MeshCase on_mesh(loaded.model, options.mesh, inputs.input);
  const auto own = [&](const Tensor& whole, DType type) { return on_device(on_mesh.part(whole), type, options); };
  const DType outside = parameter_type(dtype);
  const Tensor input = leaf(own(inputs.input, outside));
  const Fields fields =
      on_mesh.fields(input, own(inputs.time, outside), own(inputs.pixel_mask, DType::boolean), own(inputs.label, outside));
  Pass pass;
  pass.mode = mode;
  pass.precision = dtype;
  pass.first_sample = on_mesh.first_sample();
  Results results;
  const Tensor output = loaded.model(fields, loaded.model->prepare(), pass, &results.hidden);
  const Loss loss(loaded.model->loss(), loaded.model->num_out_channels(), LossScope::global, options.mesh);
  const Tensor share = loss.share(output, fields.label, loss.totals({&fields.label, 1}));
  results.loss = summed(to_number(share), options.mesh);
  reduced_backward(share, loaded.parameters, options.mesh);
  results.output = on_mesh.whole_output(output);
  results.input_gradient = on_mesh.whole_input_gradient(gradient_of(input));
  for (const NamedPiece& piece : loaded.parameters.pieces()) {
    const Tensor gradient = on_mesh.whole_gradient(piece);
    if (gradient.defined()) results.gradients[piece.name] = numbers(gradient);
    results.num_parameters += numel(piece.piece.full_shape);
  }
  if (dtype == DType::bf16 && mode == Mode::eval) {
    const Recording off(false);
    results.prediction = on_mesh.whole_output(loaded.model(fields, loaded.model->prepare(), pass));
  }
  return results;
}

/// How far the reference's own f32 is from its f64, by class of quantity; 0 where it was not recorded.
class Distances {
 public:
  explicit Distances(const ConfigValue& document) : document_(document) {}
  double operator()(const std::string& path) const {
    const ConfigValue* value = find_path(document_, "f32_vs_f64." + path);
    return value == nullptr ? 0.0 : value->as_number();
  }

 private:
  const ConfigValue& document_;
};

class ForwardCheck {
 public:
  ForwardCheck(Folder& folder, const Options& options)
      : folder_(folder), options_(options), document_(folder.json("case.json")), distance_(document_) {
    inputs_ = {folder.take("input"), folder.take("time"), folder.take("pixel_mask"), folder.take("label")};
    for (const DType dtype : kPrecisions) {
      expected_output_[dtype] = folder.take(concat("output.", name_of(dtype)));
      expected_input_gradient_[dtype] = folder.take(concat("grad_input.", name_of(dtype)));
    }
  }

  Rows run() {
    rows_ = unknown_keys(document_, {"batch", "mode", "loss", "f32_vs_f64", "parameters", "gradients.f64", "gradients.f32"});
    require_mesh(folder_.json("config.json"), inputs_.input, options_);
    const ConfigValue* mode = document_.find("mode");
    if (mode != nullptr && mode->as_string() == "train") mode_ = Mode::train;
    for (const DType dtype : kPrecisions) {
      if (dtype == DType::f32 && document_.find("f32_vs_f64") == nullptr) continue;
      const Results results = compute(folder_, inputs_, mode_, dtype, options_);
      if (options_.mesh.world().rank() == 0) check(dtype, results);
    }
    if (options_.device.kind == Device::Kind::cuda && expected_output_[DType::f64].defined()) {
      const Results results = compute(folder_, inputs_, mode_, DType::bf16, options_);
      const auto add_bf16 = [&](const char* name, const Tensor& output) {
        rows_.push_back({name, relative_error(output, expected_output_[DType::f64]), bf16_bound(distance_("output"))});
      };
      if (options_.mesh.world().rank() == 0) add_bf16("bf16 output", results.output);
      if (options_.mesh.world().rank() == 0 && results.prediction.defined()) add_bf16("bf16 prediction", results.prediction);
    }
    return std::move(rows_);
  }

 private:
  double bound(DType dtype, double distance) const { return dtype == DType::f64 ? kF64Bound : f32_bound(distance); }

  /// Against the f64 numbers of the reference, which it also measured its own f32 against.
  void add(DType dtype, const std::string& name, double error, double distance, const std::string& note = "") {
    rows_.push_back({concat(name_of(dtype), " ", name), error, bound(dtype, distance), note});
  }

  void check(DType dtype, const Results& results) {
    check_loss(dtype, results);
    check_field(dtype, "output", results.output, expected_output_, distance_("output"));
    check_field(dtype, "grad_input", results.input_gradient, expected_input_gradient_, distance_("grad_input"));
    if (dtype == DType::f64) check_hidden(results);
    check_gradients(dtype, results);
    check_sampled_gradients(dtype, results);
  }

  void check_loss(DType dtype, const Results& results) {
    if (const ConfigValue* count = document_.find("parameters"); count != nullptr && dtype == DType::f64) {
      rows_.push_back({"parameters (difference)", std::fabs(static_cast<double>(results.num_parameters) - count->as_number()), 0.0});
    }
    const ConfigValue* wide = find_path(document_, "loss.f64");
    if (wide == nullptr) return rows_.push_back(failed("loss", "case.json has no loss.f64"));
    const ConfigValue* narrow = find_path(document_, "loss.f32");
    const double distance = narrow == nullptr ? 0.0 : std::fabs(narrow->as_number() / wide->as_number() - 1.0);
    add(dtype, "loss", std::fabs(results.loss / wide->as_number() - 1.0), distance);
  }

  void check_field(DType dtype, const std::string& name, const Tensor& actual, std::map<DType, Tensor>& expected, double distance) {
    const Tensor& wide = expected[DType::f64];
    if (!wide.defined()) return;
    if (expected[DType::f32].defined()) distance = std::max(distance, relative_error(expected[DType::f32], wide));
    add(dtype, name, relative_error(actual, wide), distance);
  }

  void check_hidden(const Results& results) {
    const std::vector<std::string> names = folder_.names_with("hidden.f64/");
    if (options_.mesh.world().size() > 1) {
      for (const std::string& name : names) folder_.take("hidden.f64/" + name);
      return;
    }
    if (!names.empty() && names.size() != results.hidden.size()) {
      rows_.push_back(failed("hidden", concat(names.size(), " states were recorded, the model has ", results.hidden.size())));
    }
    for (const std::string& name : names) {
      const auto index = static_cast<std::size_t>(std::stoul(name));
      const Tensor expected = folder_.take("hidden.f64/" + name);
      if (index < results.hidden.size()) add(DType::f64, "hidden/" + name, relative_error(results.hidden[index], expected), 0.0);
    }
  }

  void check_gradients(DType dtype, const Results& results) {
    const std::vector<std::string> names = folder_.names_with("grad.f64/");
    if (names.empty()) return;
    Gradients expected;
    std::vector<double> all_actual, all_expected;
    for (const std::string& name : names) {
      expected[name] = numbers(folder_.take("grad.f64/" + name));
      const auto found = results.gradients.find(name);
      if (found == results.gradients.end()) {
        rows_.push_back(failed("grad/" + name, "the model has no such parameter"));
        continue;
      }
      all_actual.insert(all_actual.end(), found->second.begin(), found->second.end());
      all_expected.insert(all_expected.end(), expected[name].begin(), expected[name].end());
    }
    for (const auto& [name, gradient] : results.gradients) {
      if (!expected.contains(name))
        rows_.push_back(failed("grad/" + name, "was not recorded"));
      else
        add(dtype, "grad/" + name, gradient_error(gradient, expected[name], norm(all_expected)), distance_("worst_gradient.relative"));
    }
    add(dtype, "all gradients", relative_error(all_actual, all_expected), distance_("all_gradients"));
  }

  /// Gradients that are 0 but for rounding (of a bias before a batch norm) are measured by all gradients together.
  static double gradient_error(std::vector<double> actual, const std::vector<double>& expected, double all) {
    if (norm(expected) > kRounding * all) return relative_error(actual, expected);
    return norm(actual) / all;
  }

  /// Norm, sum and some values of each gradient.
  struct Sample {
    double norm = 0.0, sum = 0.0;
    std::vector<double> values;
    explicit Sample(const ConfigValue& recorded) : norm(recorded.find("norm")->as_number()), sum(recorded.find("sum")->as_number()) {
      for (const ConfigValue& value : recorded.find("value")->elements()) values.push_back(value.as_number());
    }
    Sample(const std::vector<double>& gradient, const ConfigValue& indices) : norm(golden::norm(gradient)) {
      for (const double value : gradient) sum += value;
      for (const ConfigValue& index : indices.elements()) values.push_back(gradient.at(static_cast<std::size_t>(index.as_integer())));
    }
    /// Of norm, sum (relative to the norm) and values.
    std::array<double, 3> distances(const Sample& expected, double all) const {
      if (expected.norm <= kRounding * all) return {norm / all, std::fabs(sum) / all, golden::norm(values) / all};
      return {std::fabs(norm / expected.norm - 1.0), std::fabs(sum - expected.sum) / expected.norm,
              relative_error(values, expected.values)};
    }
  };

  void check_sampled_gradients(DType dtype, const Results& results) {
    const ConfigValue* recorded = document_.find("gradients.f64");
    const ConfigValue* narrow = document_.find("gradients.f32");
    if (recorded == nullptr || (dtype == DType::f32 && narrow == nullptr)) return;
    std::vector<double> norms;
    for (const auto& [name, sample] : recorded->entries()) norms.push_back(sample.find("norm")->as_number());
    const double all = norm(norms);
    std::array<double, 3> distances;
    distances.fill(distance_("worst_gradient.relative"));
    if (narrow != nullptr) {
      for (const auto& [name, sample] : recorded->entries()) {
        const std::array<double, 3> own = Sample(*narrow->find(name)).distances(Sample(sample), all);
        for (std::size_t i = 0; i < own.size(); ++i) distances[i] = std::max(distances[i], own[i]);
      }
    }
    for (const auto& [name, sample] : recorded->entries()) {
      const auto found = results.gradients.find(name);
      if (found == results.gradients.end()) {
        rows_.push_back(failed("grad/" + name, "the model has no such parameter"));
        continue;
      }
      const std::array<double, 3> errors = Sample(found->second, *sample.find("index")).distances(Sample(sample), all);
      const std::array<const char*, 3> names = {" norm", " sum (of the norm)", " values"};
      for (std::size_t i = 0; i < errors.size(); ++i) add(dtype, "grad/" + name + names[i], errors[i], distances[i]);
    }
    if (recorded->entries().size() != results.gradients.size()) rows_.push_back(failed("gradients", "some were not recorded"));
  }

  Folder& folder_;
  const Options& options_;
  ConfigValue document_;
  Distances distance_;
  Inputs inputs_;
  Mode mode_ = Mode::eval;
  std::map<DType, Tensor> expected_output_, expected_input_gradient_;
  Rows rows_;
};

}  // namespace

bool matches_forward(const Folder& folder) {
  return is_scot(folder) && folder.has("case.json") && folder.json("case.json").find("loss") != nullptr;
}

Rows check_forward(Folder& folder, const Options& options) { return ForwardCheck(folder, options).run(); }

}  // namespace trident::golden
