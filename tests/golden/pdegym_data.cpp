#include "tests/golden/pdegym.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "launch/data/dataset.h"
#include "launch/data/field_source.h"
#include "parallel/domain.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/golden/mesh_case.h"
#include "tests/golden/neuralop.h"

namespace trident::golden {
namespace {

namespace fs = std::filesystem;

constexpr double kSampleBound = 1e-6;

const ConfigValue& at(const ConfigValue& map, std::string_view key) {
  const ConfigValue* value = map.find(key);
  if (value == nullptr) throw DataError(concat(map.where(), ": golden case lacks \"", key, "\""));
  return *value;
}

/// Rows, each the worst over all samples.
class Worst {
 public:
  void error(const std::string& quantity, double error, double bound) {
    const auto same = [&](const Row& row) { return row.name == quantity; };
    auto row = std::find_if(rows_.begin(), rows_.end(), same);
    if (row == rows_.end()) row = rows_.insert(row, {quantity, 0.0, bound});
    row->error = std::max(row->error, std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
  }
  template <class A, class B>
  void equal(const std::string& quantity, const A& found, const B& expected) {
    error(quantity, found == expected ? 0.0 : std::numeric_limits<double>::infinity(), 0.0);
  }
  Rows take() { return std::move(rows_); }

 private:
  Rows rows_;
};

double distance(const Tensor& found, const Tensor& expected) {
  return found.shape() == expected.shape() ? relative_error(found, expected) : std::numeric_limits<double>::infinity();
}

/// The settings of a case as an entry of the run file: from problem.json's `settings` or the reference's keyword arguments.
DataEntry entry_of(const std::string& problem, const fs::path& path, const ConfigValue& settings) {
  DataEntry entry;
  entry.problem = problem;
  entry.path = path.string();
  for (const auto& [key, value] : settings.entries()) {
    if (value.is_null()) continue;
    if (key == "max_num_time_steps")
      entry.max_num_time_steps = read_config<int>(value);
    else if (key == "time_step_size")
      entry.time_step_size = read_config<int>(value);
    else if (key == "fix_input_to_time_step")
      entry.fix_input_to_time_step = read_config<int>(value);
    else if (key == "allowed_time_transitions")
      entry.allowed_time_transitions = read_config<std::vector<int>>(value);
    else if (key == "resolution")
      entry.resolution = read_config<int>(value);
    else if (key == "just_velocities")
      entry.just_velocities = value.as_bool();
    else if (key == "num_trajectories")
      entry.num_trajectories = value.as_integer();
    else
      throw DataError(concat(value.where(), ": golden case has the unknown setting \"", key, "\""));
  }
  return entry;
}

/// One sample. Where domain ranks share fields, each reads its rectangle, and these are put together.
struct Sample {
  Tensor input, label, mask;

  Sample(const Dataset& dataset, std::int64_t sample, const Mesh& mesh) {
    const Shape extents = dataset.extents();
    const Rectangle own = Domain(mesh).rectangle(dataset.ny(), dataset.nx());
    Box part = whole_box(extents);
    part[part.size() - 2] = own.rows, part.back() = own.columns;
    const bool points = dataset.mask() == Dataset::Mask::points;
    const std::int64_t rows = own.rows.size(), columns = own.columns.size();
    input = empty({dataset.in_channels(), rows, columns}, DType::f32), label = empty({dataset.out_channels(), rows, columns}, DType::f32);
    mask = zeros(points ? Shape{1, rows, columns} : Shape{dataset.out_channels()}, DType::boolean);
    dataset.read(sample, part, {input.data<float>(), label.data<float>(), mask.data<bool>()});
    for (Tensor* field : {&input, &label, points ? &mask : nullptr}) {
      if (field != nullptr) *field = all_points(in_precision(*field, DType::f32), own, {field->size(0), dataset.ny(), dataset.nx()}, mesh);
    }
  }
};

void check_sample(const Dataset& dataset, std::int64_t index, const SafetensorsReader& golden, const std::string& prefix, const Mesh& mesh,
                  Worst& rows) {
  const Sample sample(dataset, index, mesh);
  rows.error("pixel_values", distance(sample.input, golden.tensor(prefix + "/pixel_values")), kSampleBound);
  rows.error("labels", distance(sample.label, golden.tensor(prefix + "/labels")), kSampleBound);
  const std::optional<double> time = dataset.index(index).time;
  rows.equal("time", time.has_value(), golden.find(prefix + "/time") != nullptr);
  if (time) rows.equal("time", *time, to_number(golden.tensor(prefix + "/time")));
  const std::vector<double> mask = numbers(sample.mask);
  if (golden.find(prefix + "/pixel_mask") == nullptr) {
    rows.equal("pixel_mask", std::ranges::count(mask, 0.0), sample.mask.numel());
    return;
  }
  const Tensor expected = golden.tensor(prefix + "/pixel_mask");
  rows.equal("pixel_mask", dataset.mask() != Dataset::Mask::none && sample.mask.shape() == expected.shape() && mask == numbers(expected),
             true);
}

void check_samples(const Dataset& dataset, const ConfigValue& recorded, const SafetensorsReader& golden, const std::string& prefix,
                   const Mesh& mesh, Worst& rows) {
  const auto is_input = [&](const SafetensorsEntry& entry) {
    return entry.name.starts_with(prefix) && entry.name.ends_with("/pixel_values");
  };
  rows.equal("recorded samples", static_cast<std::size_t>(std::count_if(golden.entries().begin(), golden.entries().end(), is_input)),
             recorded.elements().size());
  for (const ConfigValue& sample : recorded.elements()) {
    check_sample(dataset, sample.as_integer(), golden, concat(prefix, sample.as_integer()), mesh, rows);
  }
}

/// `index`: trajectory, first frame, second frame, time.
void check_index(const Dataset& dataset, const ConfigValue& index, std::int64_t first_trajectory, Worst& rows) {
  for (std::size_t sample = 0; sample < index.elements().size(); ++sample) {
    const std::vector<ConfigValue>& expected = index.elements()[sample].elements();
    const SampleIndex found = dataset.index(static_cast<std::int64_t>(sample));
    rows.equal("index", found.trajectory, expected[0].as_integer() + first_trajectory);
    if (!expected[1].is_null())
      rows.equal("index", found.frames == FramePair{read_config<int>(expected[1]), read_config<int>(expected[2])}, true);
    if (!expected[3].is_null()) rows.equal("index", found.time.value_or(-1.0), expected[3].as_number());
  }
}

void check_description(const ConfigValue& golden, const Problem& problem, Worst& rows) {
  const ConfigValue& scale = at(golden, "time_scale");
  rows.equal("time_scale", problem.time_scale, scale.is_null() ? std::nullopt : std::optional(scale.as_number()));
  rows.equal("input_channels", static_cast<std::int64_t>(problem.input.size()), at(golden, "input_channels").as_integer());
  rows.equal("output_channels", static_cast<std::int64_t>(problem.output.size()), at(golden, "output_channels").as_integer());
  std::vector<int> bounds{0};
  for (const int size : problem.group_sizes) bounds.push_back(bounds.back() + size);
  rows.equal("channel_slice_list", bounds, read_config<std::vector<int>>(at(golden, "channel_slice_list")));
  rows.equal("channel names", group_names(problem), read_config<std::vector<std::string>>(at(golden, "printable_channel_description")));
  if (const ConfigValue* full = golden.find("full_set")) {
    const std::int64_t samples = problem.steady ? 1 : static_cast<std::int64_t>(frame_pairs(problem.times).size());
    for (const auto& [name, split] :
         {std::pair{"train", Split::train}, std::pair{"val", Split::validation}, std::pair{"test", Split::test}}) {
      const ConfigValue& expected = at(*full, name);
      const TrajectoryRange range = trajectories_of(problem.splits, split);
      rows.equal("splits", range.first, at(expected, "start").as_integer());
      rows.equal("splits", range.last - range.first, at(expected, "trajectories").as_integer());
      rows.equal("splits", (range.last - range.first) * samples, at(expected, "samples").as_integer());
    }
    for (const std::int64_t number : {-2, -8}) {
      rows.equal("splits", trajectories_of(problem.splits, Split::train, number).last,
                 at(*full, concat("train with num_trajectories ", number)).as_integer());
    }
  }
}

void require_rectangles(const Options& options) {
  const bool shared = options.mesh.size(Axis::domain_y | Axis::domain_x) > 1;
  if (options.mesh.world().size() > 1 && !shared) throw OnOneRank{"domain ranks share what is read of a field, and the mesh has none"};
}

DatasetMember open_whole(const DataConfig& config, DataEntry entry) {
  Problem problem = problem_of(config, entry);
  entry.trajectories = {0, open_field_source(problem, entry.path, entry.chunk_order)->num_trajectories()};
  return open_member(std::move(problem), entry, Split::train);
}

/// A case whose splits were recorded: the sizes of the sets are those of the file.
void check_splits(const ConfigValue& golden, const DataEntry& entry, const SafetensorsReader& samples, const Mesh& mesh, Worst& rows) {
  Problem problem = problem_of({}, entry);
  const ConfigValue& sizes = at(golden, "overridden");
  problem.splits = {at(sizes, "N_max").as_integer(), at(sizes, "N_val").as_integer(), at(sizes, "N_test").as_integer()};
  for (const auto& [name, split] :
       {std::pair{"train", Split::train}, std::pair{"val", Split::validation}, std::pair{"test", Split::test}}) {
    const ConfigValue& expected = at(golden, name);
    const Dataset dataset({open_member(problem, entry, split)});
    rows.equal("length", dataset.size(), at(expected, "length").as_integer());
    check_index(dataset, at(expected, "index"), at(expected, "first_trajectory").as_integer(), rows);
    check_samples(dataset, at(expected, "recorded"), samples, std::string(name) + "/", mesh, rows);
  }
}

Rows check_concatenation(const ConfigValue& golden, const Folder& folder, const Options& options) {
  DataConfig config;
  for (const ConfigValue& member : at(golden, "members").elements()) {
    DataEntry entry =
        entry_of(at(member, "problem").as_string(), find_data(at(member, "file").as_string(), folder, options), at(member, "settings"));
    entry.trajectories = read_config<std::array<std::int64_t, 2>>(at(member, "trajectories"));
    config.train.push_back(entry);
  }
  const Dataset dataset = open_dataset(config, config.train, Split::train, "data.train");
  Worst rows;
  rows.equal("length", dataset.size(), at(golden, "length").as_integer());
  for (const ConfigValue& line : at(golden, "index").elements()) {
    const auto expected = read_config<std::array<double, 6>>(line);
    const SampleIndex found = dataset.index(static_cast<std::int64_t>(expected[0]));
    rows.equal("index",
               std::array{expected[0], static_cast<double>(found.member), static_cast<double>(found.trajectory),
                          static_cast<double>(found.frames.first), static_cast<double>(found.frames.second), found.time.value_or(-1.0)},
               expected);
  }
  check_samples(dataset, at(golden, "recorded"), SafetensorsReader(folder.path() / "samples.safetensors"), "", options.mesh, rows);
  return rows.take();
}

}  // namespace

bool matches_problem(const Folder& folder) { return folder.has("problem.json") && folder.has("samples.safetensors"); }

Rows check_problem(Folder& folder, const Options& options) {
  require_rectangles(options);
  const ConfigValue golden = folder.json("problem.json");
  if (golden.find("members") != nullptr) return check_concatenation(golden, folder, options);
  const DataEntry entry =
      entry_of(at(golden, "problem").as_string(), find_data(at(golden, "file").as_string(), folder, options), at(golden, "settings"));
  const SafetensorsReader samples(folder.path() / "samples.safetensors");
  Worst rows;
  check_description(golden, problem_of({}, entry), rows);
  if (golden.find("train") != nullptr) {
    check_splits(golden, entry, samples, options.mesh, rows);
    return rows.take();
  }
  const Dataset dataset({open_whole({}, entry)});
  rows.equal("length", dataset.size(), at(golden, "length").as_integer());
  check_index(dataset, at(golden, "index"), 0, rows);
  check_samples(dataset, at(golden, "recorded"), samples, "", options.mesh, rows);
  return rows.take();
}

bool matches_chunks(const Folder& folder) { return folder.has("chunks.json") && folder.has("samples.safetensors"); }

Rows check_chunks(Folder& folder, const Options& options) {
  require_rectangles(options);
  const ConfigValue golden = folder.json("chunks.json");
  const SafetensorsReader samples(folder.path() / "samples.safetensors");
  const auto& orders = at(golden, "orders").entries();
  Worst rows;
  for (const auto& [name, expected] : orders) {
    DataEntry entry = entry_of(at(golden, "problem").as_string(), folder.path(), at(golden, "settings"));
    entry.chunk_order = name == "by_name" ? ChunkOrder::name : ChunkOrder::number;
    for (const auto& [variable, files] : at(expected, "files").entries()) {
      std::vector<std::string> found;
      for (const std::string& path : chunk_files(folder.path().string(), variable, entry.chunk_order))
        found.push_back(fs::path(path).filename().string());
      rows.equal("files", found, read_config<std::vector<std::string>>(files));
    }
    const Dataset dataset({open_whole({}, entry)});
    rows.equal("length", dataset.size(), at(expected, "length").as_integer());
    for (const ConfigValue& line : at(expected, "index").elements()) {
      const std::vector<ConfigValue>& row = line.elements();
      const SampleIndex found = dataset.index(row[0].as_integer());
      rows.equal("index",
                 std::array{static_cast<double>(found.trajectory), static_cast<double>(found.frames.first),
                            static_cast<double>(found.frames.second), found.time.value_or(-1.0)},
                 std::array{row[1].as_number(), row[4].as_number(), row[5].as_number(), row[6].as_number()});
    }
    check_samples(dataset, at(expected, "recorded"), samples, orders.size() > 1 ? name + "/" : "", options.mesh, rows);
  }
  return rows.take();
}

bool matches_refused(const Folder& folder) { return folder.has("refused.json"); }

Rows check_refused(Folder& folder, const Options& options) {
  static const std::map<std::string, std::string> files{{"fluids.incompressible.Sines", "data/NS-Sines.nc"},
                                                        {"fluids.compressible.RichtmyerMeshkov.tracer", "data/CE-RM.nc"},
                                                        {"fluids.compressible.gravity.RayleighTaylor.tracer", "data/GCE-RT.nc"},
                                                        {"fluids.compressible.gravity.RayleighTaylor", "data/GCE-RT.nc"},
                                                        {"wave.Gaussians", "data/Wave-Gauss.nc"},
                                                        {"reaction_diffusion.AllenCahn", "data/ACE.nc"}};
  Worst rows;
  const ConfigValue document = folder.json("refused.json");
  for (const ConfigValue& line : document.elements()) {
    const std::string name = at(line, "dataset").as_string();
    const ConfigValue& settings = at(line, "kwargs");
    if (settings.find("which") != nullptr) continue;  // the reference's words for splits are not ours: "validation" is one
    const auto known = files.find(name);
    const DataEntry entry = entry_of(name, known == files.end() ? "none" : find_data(known->second, folder, options), settings);
    bool refused = false;
    try {
      // Sizes of the published sets are part of what is refused, so only cases without them take the whole file.
      if (entry.num_trajectories)
        open_member(problem_of({}, entry), entry, Split::train);
      else
        open_whole({}, entry);
    } catch (const ConfigError&) {
      refused = true;
    } catch (const DataError&) {
      refused = known != files.end();
    }
    rows.equal(concat("refused: ", name, " ", to_json(settings, 0)), refused, !at(line, "error").is_null());
  }
  return rows.take();
}

bool matches_data_files(const Folder& folder) {
  if (!fs::is_directory(folder.path()) || fs::is_empty(folder.path())) return false;
  return std::ranges::all_of(fs::directory_iterator(folder.path()), [](const fs::directory_entry& entry) {
    const fs::path extension = entry.path().extension();
    return extension == ".nc" || extension == ".h5" || extension == ".hdf5";
  });
}

Rows check_data_files(Folder& folder, const Options&) {
  const auto count = std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator());
  return {{.name = "nothing to compare", .note = concat(count, " data files")}};
}

}  // namespace trident::golden
