/// trident plot: pictures of a run, of a data set, of a prediction.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>

#include "launch/commands.h"
#include "launch/data/dataset.h"
#include "launch/field_file.h"
#include "launch/gnuplot.h"
#include "launch/trainer/metrics.h"
#include "models/model_description.h"
#include "models/normalization.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

struct PlotOptions {
  std::string path;
  std::optional<std::string> output, truth, problem;
  std::int64_t trajectory = 0;
};

/// One channel of one sample: (y, x) on the host.
Panel panel_of(const std::string& title, const Tensor& fields, std::int64_t sample, std::int64_t channel) {
  const Tensor field = view::slice(view::slice(fields, 0, sample, sample + 1), 1, channel, channel + 1);
  Panel panel{.title = title, .ny = fields.size(-2), .nx = fields.size(-1), .values = {}};
  if (fields.dtype() == DType::f64) {
    panel.values = to_host<double>(field);
  } else {
    for (const float value : to_host<float>(field)) panel.values.push_back(value);
  }
  const auto [lowest, highest] = std::ranges::minmax(panel.values);
  panel.lowest = lowest;
  panel.highest = highest;
  return panel;
}

Panel difference(const std::string& title, const Panel& a, const Panel& b) {
  Panel panel = a;
  double largest = 0.0;
  for (std::size_t i = 0; i < panel.values.size(); ++i) {
    panel.values[i] -= b.values[i];
    largest = std::max(largest, std::abs(panel.values[i]));
  }
  panel.title = title;
  panel.lowest = -largest;
  panel.highest = largest;
  panel.is_error = true;
  return panel;
}

/// The panels share the range of the last one, the reference.
void share_range(std::vector<Panel>& panels, const Panel& reference) {
  for (Panel& panel : panels) {
    panel.lowest = reference.lowest;
    panel.highest = reference.highest;
  }
}

/// Frames `frames` of one trajectory as physical fields (frame, channel, y, x).
Tensor read_frames(const std::string& path, Problem problem, std::int64_t trajectory, const std::vector<int>& frames) {
  DataEntry entry;
  entry.problem = problem.name;
  entry.path = path;
  entry.trajectories = {trajectory, trajectory + 1};
  problem.times = {.max_num_time_steps = 1, .time_step_size = 1, .allowed_time_transitions = {}, .fix_input_to_time_step = {}};
  const std::vector<Channel> channels = problem.output;
  std::vector<FramePair> pairs;
  for (const int frame : frames) pairs.push_back({0, frame});
  const Dataset dataset = Dataset({open_member(std::move(problem), entry, Split::test)}).with_pairs(pairs);
  const Box whole = whole_box(dataset.extents());
  const Tensor labels = dataset.make_fields(dataset.size(), dataset.out_channels(), whole);
  for (std::int64_t sample = 0; sample < dataset.size(); ++sample) dataset.read_label(sample, {.part = whole}, numbers_of(labels, sample));
  return denormalize(labels, channels, dataset.extents().rank());
}

std::string note(const FieldFile& file, const std::string& name) {
  const auto found = file.notes.find(name);
  return found == file.notes.end() ? "" : found->second;
}

/// Channels worth a picture: those that a model predicts.
std::vector<std::pair<std::int64_t, std::string>> drawn_channels(const std::string& problem_name, std::int64_t count) {
  std::vector<std::pair<std::int64_t, std::string>> drawn;
  if (problem_name.empty()) {
    for (std::int64_t channel = 0; channel < count; ++channel) drawn.emplace_back(channel, concat("channel ", channel));
    return drawn;
  }
  const Problem problem = find_problem(problem_name);
  for (std::size_t channel = 0; channel < problem.output.size(); ++channel) {
    const Channel& about = problem.output[channel];
    if (!about.masked && about.source == Source::file) drawn.emplace_back(static_cast<std::int64_t>(channel), about.name);
  }
  return drawn;
}

/// The truth that belongs to a prediction of `trident predict`, from the data set that its input came from.
Tensor truth_of(const PlotOptions& options, const FieldFile& file, const std::string& problem) {
  if (!options.truth) return {};
  const std::string trajectory = note(file, "trajectory"), frame = note(file, "frame");
  if (problem.empty() || trajectory.empty() || !file.find("time").defined()) {
    throw ConfigError(concat("--truth: ", options.path, " does not say which frame it starts from; it must come from trident predict with ",
                             "--problem, --trajectory and --time"));
  }
  const double time = to_number(view::slice(view::reshape(file.find("time"), {file.find("time").numel()}), 0, 0, 1));
  return read_frames(*options.truth, find_problem(problem), std::stoll(trajectory),
                     {std::stoi(frame) + static_cast<int>(std::lround(time))});
}

/// Rows are channels; columns input, truth, prediction and error.
fs::path plot_prediction(const PlotOptions& options, const FieldFile& file, const fs::path& folder) {
  const Tensor input = file.find("input");
  Tensor output = file.find("output");
  if (output.rank() == 5) {  // of a roll-out the last step
    output = packed(view::slice(output, 1, output.size(1) - 1, output.size(1)));
    output = view::reshape(output, {output.size(0), output.size(2), output.size(3), output.size(4)});
  }
  const std::string problem = options.problem.value_or(note(file, "problem"));
  const Tensor truth = truth_of(options, file, problem);
  std::vector<std::vector<Panel>> rows;
  for (const auto& [channel, name] : drawn_channels(problem, output.size(1))) {
    std::vector<Panel> row{panel_of(name + ": input", input, 0, channel), panel_of(name + ": prediction", output, 0, channel)};
    if (truth.defined()) {
      row.insert(row.begin() + 1, panel_of(name + ": truth", truth, 0, channel));
      const Panel error = difference(name + ": prediction - truth", row[2], row[1]);
      share_range(row, Panel(row[1]));
      row.push_back(error);
    }
    rows.push_back(std::move(row));
  }
  return draw_panels(folder, "prediction", rows);
}

/// What `trident evaluate --output` wrote: the first sample of a case.
fs::path plot_evaluation(const FieldFile& file, const fs::path& folder) {
  const auto ends = [](const NamedTensor& field, const char* what) { return field.name.ends_with(what); };
  const auto label = std::ranges::find_if(file.tensors, [&](const NamedTensor& field) { return ends(field, "/label"); });
  if (label == file.tensors.end()) {
    throw ConfigError("plot: the file holds neither `input` and `output` of a prediction nor the fields of an evaluation");
  }
  const std::string frames = label->name.substr(0, label->name.size() - std::string("label").size());
  const Tensor input = file.find(frames.substr(0, frames.find('-')) + "/input");
  const auto prediction = std::ranges::find_if(
      file.tensors, [&](const NamedTensor& field) { return field.name.starts_with(frames) && !ends(field, "/label"); });
  std::vector<std::vector<Panel>> rows;
  for (std::int64_t channel = 0; channel < label->tensor.size(1); ++channel) {
    const std::string name = concat("channel ", channel);
    std::vector<Panel> row{panel_of(name + ": input", input, 0, channel), panel_of(name + ": truth", label->tensor, 0, channel),
                           panel_of(concat(name, ": ", prediction->name), prediction->tensor, 0, channel)};
    const Panel error = difference(name + ": prediction - truth", row[2], row[1]);
    share_range(row, Panel(row[1]));
    row.push_back(error);
    rows.push_back(std::move(row));
  }
  return draw_panels(folder, "evaluation", rows);
}

/// One trajectory of a data set: rows are channels, columns frames.
fs::path plot_data(const PlotOptions& options, const fs::path& folder) {
  if (!options.problem) throw ConfigError("plot: of a data set, --problem says what its fields are");
  const Problem problem = find_problem(*options.problem);
  const std::vector<int> frames = problem.steady ? std::vector<int>{0} : std::vector<int>{0, 7, 14};
  const Tensor fields = read_frames(options.path, problem, options.trajectory, frames);
  std::vector<std::vector<Panel>> rows;
  for (const auto& [channel, name] : drawn_channels(*options.problem, fields.size(1))) {
    std::vector<Panel>& row = rows.emplace_back();
    for (std::size_t index = 0; index < frames.size(); ++index) {
      row.push_back(panel_of(concat(name, ": frame ", frames[index]), fields, static_cast<std::int64_t>(index), channel));
    }
  }
  return draw_panels(folder, "data", rows);
}

Curve curve_of(const std::vector<ConfigValue>& rows, const std::string& key) {
  Curve curve{.title = key, .points = {}};
  for (const ConfigValue& row : rows) {
    const ConfigValue* value = row.find(key);
    // A logarithmic axis has no place for 0: the first rate of a warm-up.
    if (value != nullptr && value->as_number() > 0.0) curve.points.emplace_back(row.find("step")->as_number(), value->as_number());
  }
  return curve;
}

fs::path plot_run(const fs::path& run, const fs::path& folder) {
  const std::vector<ConfigValue> rows = read_metrics(run / "metrics.jsonl");
  std::vector<Diagram> diagrams;
  const std::vector<std::pair<std::string, std::vector<std::string>>> wanted{
      {"loss", {"loss", "validation_loss"}},
      {"error (%)", {"mean_relative_l1_error", "mean_over_median_relative_l1_error"}},
      {"gradient norm", {"grad_norm"}},
      {"learning rate", {"learning_rate"}}};
  for (const auto& [label, keys] : wanted) {
    Diagram diagram{.label = label, .curves = {}};
    for (const std::string& key : keys) {
      if (Curve curve = curve_of(rows, key); !curve.points.empty()) diagram.curves.push_back(std::move(curve));
    }
    if (!diagram.curves.empty()) diagrams.push_back(std::move(diagram));
  }
  if (diagrams.empty()) throw DataError(concat((run / "metrics.jsonl").string(), ": has no rows yet; plot the run after its first step"));
  return draw_curves(folder, "curves", diagrams);
}

void plot(const PlotOptions& options, CommandContext& context) {
  const fs::path path = options.path;
  if (!fs::exists(path)) throw ConfigError(concat(options.path, ": does not exist; give a run, a data set or a prediction"));
  fs::path folder = options.output ? fs::path(*options.output) : fs::is_directory(path) ? path : fs::absolute(path).parent_path();
  fs::path picture;
  if (fs::exists(path / "metrics.jsonl")) {
    picture = plot_run(path, folder);
  } else if (options.problem && (fs::is_directory(path) || is_hdf5_name(options.path))) {
    picture = plot_data(options, folder);
  } else {
    if (fs::is_directory(path))
      throw ConfigError(concat(options.path, ": is no run (it has no metrics.jsonl); of a data set give --problem"));
    const FieldFile file = read_field_file(options.path);
    picture = file.find("output").defined() ? plot_prediction(options, file, folder) : plot_evaluation(file, folder);
  }
  if (context.common.json) {
    std::cout << to_json(ConfigValue::map({{"picture", picture.string()}})) << '\n';
  } else {
    std::cerr << concat(picture.string(), "  (drawn by ", picture.stem().string(), ".gp beside it)\n");
  }
}

}  // namespace

Command plot_command() {
  return {"plot", "draws a run, a data set or a prediction", [](Arguments& arguments) {
            auto options = std::make_shared<PlotOptions>();
            arguments.add("path", options->path, "run folder, data set, or file of predict or evaluate", Presence::required);
            arguments.add("--output", options->output, "folder of the picture (default: beside what is drawn)");
            arguments.add("--truth", options->truth, "data set that the input of a prediction came from");
            arguments.add("--problem", options->problem, "problem of a data set");
            arguments.add("--trajectory", options->trajectory, "trajectory of a data set");
            return [options](CommandContext& context) { plot(*options, context); };
          }};
}

}  // namespace trident
