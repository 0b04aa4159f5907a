/// Runs of the program itself: `trident train run.yaml` and `trident evaluate`, against what the reference recorded.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>

#include "checkpoint/atomic_file.h"
#include "launch/commands.h"
#include "launch/trainer/metrics.h"
#include "parallel/messages.h"
#include "parallel/session.h"
#include "runtime/error.h"
#include "tests/golden/pdegym.h"

namespace trident::golden {
namespace {

namespace fs = std::filesystem;

/// A folder of its own that is gone afterwards; the ranks share the first one's. Collective.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const Options& options) : ranks_(options.mesh.world()) {
    path_ = fs::temp_directory_path() / concat("trident_golden_", broadcast_text(ranks_, concat(::getpid()), 0));
    if (is_first()) fs::remove_all(path_);
    barrier(ranks_);
  }
  ~TemporaryFolder() {
    if (is_first()) fs::remove_all(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  bool is_first() const { return ranks_.rank() == 0; }

  Communicator& ranks_;
  fs::path path_;
};

/// What the program would print on standard output; its progress is not shown. Throws OnOneRank if it refuses the mesh.
std::string run_program(const std::vector<std::string>& arguments, const Options& options) {
  std::vector<const char*> argv{"trident"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  std::ostringstream output, progress;
  std::streambuf* const before_out = std::cout.rdbuf(output.rdbuf());
  std::streambuf* const before_err = std::cerr.rdbuf(progress.rdbuf());
  const auto restore = [&] {
    std::cout.rdbuf(before_out);
    std::cerr.rdbuf(before_err);
  };
  try {
    const Invocation invocation = parse_command_line(static_cast<int>(argv.size()), argv.data(), all_commands());
    CommandContext context{invocation.common, *options.session, ""};
    invocation.run(context);
  } catch (const ConfigError& error) {  // before anything is computed, on all ranks
    restore();
    if (options.mesh.world().size() > 1) throw OnOneRank{error.what()};
    throw;
  } catch (...) {
    restore();
    throw;
  }
  restore();
  return output.str();
}

using Numbers = std::map<std::string, double>;

void collect(const ConfigValue& value, const std::string& path, Numbers& numbers) {
  if (value.kind() == ConfigValue::Kind::map) {
    for (const auto& [key, child] : value.entries()) collect(child, path.empty() ? key : path + "." + key, numbers);
  } else if (value.kind() == ConfigValue::Kind::list) {
    for (std::size_t index = 0; index < value.elements().size(); ++index) {
      collect(value.elements()[index], concat(path, "[", index, "]"), numbers);
    }
  } else {
    numbers[path] = value.as_number();
  }
}

Numbers numbers_of(const ConfigValue& value) {
  Numbers numbers;
  collect(value, "", numbers);
  return numbers;
}

/// The largest relative difference of a number; infinite if the names differ.
double largest_difference(const Numbers& actual, const Numbers& expected) {
  double largest = 0.0;
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  for (const auto& [name, number] : expected) {
    const auto found = actual.find(name);
    if (found == actual.end()) return std::numeric_limits<double>::infinity();
    const double difference = std::abs(found->second - number) / (number == 0.0 ? 1.0 : std::abs(number));
    if (!(difference <= largest)) largest = difference;  // keeps a NaN
  }
  return largest;
}

/// f64 against f64; f32 against f64 as far as the reference's own f32 is off, where it recorded one.
void compare(Rows& rows, const std::string& name, const Numbers& actual, const ConfigValue& recorded, const std::string& precision,
             double p = 2.0) {
  const Numbers expected = numbers_of(*recorded.find("f64"));
  double bound = kF64Bound;
  if (precision == "f32") {
    if (recorded.find("f32") == nullptr) return;
    bound = f32_curve_bound(largest_difference(numbers_of(*recorded.find("f32")), expected), name, p);
  }
  rows.push_back({precision + " " + name, largest_difference(actual, expected), bound});
}

/// The named quantities of rows, by position.
ConfigValue columns(const std::vector<ConfigValue>& rows, const std::vector<std::pair<std::string, std::string>>& names) {
  ConfigValue result = ConfigValue::map();
  for (const auto& [key, name] : names) {
    ConfigValue list = ConfigValue::list();
    for (const ConfigValue& row : rows) {
      if (const ConfigValue* value = row.find(key)) list.append(*value);
    }
    result.set(name, list);
  }
  return result;
}

void check_curve(Rows& rows, const std::vector<ConfigValue>& metrics, const ConfigValue& recorded, const std::string& precision, double p) {
  std::vector<ConfigValue> steps;
  for (const ConfigValue& row : metrics) {
    if (row.find("loss") != nullptr) steps.push_back(row);
  }
  for (const char* quantity : {"loss", "grad_norm", "learning_rate"}) {
    ConfigValue expected = ConfigValue::map();
    for (const auto& [name, curve] : recorded.entries()) expected.set(name, columns(curve.elements(), {{quantity, quantity}}));
    compare(rows, quantity, numbers_of(columns(steps, {{quantity, quantity}})), expected, precision, p);
  }
}

void check_validation(Rows& rows, const std::vector<ConfigValue>& metrics, const ConfigValue& recorded, const std::string& precision,
                      double p) {
  std::vector<ConfigValue> evaluations;
  std::vector<std::pair<std::string, std::string>> expected_names{{"after_step", "step"},
                                                                  {"loss_of_batches_weighted_by_size", "validation_loss"}};
  for (const ConfigValue& row : metrics) {
    if (row.find("loss") == nullptr) evaluations.push_back(row);
  }
  for (const auto& [name, value] : recorded.find("f64")->elements()[0].entries()) {
    if (name.find("relative_l1_error") != std::string::npos) expected_names.emplace_back(name, name);
  }
  std::vector<std::pair<std::string, std::string>> our_names;
  for (const auto& [theirs, ours] : expected_names) our_names.emplace_back(ours, ours);
  ConfigValue expected = ConfigValue::map();
  for (const auto& [name, curve] : recorded.entries()) expected.set(name, columns(curve.elements(), expected_names));
  compare(rows, "validation", numbers_of(columns(evaluations, our_names)), expected, precision, p);
}

/// The last weights; the reference recorded them in f64.
void check_weights(Rows& rows, Folder& folder, const fs::path& model) {
  const std::string prefix = "final.f64/";
  if (!folder.tensors()) return;
  const SafetensorsReader weights(model / "model.safetensors");
  double worst = 0.0;
  for (const std::string& name : folder.names_with(prefix)) {
    const Tensor expected = folder.take(prefix + name);
    worst = std::max(
        worst, weights.find(name) == nullptr ? std::numeric_limits<double>::infinity() : relative_error(weights.tensor(name), expected));
  }
  rows.push_back({"f64 weights after the last step, the worst", worst, kF64Bound});
}

/// Where the data of a run file lie: beside it, or in the folder that golden_check was given.
std::vector<std::string> data_overrides(const Folder& folder, const Options& options, const ConfigValue& run) {
  std::vector<std::string> overrides;
  for (const char* list : {"train", "validation"}) {
    const ConfigValue* entries = find_path(run, concat("data.", list));
    for (std::size_t index = 0; entries != nullptr && index < entries->elements().size(); ++index) {
      const fs::path path = entries->elements()[index].find("path")->as_string();
      if (fs::exists(folder.path() / path) || options.data.empty()) continue;
      overrides.push_back(concat("data.", list, "[", index, "].path=", fs::absolute(options.data / path.filename()).string()));
    }
  }
  return overrides;
}

std::string device_name(const Options& options) { return options.device.kind == Device::Kind::cuda ? "cuda" : "cpu"; }

/// The mesh, where there are several ranks: the run file may name another.
std::vector<std::string> mesh_overrides(const Options& options) {
  std::vector<std::string> overrides;
  if (options.mesh.world().size() == 1) return overrides;
  for (const auto& [key, axis] : {std::pair{"data", Axis::data}, std::pair{"domain_y", Axis::domain_y},
                                  std::pair{"domain_x", Axis::domain_x}, std::pair{"tensor", Axis::tensor}}) {
    overrides.push_back(concat("parallel.", key, "=", options.mesh.size(axis)));
  }
  return overrides;
}

ConfigValue read_run_file(const Folder& folder) {
  const fs::path path = folder.path() / "run.yaml";
  return parse_yaml(read_text_file(path), path.string());
}

void check_cases(Rows& rows, const ConfigValue& recorded, const ConfigValue& found, const std::string& model,
                 const std::string& precision) {
  const auto& cases = recorded.find("cases")->elements();
  for (std::size_t index = 0; index < cases.size(); ++index) {
    const ConfigValue& expected = cases[index];
    const ConfigValue* actual = find_path(found, concat("cases[", index, "]"));
    const std::string name = concat(expected.find("initial_time")->as_integer(), "-", expected.find("final_time")->as_integer(), "/",
                                    to_json(*expected.find("ar_steps"), 0));
    if (actual == nullptr) {
      rows.push_back(failed(name, "the program did not report this case"));
      continue;
    }
    compare(rows, concat(name, " ", model), numbers_of(*actual->find("model")), *expected.find("models")->find(model), precision);
    compare(rows, name + " persistence", numbers_of(*actual->find("persistence")), *expected.find("persistence"), precision);
  }
}

void check_predictions(Rows& rows, const fs::path& ours, const fs::path& theirs) {
  const SafetensorsReader actual(ours), expected(theirs);
  for (const SafetensorsEntry& entry : expected.entries()) {
    const double error = actual.find(entry.name) == nullptr ? std::numeric_limits<double>::infinity()
                                                            : relative_error(actual.tensor(entry.name), expected.tensor(entry.name));
    rows.push_back({"f64 prediction " + entry.name + " (recorded in f32)", error, 1e-7});
  }
}

}  // namespace

bool matches_training_run(const Folder& folder) { return folder.has("run.yaml") && folder.has("case.json"); }

Rows check_training_run(Folder& folder, const Options& options) {
  Rows rows;
  const ConfigValue recorded = folder.json("case.json");
  const double p = loss_exponent(folder);
  for (const char* precision : {"f64", "f32"}) {
    const TemporaryFolder temporary(options);
    std::vector<std::string> arguments{"train",
                                       (folder.path() / "run.yaml").string(),
                                       "output=" + temporary.path().string(),
                                       concat("training.precision=", precision),
                                       "--device",
                                       device_name(options)};
    for (const std::string& text : data_overrides(folder, options, read_run_file(folder))) arguments.push_back(text);
    for (const std::string& text : mesh_overrides(options)) arguments.push_back(text);
    run_program(arguments, options);
    if (options.mesh.world().rank() != 0) continue;
    const std::vector<ConfigValue> metrics = read_metrics(temporary.path() / "metrics.jsonl");
    check_curve(rows, metrics, *recorded.find("curve"), precision, p);
    check_validation(rows, metrics, *recorded.find("validation"), precision, p);
    if (std::string(precision) == "f64") check_weights(rows, folder, temporary.path() / "model");
  }
  return rows;
}

bool matches_evaluation(const Folder& folder) { return folder.has("run.yaml") && folder.has("evaluation.json"); }

Rows check_evaluation(Folder& folder, const Options& options) {
  Rows rows;
  const ConfigValue recorded = folder.json("evaluation.json");
  std::vector<std::string> overrides = data_overrides(folder, options, read_run_file(folder));
  for (const std::string& text : mesh_overrides(options)) overrides.push_back(text);
  for (const auto& [model, about] : recorded.find("cases")->elements()[0].find("models")->entries()) {
    for (const std::string precision : {"f64", "f32"}) {
      const TemporaryFolder temporary(options);
      if (options.mesh.world().rank() == 0) fs::create_directories(temporary.path());
      barrier(options.mesh.world());
      const fs::path predictions = temporary.path() / "predictions.safetensors";
      std::vector<std::string> arguments{"evaluate",
                                         "--model",
                                         (folder.path() / about.find("folder")->as_string()).string(),
                                         "--data",
                                         (folder.path() / "run.yaml").string(),
                                         "--json",
                                         "--precision",
                                         precision,
                                         "--device",
                                         device_name(options),
                                         "--output",
                                         predictions.string()};
      arguments.insert(arguments.end(), overrides.begin(), overrides.end());
      const std::string report = run_program(arguments, options);
      if (options.mesh.world().rank() != 0) continue;
      check_cases(rows, recorded, parse_json(report, "evaluation"), model, precision);
      if (model == "final" && precision == "f64" && folder.has("predictions.safetensors")) {
        check_predictions(rows, predictions, folder.path() / "predictions.safetensors");
      }
    }
  }
  return rows;
}

}  // namespace trident::golden
