/// trident evaluate: the errors of a model on data.
#include <algorithm>
#include <iostream>
#include <memory>

#include "checkpoint/model_directory.h"
#include "launch/commands.h"
#include "launch/data/fitted_normalization.h"
#include "launch/device_choice.h"
#include "launch/evaluation.h"
#include "launch/mesh_choice.h"
#include "launch/run_model.h"

namespace trident {
namespace {

struct EvaluateOptions {
  std::string model, data;
  std::vector<std::string> overrides;
  std::optional<std::string> output;
  bool overwrite = false;
};

struct Findings {
  std::vector<CaseResult> cases;
  std::vector<ConfigValue> validations;  // where there are no cases
};

std::int64_t batch_size_of(const RunFile& run) { return run.config.evaluation.batch_size.value_or(run.config.training.global_batch_size); }

void check_fields(const RunFile& run, const EvaluateOptions& options, const Model& model, const Dataset& dataset) {
  const Problem& problem = dataset.problem();
  if (model->num_dims() != problem.space_axes || model->is_complex() != problem.complex) {
    const auto described = [](bool complex, int axes) { return concat(complex ? "complex" : "real", " fields of ", axes, " space axes"); };
    throw run.error("data.validation", concat("the model ", options.model, " takes ", described(model->is_complex(), model->num_dims()),
                                              ", but \"", problem.name, "\" has ", described(problem.complex, problem.space_axes),
                                              "; check space_axes and complex, or evaluate it on data of its own problem"));
  }
  if (model->num_channels() == dataset.in_channels() && model->num_out_channels() == dataset.out_channels()) return;
  throw run.error("data.validation",
                  concat("the model ", options.model, " takes ", model->num_channels(), " channels and gives ", model->num_out_channels(),
                         ", but problem \"", dataset.problem().name, "\" has ", dataset.in_channels(), " and ", dataset.out_channels(),
                         "; evaluate it on data of its own problem"));
}

/// With fitted normalisation: by the constants of the model, which were measured when it was trained.
Dataset as_trained(const EvaluateOptions& options, const Dataset& dataset) {
  const ModelDescription description = read_model_description(read_trident_json(options.model));
  if (description.problems.empty()) {
    throw ConfigError(concat("data.normalization: ", options.model,
                             " has no trident.json with the constants of its training; set it to given, and mean and std in the entries"));
  }
  return normalized_as(dataset, description.problems.front());
}

/// Without cases: all samples of the validation data, one step.
ConfigValue validation_report(const Evaluator& evaluator, const std::shared_ptr<const Dataset>& dataset, std::int64_t batch_size) {
  const ErrorTable table = evaluator.validate(dataset);
  ConfigValue report = ConfigValue::map({{"problem", dataset->problem().name}, {"samples", table.num_samples()}});
  report.set("validation_loss", table.loss_of_batches(batch_size));
  const ConfigValue metrics = table.metrics(MetricsDetail::full);
  for (const auto& [name, value] : metrics.entries()) report.set(name, value);
  return report;
}

void print_validation(const ConfigValue& report) {
  for (const char* key : {"problem", "samples", "validation_loss", "mean_relative_l1_error", "mean_over_median_relative_l1_error"}) {
    std::cout << key << ": " << to_json(*report.find(key)) << '\n';
  }
}

using Datasets = std::vector<std::shared_ptr<const Dataset>>;

/// Of several problems fields are kept under the problem's name.
std::string prefix_of(const Dataset& dataset, const Datasets& all) { return all.size() > 1 ? dataset.problem().name + "/" : ""; }

/// The file of --output; cases that share fields write the same ones.
std::unique_ptr<FieldFileWriter> open_output(const std::string& path, const RunFile& run, const Datasets& datasets, DType dtype,
                                             const Mesh& mesh) {
  std::vector<FieldDescription> fields;
  for (const auto& dataset : datasets) {
    for (std::size_t index = 0; index < run.config.evaluation.cases.size(); ++index) {
      for (const FieldDescription& field : kept_fields(run, index, *dataset, dtype, prefix_of(*dataset, datasets))) {
        if (std::ranges::find(fields, field.name, &FieldDescription::name) == fields.end()) fields.push_back(field);
      }
    }
  }
  return std::make_unique<FieldFileWriter>(path, fields, Notes{}, mesh.world());
}

/// All cases on one data set, or without cases its samples.
void evaluate_entry(const RunFile& run, const Evaluator& evaluator, const std::shared_ptr<const Dataset>& dataset,
                    const std::optional<KeptFields>& kept, Findings& findings) {
  if (run.config.evaluation.cases.empty()) findings.validations.push_back(validation_report(evaluator, dataset, batch_size_of(run)));
  for (std::size_t index = 0; index < run.config.evaluation.cases.size(); ++index) {
    findings.cases.push_back(evaluator.run_case(run, index, *dataset, kept));
  }
}

void print(const Findings& findings, bool json) {
  if (json) {
    ConfigValue report = ConfigValue::map({{"cases", ConfigValue::list()}});
    for (const CaseResult& result : findings.cases) report.find("cases")->append(result.report);
    if (findings.cases.empty()) report.set("validation", ConfigValue::list(findings.validations));
    std::cout << to_json(report) << '\n';
  } else if (findings.cases.empty()) {
    for (const ConfigValue& report : findings.validations) print_validation(report);
  } else {
    std::cout << table_of(findings.cases);
  }
}

void evaluate(const EvaluateOptions& options, CommandContext& context) {
  std::vector<std::string> overrides = options.overrides;
  for (const std::string& text : overrides_of(context.common)) overrides.push_back(text);
  RunFile run = read_run(options.data, overrides);
  check_for_evaluation(run);
  check_data_config(run.config.data, run.document);
  if (options.output) check_target(*options.output, options.overwrite ? Overwrite::yes : Overwrite::no);
  const ConfigValue model_config = read_model_config(options.model);
  follow_model(model_config, run.config.data);

  Datasets datasets;
  for (const Dataset& dataset : open_each(run.config.data, run.config.data.validation, Split::validation, "data.validation")) {
    const bool fitted = run.config.data.normalization == Normalization::fitted;
    datasets.push_back(std::make_shared<const Dataset>(fitted ? as_trained(options, dataset) : dataset));
  }
  const MeshLoad load{.models = {model_config}, .batch = batch_size_of(run), .points = {datasets.front()->ny(), datasets.front()->nx()}};
  const Computing computing(dtype_of_precision(run.config.training.precision), device_of_rank(run.config.device, context));
  const Mesh mesh = make_mesh(run.config.parallel, run.document, load, context);
  const LoadedModel loaded = load_model(options.model, mesh, {.dtype = computing.precision, .device = computing.device});
  const Evaluator evaluator(loaded.model, loss_of_run(loaded.model, run.config.training), computing, batch_size_of(run), mesh,
                            run.config.evaluation.units);
  for (const auto& dataset : datasets) check_fields(run, options, loaded.model, *dataset);
  const auto file = options.output ? open_output(*options.output, run, datasets, parameter_type(computing.precision), mesh) : nullptr;
  Findings findings;
  for (const auto& dataset : datasets) {
    const auto kept = file ? std::optional<KeptFields>({*file, prefix_of(*dataset, datasets)}) : std::nullopt;
    evaluate_entry(run, evaluator, dataset, kept, findings);
  }
  if (file) file->commit();
  if (mesh.world().rank() != 0) return;
  print(findings, context.common.json);
}

}  // namespace

Command evaluate_command() {
  return {"evaluate", "measures a model on data, against persistence", [](Arguments& arguments) {
            auto options = std::make_shared<EvaluateOptions>();
            arguments.add("--model", options->model, "model directory", Presence::required);
            arguments.add("--data", options->data, "run file with data.validation and evaluation", Presence::required);
            arguments.add("--output", options->output, "also save inputs, labels and predictions (.safetensors or HDF5)");
            arguments.flag("--overwrite", options->overwrite, "replace an existing output");
            arguments.add("key=value", options->overrides, "overrides of the run file");
            return [options](CommandContext& context) { evaluate(*options, context); };
          }};
}

}  // namespace trident
