/// trident plot: pictures of a run, of a data set, of a prediction.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iostream>
#include <memory>

#include "launch/commands.h"
#include "launch/data/dataset.h"
#include "launch/data/stored_variable.h"
#include "launch/field_file.h"
#include "launch/gnuplot.h"
#include "launch/run_model.h"
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
  std::optional<std::string> output, truth, problem, data;
  std::int64_t trajectory = 0;
  std::optional<int> frame;  // of the truth
};

/// What is drawn of a sample (channel, space...): of complex numbers one part, of three axes of space the middle slice across one.
struct Drawn {
  std::int64_t channel = 0;
  std::string name;
  int part = 0;                 // of real fields 0
  std::optional<int> across{};  // axis of the sample
};

/// Pairs where the problem says that numbers are complex become such.
Tensor joined_pairs(const Tensor& fields, const std::optional<Problem>& problem) {
  return fields.defined() && problem && problem->complex && !is_complex(fields.dtype()) ? view::as_complex(packed(fields)) : fields;
}

/// (y, x) on the host; of fields of one dimension ny is 1.
Panel panel_of(const std::string& title, const Tensor& fields, std::int64_t sample, const Drawn& drawn) {
  Tensor field = view::slice(view::slice(fields, 0, sample, sample + 1), 1, drawn.channel, drawn.channel + 1);
  if (drawn.across) {
    const int dim = *drawn.across + 1;
    const std::int64_t middle = field.size(dim) / 2;
    field = view::slice(field, dim, middle, middle + 1);
  }
  if (is_complex(field.dtype())) field = view::slice(view::as_real(field), field.rank(), drawn.part, drawn.part + 1);
  field = packed(field);
  std::vector<std::int64_t> extents;  // of the axes that are drawn
  for (int dim = 2; dim < fields.rank(); ++dim) {
    if (!drawn.across || dim != *drawn.across + 1) extents.push_back(fields.size(dim));
  }
  Panel panel{.title = title, .ny = extents.size() > 1 ? extents.front() : 1, .nx = extents.back(), .values = {}};
  if (field.dtype() == DType::f64) {
    panel.values = to_host<double>(field);
  } else {
    for (const float value : to_host<float>(field)) panel.values.push_back(value);
  }
  std::vector<double> finite;
  std::ranges::copy_if(panel.values, std::back_inserter(finite), [](double value) { return std::isfinite(value); });
  if (finite.empty()) finite.push_back(0.0);
  const auto [lowest, highest] = std::ranges::minmax(finite);
  panel.lowest = lowest;
  panel.highest = highest;
  return panel;
}

Panel difference(const std::string& title, const Panel& a, const Panel& b) {
  if (a.ny != b.ny || a.nx != b.nx) {
    throw DataError(concat("plot: \"", a.title, "\" has ", a.ny, "x", a.nx, " points and \"", b.title, "\" ", b.ny, "x", b.nx,
                           "; give a truth of the prediction's resolution"));
  }
  Panel panel = a;
  double largest = 0.0;
  for (std::size_t i = 0; i < panel.values.size(); ++i) {
    panel.values[i] -= b.values[i];
    if (std::isfinite(panel.values[i])) largest = std::max(largest, std::abs(panel.values[i]));
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
  const std::vector<Channel> channels = problem.output;
  std::vector<FramePair> pairs;
  for (const int frame : frames) pairs.push_back({0, frame});
  const Dataset dataset = open_frames(std::move(problem), path, trajectory, pairs);
  const Box whole = whole_box(dataset.extents());
  const Tensor labels = dataset.make_fields(dataset.size(), dataset.out_channels(), whole);
  for (std::int64_t sample = 0; sample < dataset.size(); ++sample) dataset.read_label(sample, {.part = whole}, numbers_of(labels, sample));
  return denormalize(labels, channels, dataset.extents().rank());
}

std::string note(const FieldFile& file, const std::string& name) {
  const auto found = file.notes.find(name);
  return found == file.notes.end() ? "" : found->second;
}

/// A note that counts something; nothing where there is none.
std::optional<int> whole_note(const FieldFile& file, const std::string& name) {
  const std::string text = note(file, name);
  int number = 0;
  if (text.empty()) return std::nullopt;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ptr == text.data() + text.size()) return number;
  throw DataError(concat("plot: the file's note \"", name, "\" is \"", text.substr(0, 80), "\", expected a whole number"));
}

/// Fields with axes of space, as many as `like` has if it is given; the file may come from elsewhere.
Tensor drawable(const std::string& name, const Tensor& fields, const Tensor& like = {}) {
  const bool numbers = fields.defined() && (fields.dtype() == DType::f32 || fields.dtype() == DType::f64 || is_complex(fields.dtype()));
  if (numbers && fields.rank() >= 3 && fields.rank() <= 5 && fields.numel() > 0 && (!like.defined() || fields.rank() == like.rank())) {
    return fields;
  }
  throw DataError(
      concat("plot: \"", name, "\" is ", fields.defined() ? concat(name_of(fields.dtype()), " ", to_string(fields.shape())) : "missing",
             ", expected floating numbers (batch, channel, space...) with one to three axes of space, the same in all of them"));
}

/// Each part of each channel, and each slice of it.
std::vector<Drawn> parts_of(const std::vector<std::pair<std::int64_t, std::string>>& channels, const Tensor& fields) {
  std::vector<Drawn> drawn;
  for (const auto& [channel, name] : channels) {
    for (int part = 0; part < (is_complex(fields.dtype()) ? 2 : 1); ++part) {
      const std::string of_part = !is_complex(fields.dtype()) ? name : part == 0 ? "Re " + name : "Im " + name;
      if (fields.rank() < 5) {
        drawn.push_back({channel, of_part, part});
        continue;
      }
      for (const int across : {1, 2, 3})
        drawn.push_back({channel, concat(of_part, ", middle ", space_letter(3, across - 1)), part, across});
    }
  }
  return drawn;
}

/// What is worth a picture: channels that a model predicts.
std::vector<Drawn> drawn_of(const std::optional<Problem>& problem, const Tensor& fields) {
  std::vector<std::pair<std::int64_t, std::string>> channels;
  for (std::int64_t channel = 0; channel < fields.size(1); ++channel) {
    if (!problem) {
      channels.emplace_back(channel, concat("channel ", channel));
      continue;
    }
    if (std::cmp_greater_equal(channel, problem->output.size())) {
      throw DataError(concat("plot: the fields have ", fields.size(1), " channels, and problem ", problem->name, " ",
                             problem->output.size(), "; name the problem that they are of by --problem"));
    }
    const Channel& about = problem->output[static_cast<std::size_t>(channel)];
    if (!about.masked && about.source == Source::file) channels.emplace_back(channel, about.name);
  }
  return parts_of(channels, fields);
}

/// Lines of fields of one dimension, else pictures.
fs::path draw_fields(const fs::path& folder, const std::string& name, const Tensor& fields, const std::vector<std::vector<Panel>>& rows) {
  return fields.rank() == 3 ? draw_lines(folder, name, rows) : draw_panels(folder, name, rows);
}

/// The problem that --problem or the file names: as the file describes it, or of the table.
std::optional<Problem> problem_of(const PlotOptions& options, const FieldFile& file) {
  const std::string name = options.problem.value_or(note(file, "problem")), description = note(file, "description");
  if (name.empty()) return std::nullopt;
  if (description.empty() || name != note(file, "problem")) return find_problem(name);
  return problem_from_config(parse_json(description, options.path));
}

/// The frame that a prediction from frame `first` reaches, if it says its lead time or the problem's samples have but one.
std::optional<int> frame_reached(const Problem& problem, int first, const Tensor& time) {
  if (problem.steady) return 0;
  if (time.defined())
    return first + static_cast<int>(std::lround(to_number(view::slice(view::reshape(packed(time), {time.numel()}), 0, 0, 1))));
  std::optional<int> reached;
  for (const FramePair& pair : frame_pairs(problem.times)) {
    if (pair.first != first || pair.second == first) continue;
    if (reached) return std::nullopt;
    reached = pair.second;
  }
  return reached;
}

/// The truth that belongs to a prediction of `trident predict`, from the data set that its input came from.
Tensor truth_of(const PlotOptions& options, const FieldFile& file, const std::optional<Problem>& problem) {
  if (!options.truth) return {};
  const std::optional<int> trajectory = whole_note(file, "trajectory"), frame = whole_note(file, "frame");
  const std::optional<int> reached =
      options.frame || !problem || !frame ? options.frame : frame_reached(*problem, *frame, file.find("time"));
  if (!problem || !trajectory || !reached) {
    throw ConfigError(concat("--truth: ", options.path,
                             " does not say which frame it is to be compared with; it must come from trident predict with ",
                             "--problem, --trajectory and --time, or --frame says it"));
  }
  return read_frames(*options.truth, *problem, *trajectory, {*reached});
}

/// Rows are channels; columns input, truth, prediction and error.
fs::path plot_prediction(const PlotOptions& options, const FieldFile& file, const fs::path& folder) {
  const std::optional<Problem> problem = problem_of(options, file);
  const Tensor input = drawable("input", joined_pairs(file.find("input"), problem));
  Tensor output = joined_pairs(file.find("output"), problem);
  if (output.rank() == input.rank() + 1 && output.size(1) > 0) {  // of a roll-out the last step
    Shape shape{output.size(0)};
    for (int dim = 2; dim < output.rank(); ++dim) shape.push_back(output.size(dim));
    output = view::reshape(packed(view::slice(output, 1, output.size(1) - 1, output.size(1))), shape);
  }
  drawable("output", output, input);
  const Tensor truth = truth_of(options, file, problem);
  std::vector<std::vector<Panel>> rows;
  for (const Drawn& drawn : drawn_of(problem, output)) {
    std::vector<Panel> row;
    if (drawn.channel < input.size(1)) row.push_back(panel_of(drawn.name + ": input", input, 0, drawn));
    row.push_back(panel_of(drawn.name + ": prediction", output, 0, drawn));
    if (truth.defined()) {
      const Panel reference = panel_of(drawn.name + ": truth", truth, 0, drawn), prediction = row.back();
      row.insert(row.end() - 1, reference);
      share_range(row, reference);
      row.push_back(difference(drawn.name + ": prediction - truth", prediction, reference));
    }
    rows.push_back(std::move(row));
  }
  return draw_fields(folder, "prediction", output, rows);
}

/// What `trident evaluate --output` wrote: the first sample of a case.
fs::path plot_evaluation(const std::string& path, const FieldFile& file, const fs::path& folder) {
  const auto ends = [](const NamedTensor& field, const char* what) { return field.name.ends_with(what); };
  const auto label = std::ranges::find_if(file.tensors, [&](const NamedTensor& field) { return ends(field, "/label"); });
  if (label == file.tensors.end()) {
    throw ConfigError(concat(path,
                             ": holds neither `input` and `output` of a prediction nor the fields of an evaluation; of a data set give ",
                             "--problem or --data"));
  }
  const std::string frames = label->name.substr(0, label->name.size() - std::string("label").size());
  const std::string input_name = frames.substr(0, frames.find('-')) + "/input";
  const Tensor truth = drawable(label->name, label->tensor), input = drawable(input_name, file.find(input_name), truth);
  const auto prediction = std::ranges::find_if(
      file.tensors, [&](const NamedTensor& field) { return field.name.starts_with(frames) && !ends(field, "/label"); });
  const Tensor predictions = drawable(frames + "...", prediction == file.tensors.end() ? Tensor() : prediction->tensor, truth);
  std::vector<std::vector<Panel>> rows;
  for (const Drawn& drawn : drawn_of(std::nullopt, truth)) {
    std::vector<Panel> row;
    if (drawn.channel < input.size(1)) row.push_back(panel_of(drawn.name + ": input", input, 0, drawn));
    const Panel reference = panel_of(drawn.name + ": truth", truth, 0, drawn);
    const Panel predicted = panel_of(concat(drawn.name, ": ", prediction->name), predictions, 0, drawn);
    row.insert(row.end(), {reference, predicted});
    share_range(row, reference);
    row.push_back(difference(drawn.name + ": prediction - truth", predicted, reference));
    rows.push_back(std::move(row));
  }
  return draw_fields(folder, "evaluation", truth, rows);
}

/// The problem of a data set: of the table, or of the user's own as the run file of --data describes it.
Problem problem_of_data(const PlotOptions& options) {
  if (!options.data) return find_problem(*options.problem);
  RunFile run = read_run(*options.data, {});
  follow_model(run.config.model, run.config.data);
  std::string paths;
  for (const auto* entries : {&run.config.data.train, &run.config.data.validation}) {
    for (const DataEntry& entry : *entries) {
      if (fs::weakly_canonical(entry.path) == fs::weakly_canonical(options.path)) return problem_of(run.config.data, entry);
      paths += (paths.empty() ? "" : ", ") + entry.path;
    }
  }
  throw ConfigError(concat("plot: ", options.path, " is no data set of ", *options.data, ", which has ", paths.empty() ? "none" : paths,
                           "; give one of them, or another run file"));
}

/// One trajectory of a data set: rows are channels, columns frames.
fs::path plot_data(const PlotOptions& options, const fs::path& folder) {
  const Problem problem = problem_of_data(options);
  const int last = open_field_source(problem, options.path, ChunkOrder::number)->num_frames() - 1;
  const std::vector<int> frames = last == 0 ? std::vector{0} : last == 1 ? std::vector{0, 1} : std::vector{0, last / 2, last};
  const Tensor fields = read_frames(options.path, problem, options.trajectory, frames);
  std::vector<std::vector<Panel>> rows;
  for (const Drawn& drawn : drawn_of(problem, fields)) {
    std::vector<Panel>& row = rows.emplace_back();
    for (std::size_t index = 0; index < frames.size(); ++index) {
      row.push_back(panel_of(concat(drawn.name, ": frame ", frames[index]), fields, static_cast<std::int64_t>(index), drawn));
    }
  }
  return draw_fields(folder, "data", fields, rows);
}

Curve curve_of(const std::vector<ConfigValue>& rows, const std::string& key) {
  Curve curve{.title = key, .points = {}};
  for (const ConfigValue& row : rows) {
    const ConfigValue* value = row.find(key);
    // A logarithmic axis has no place for 0, the first rate of a warm-up, and none has one for what was not finite.
    if (value != nullptr && !value->is_null() && value->as_number() > 0.0)
      curve.points.emplace_back(row.find("step")->as_number(), value->as_number());
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
  if (context.session.world()->rank() != 0) return;
  const fs::path path = options.path;
  if (!fs::exists(path)) throw ConfigError(concat(options.path, ": does not exist; give a run, a data set or a prediction"));
  fs::path folder = options.output ? fs::path(*options.output) : fs::is_directory(path) ? path : fs::absolute(path).parent_path();
  fs::path picture;
  if (fs::exists(path / "metrics.jsonl")) {
    picture = plot_run(path, folder);
  } else if (options.data || (options.problem && (fs::is_directory(path) || is_hdf5_name(options.path)))) {
    picture = plot_data(options, folder);
  } else {
    if (fs::is_directory(path))
      throw ConfigError(concat(options.path, ": is no run (it has no metrics.jsonl); of a data set give --problem or --data"));
    const FieldFile file = read_field_file(options.path);
    picture = file.find("output").defined() ? plot_prediction(options, file, folder) : plot_evaluation(options.path, file, folder);
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
            arguments.add("--data", options->data, "run file that describes a data set of your own");
            arguments.add("--trajectory", options->trajectory, "trajectory of a data set");
            arguments.add("--frame", options->frame, "frame of the truth, where the prediction does not say it");
            return [options](CommandContext& context) { plot(*options, context); };
          }};
}

}  // namespace trident
