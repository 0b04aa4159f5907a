/// The reference's optimiser, schedules, normaliser, and short trainings on Darcy flow.
#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include "checkpoint/gathered_tensor.h"
#include "checkpoint/torch_reader.h"
#include "launch/trainer/schedule.h"
#include "models/losses.h"
#include "models/unit_gaussian.h"
#include "parallel/optimizer.h"
#include "runtime/autograd/tape.h"
#include "runtime/ops/complex.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/golden/neuralop.h"

namespace trident::golden {
namespace {

void append(Rows& rows, const Rows& more) { rows.insert(rows.end(), more.begin(), more.end()); }

std::vector<double> numbers_at(const ConfigValue& document, const std::string& key) {
  std::vector<double> values;
  for (const ConfigValue& value : document.find(key)->elements()) values.push_back(value.as_number());
  return values;
}

double bound(DType dtype, double distance) { return dtype == DType::f64 ? kF64Bound : f32_bound(distance); }

/// One row for numbers that case.json records in both types as KEY_f32 and KEY_f64.
Row compare_numbers(const ConfigValue& document, const std::string& key, DType dtype, const std::vector<double>& actual) {
  const std::vector<double> narrow = numbers_at(document, key + "_f32"), wide = numbers_at(document, key + "_f64");
  return {concat(name_of(dtype), " ", key), relative_error(actual, wide), bound(dtype, relative_error(narrow, wide))};
}

/// The model of a case with its weights, and its optimiser.
struct Trained {
  Model model;
  ParameterList parameters;
  AdamW optimizer;
  double learning_rate;
  ConfigValue loss;
  Mesh mesh;

  static Trained load(Folder& folder, const ConfigValue& document, DType dtype, const Options& options, Rows& rows) {
    Model model = model_of(*document.find("arguments"), document.find("model")->as_string(), options.mesh);
    ParameterList parameters = materialize(model, dtype, Use::training, std::nullopt, {}, options.device);
    append(rows, load_weights(parameters, NumberFile(folder.path() / "weights.safetensors")));
    const ConfigValue& recipe = *document.find("optimizer");
    AdamW optimizer(
        parameters, adamw_of(recipe), {recipe.find("weight_decay")->as_number()}, [](const std::string&) { return 0; },
        FlatShares(parameters, options.mesh));
    return {std::move(model),       std::move(parameters), std::move(optimizer), recipe.find("lr")->as_number(),
            *document.find("loss"), options.mesh};
  }

  /// This rank's part.
  Tensor output(const MeshCase& on_mesh, const Tensor& input, DType dtype, Mode mode) const {
    Pass pass;
    pass.mode = mode;
    pass.precision = dtype;
    return model(on_mesh.fields(on_mesh.part(input), {}, {}, {}), {}, pass);
  }

  /// This rank's share of the loss.
  Tensor share(const Tensor& input, const Tensor& target, DType dtype) const {
    const MeshCase on_mesh(model, mesh, input);
    return share_of_loss(loss, model->loss(), output(on_mesh, input, dtype, Mode::train), on_mesh.label(target), on_mesh);
  }

  /// Returns the loss before the update.
  double step(std::int64_t number, const Tensor& input, const Tensor& target, DType dtype, double rate) {
    parameters.zero_gradients();
    const Tensor own = share(input, target, dtype);
    reduced_backward(own, parameters, mesh);
    optimizer.update(number, std::vector{rate}, full({1}, 1.0, DType::f64, parameters.values().device()));
    return summed(to_number(own), mesh);
  }

  NumbersByName weights() const { return pieces_of(parameters, &NamedPiece::value, mesh); }
};

Schedule schedule_of(const ConfigValue& description, double rate, std::int64_t steps_per_epoch) {
  const std::string& name = description.find("class")->as_string();
  const ConfigValue* inner = description.find("arguments");
  const ConfigValue& arguments = inner == nullptr ? description : *inner;
  const auto number = [&](const char* key, double otherwise) {
    const ConfigValue* value = arguments.find(key);
    return value == nullptr ? otherwise : value->as_number();
  };
  const auto count = [&](const char* key) { return static_cast<std::int64_t>(number(key, 1.0)); };
  Schedule::Options options{.rate = rate, .steps_per_unit = steps_per_epoch, .steps_per_epoch = steps_per_epoch};
  if (name == "StepLR") {
    options.choice = ScheduleChoice::step, options.step_size = count("step_size"), options.gamma = number("gamma", 0.1);
  } else if (name == "CosineAnnealingLR") {
    options.choice = ScheduleChoice::cosine_annealing, options.t_max = count("T_max"), options.floor = number("eta_min", 0.0) / rate;
  } else if (name == "ReduceLROnPlateau") {
    options.choice = ScheduleChoice::plateau, options.gamma = number("factor", 0.1);
    options.patience = static_cast<std::int64_t>(number("patience", 10.0));
  } else {
    throw DataError(concat("case.json: schedule ", name, " is not known"));
  }
  return Schedule(options);
}

/// Inputs (sample, 1, y, x) and labels of one of the reference's Darcy files.
struct Darcy {
  Tensor input, label;

  Darcy(const std::filesystem::path& path, DType dtype, Device device) {
    TorchReader file(path);
    const auto read = [&](const char* name) {
      const Tensor fields = file.tensor(name), copy = empty(fields.shape(), dtype, device);
      copy_into(copy, fields);
      return view::reshape(copy, {copy.size(0), 1, copy.size(1), copy.size(2)});
    };
    input = read("x");
    label = read("y");
  }
};

class DarcyTrainingCheck {
 public:
  DarcyTrainingCheck(Folder& folder, const Options& options) : folder_(folder), options_(options), document_(folder.json("case.json")) {}

  Rows run() {
    rows_ = unknown_keys(
        document_, {"kind", "seed", "model", "arguments", "data", "samples", "batch_size", "steps", "shuffle", "normalisation", "loss",
                    "optimizer", "schedule", "losses_f32", "losses_f64", "test_f32", "test_f64", "test_meaning", "f32_vs_f64"});
    const ConfigValue config = config_of(*document_.find("arguments"), document_.find("model")->as_string());
    const Darcy data(find_data(document_.find("data")->as_string(), folder_, options_), DType::f32, options_.device);
    require_mesh(config, view::slice(data.input, 0, 0, document_.find("batch_size")->as_integer()), options_);
    for (const DType dtype : kNumberTypes) check(dtype);
    if (options_.device.kind == Device::Kind::cuda) {
      Trained trained = Trained::load(folder_, document_, DType::bf16, options_, rows_);
      rows_.push_back({"bf16 losses", relative_error(train(DType::bf16, trained), numbers_at(document_, "losses_f64")), kBf16CurveBound});
    }
    return std::move(rows_);
  }

 private:
  /// The loss of every step.
  std::vector<double> train(DType dtype, Trained& trained) {
    const Darcy data(find_data(document_.find("data")->as_string(), folder_, options_), parameter_type(dtype), options_.device);
    const std::int64_t batch = document_.find("batch_size")->as_integer(), samples = document_.find("samples")->elements()[1].as_integer();
    const ConfigValue& description = *document_.find("schedule");
    const std::int64_t steps_per_epoch = samples / batch;
    const Schedule schedule = description.is_null() ? Schedule({.choice = ScheduleChoice::constant})
                                                    : schedule_of(description, trained.learning_rate, steps_per_epoch);
    std::vector<double> losses;
    for (std::int64_t step = 0; step < document_.find("steps")->as_integer(); ++step) {
      const std::int64_t first = step % steps_per_epoch * batch;
      const auto part = [&](const Tensor& fields) { return view::slice(fields, 0, first, first + batch); };
      losses.push_back(trained.step(step + 1, part(data.input), part(data.label), dtype, trained.learning_rate * schedule.factor(step)));
    }
    return losses;
  }

  void check(DType dtype) {
    Trained trained = Trained::load(folder_, document_, dtype, options_, rows_);
    rows_.push_back(compare_numbers(document_, "losses", dtype, train(dtype, trained)));
    check_weights(dtype, trained);
    check_tests(dtype, trained);
  }

  void check_weights(DType dtype, const Trained& trained) {
    const NumberFile narrow(folder_.path() / "weights_after_f32.safetensors"), wide(folder_.path() / "weights_after_f64.safetensors");
    std::vector<double> all, all_narrow, all_wide;
    const auto add = [](std::vector<double>& to, const std::vector<double>& values) { to.insert(to.end(), values.begin(), values.end()); };
    double worst = 0.0;
    for (const std::string& name : wide.names()) {
      worst = std::max(worst, relative_error(all_numbers(narrow.find(name)), all_numbers(wide.find(name))));
    }
    const NumbersByName weights = trained.weights();
    if (!is_first()) return;
    for (const auto& [name, values] : weights) {
      const std::string title = concat(name_of(dtype), " after/", name);
      if (!wide.find(name).defined()) {
        rows_.push_back(failed(title, "was not recorded"));
        continue;
      }
      rows_.push_back({title, relative_error(values, all_numbers(wide.find(name))), bound(dtype, worst)});
      add(all, values), add(all_narrow, all_numbers(narrow.find(name))), add(all_wide, all_numbers(wide.find(name)));
    }
    rows_.push_back(
        {concat(name_of(dtype), " after all"), relative_error(all, all_wide), bound(dtype, relative_error(all_narrow, all_wide))});
  }

  /// Losses summed over all samples of a test file, per sample.
  void check_tests(DType dtype, const Trained& trained) {
    const Recording off(false);
    for (const auto& [name, wide] : document_.find("test_f64")->entries()) {
      const Darcy data(find_data(name + ".pt", folder_, options_), dtype, options_.device);
      const MeshCase on_mesh(trained.model, trained.mesh, data.input);
      const Tensor output = on_mesh.whole_output(trained.output(on_mesh, data.input, dtype, Mode::eval));
      if (!is_first()) continue;
      for (const auto& [key, kind] : {std::pair{"l2", NormKind::lp}, std::pair{"h1", NormKind::h1}}) {
        const double actual =
            to_number(norm_loss({.kind = kind}, to_device(output, options_.device), data.label)) / static_cast<double>(data.input.size(0));
        const double expected = wide.find(key)->as_number(), narrow = document_.find("test_f32")->find(name)->find(key)->as_number();
        rows_.push_back({concat(name_of(dtype), " ", name, "/", key), relative_error({actual}, {expected}),
                         bound(dtype, relative_error({narrow}, {expected}))});
      }
    }
  }

  bool is_first() const { return options_.mesh.world().rank() == 0; }

  Folder& folder_;
  const Options& options_;
  ConfigValue document_;
  Rows rows_;
};

class NormalizerCheck {
 public:
  NormalizerCheck(Folder& folder, const Options& options) : numbers_(folder), folder_(folder), options_(options) {}

  Rows run() {
    const ConfigValue& document = numbers_.document();
    Rows rows = unknown_keys(document, {"kind", "data", "n_train", "eps", "dims", "incremental_batch_size", "f32_vs_f64"});
    for (const std::string& name : numbers_.names_with("")) worst_ = std::max(worst_, numbers_.distance(name));
    for (const DType dtype : kNumberTypes) {
      const Darcy data(find_data(document.find("data")->as_string(), folder_, options_), dtype, options_.device);
      check(rows, "x/", data.input, dtype);
      check(rows, "y/", data.label, dtype);
    }
    append(rows, numbers_.unused());
    return rows;
  }

 private:
  void check(Rows& rows, const std::string& prefix, const Tensor& whole, DType dtype) {
    const ConfigValue& document = numbers_.document();
    const Tensor data = view::slice(whole, 0, 0, document.find("n_train")->as_integer());
    const Tensor samples = in_precision(numbers_.given(prefix + "samples"), dtype, options_.device);
    const double eps = document.find("eps")->as_number();
    for (const auto& [name, per] : {std::pair{"channel/", FitPer::channel}, std::pair{"pixel/", FitPer::pixel}}) {
      UnitGaussian normalizer(per, eps);
      normalizer.fit(data);
      const auto compare = [&](const char* what, const Tensor& actual) {
        if (numbers_.expected(prefix + name + what).defined())
          numbers_.compare(rows, dtype, prefix + name + what, all_numbers(actual), worst_);
      };
      compare("mean", normalizer.mean());
      compare("std", normalizer.std());
      compare("encoded", normalizer.encode(samples));
      compare("decoded", normalizer.decode(normalizer.encode(samples)));
      UnitGaussian incremental(per, eps);
      const std::int64_t batch = document.find("incremental_batch_size")->as_integer();
      for (std::int64_t first = 0; first < data.size(0); first += batch) {
        incremental.add(view::slice(data, 0, first, std::min(first + batch, data.size(0))));
      }
      compare("incremental_mean", incremental.mean());
      compare("incremental_std", incremental.std());
    }
  }

  NeuralopCase numbers_;
  Folder& folder_;
  const Options& options_;
  double worst_ = 0.0;
};

/// The parameters whose recorded first moment is below 1e-12 of all together, as the reference leaves out `zero_gradients`.
std::set<std::string> zero_moments(NeuralopCase& numbers) {
  const std::string prefix = "exp_avg/";
  std::map<std::string, double> squares;
  double all = 0.0;
  for (const std::string& name : numbers.names_with(prefix)) {
    const std::vector<double> values = all_numbers(numbers.expected(name));
    all += squares[name.substr(prefix.size())] = std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
  }
  std::set<std::string> zero;
  for (const auto& [name, sum] : squares) {
    if (sum < 1e-24 * all) zero.insert(name);
  }
  return zero;
}

/// The parameters after recorded steps, the moments after the last, and the loss before each step and at the end.
void check_optimizer_steps(Folder& folder, NeuralopCase& numbers, DType dtype, const Options& options, Rows& rows) {
  const ConfigValue& document = numbers.document();
  const bool is_first = options.mesh.world().rank() == 0;
  Trained trained = Trained::load(folder, document, dtype, options, rows);
  const Tensor input = in_precision(numbers.given("input"), dtype, options.device),
               target = in_precision(numbers.given("target"), dtype, options.device);
  std::vector<double> losses;
  std::int64_t done = 0;
  for (const ConfigValue& recorded : document.find("recorded_steps")->elements()) {
    while (done < recorded.as_integer()) losses.push_back(trained.step(++done, input, target, dtype, trained.learning_rate));
    const NumbersByName weights = trained.weights();
    if (is_first) numbers.compare_gradients(rows, dtype, concat("step", done, "/"), weights, {});
  }
  losses.push_back(summed(to_number(trained.share(input, target, dtype)), options.mesh));
  rows.push_back(compare_numbers(document, "losses", dtype, losses));
  // Both moments are made of gradients: one class, without gradients that are zero but for rounding (a bias in front of a norm).
  const std::set<std::string> noise = zero_moments(numbers);
  double worst = 0.0;
  for (const std::string& name : numbers.names_with("exp_avg")) {
    const double distance = numbers.distance(name);
    if (!noise.contains(name.substr(name.find('/') + 1))) worst = std::max(worst, distance);
  }
  std::set<std::string> complex_ones;
  for (const NamedPiece& piece : trained.optimizer.state()) {
    const std::size_t dot = piece.name.rfind('.');
    const std::string parameter = piece.name.substr(0, dot);
    Tensor moment = gathered_tensor(piece, options.mesh);
    if (!is_first) continue;
    if (noise.contains(parameter)) continue;
    if (is_complex(moment.dtype())) complex_ones.insert(parameter);
    // The reference keeps a second moment, which is real, as a number of the parameter's type.
    if (complex_ones.contains(parameter) && !is_complex(moment.dtype())) moment = complex(moment, zeros_like(moment));
    numbers.compare(rows, dtype, piece.name.substr(dot + 1) + "/" + parameter, all_numbers(moment), worst);
  }
}

}  // namespace

bool matches_neuralop_optimizer(const Folder& folder) { return is_neuralop(folder, "optimizer"); }

Rows check_neuralop_optimizer(Folder& folder, const Options& options) {
  NeuralopCase numbers(folder);
  Rows rows = unknown_keys(numbers.document(), {"kind", "seed", "model", "arguments", "optimizer", "loss", "input_shape", "recorded_steps",
                                                "losses_f32", "losses_f64", "f32_vs_f64"});
  const ConfigValue config = config_of(*numbers.document().find("arguments"), numbers.document().find("model")->as_string());
  require_mesh(config, numbers.given("input"), options);
  for (const DType dtype : kNumberTypes) check_optimizer_steps(folder, numbers, dtype, options, rows);
  append(rows, numbers.unused());
  return rows;
}

bool matches_neuralop_schedules(const Folder& folder) { return is_neuralop(folder, "schedules"); }

Rows check_neuralop_schedules(Folder& folder, const Options&) {
  const ConfigValue document = folder.json("case.json");
  Rows rows = unknown_keys(document, {"kind", "meaning", "entries"});
  for (const ConfigValue& entry : document.find("entries")->elements()) {
    append(rows, unknown_keys(entry, {"class", "arguments", "lr", "rates", "metrics"}));
    const double rate = entry.find("lr")->as_number();
    Schedule schedule = schedule_of(entry, rate, 1);
    const std::vector<double> expected = numbers_at(entry, "rates");
    const std::vector<double> metrics =
        entry.find("metrics") == nullptr ? std::vector<double>(expected.size(), 0.0) : numbers_at(entry, "metrics");
    std::vector<double> rates;
    for (std::size_t epoch = 0; epoch < expected.size(); ++epoch) {
      rates.push_back(rate * schedule.factor(static_cast<std::int64_t>(epoch)));
      schedule.observe(metrics[epoch]);
    }
    rows.push_back(
        {concat(entry.find("class")->as_string(), " ", to_json(*entry.find("arguments"), 0)), relative_error(rates, expected), kF64Bound});
  }
  return rows;
}

bool matches_neuralop_normalizer(const Folder& folder) { return is_neuralop(folder, "normalizer"); }
Rows check_neuralop_normalizer(Folder& folder, const Options& options) { return NormalizerCheck(folder, options).run(); }

bool matches_neuralop_training(const Folder& folder) {
  return is_neuralop(folder, "training") && folder.has("weights_after_f64.safetensors");
}
Rows check_neuralop_training(Folder& folder, const Options& options) { return DarcyTrainingCheck(folder, options).run(); }

}  // namespace trident::golden
