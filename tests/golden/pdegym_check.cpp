#include "tests/golden/pdegym_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "checkpoint/atomic_file.h"
#include "checkpoint/safetensors_reader.h"
#include "launch/data/dataset.h"
#include "launch/data/field_source.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

constexpr double kSampleBound = 1e-6;

ConfigValue read_json(const fs::path& path) { return parse_json(read_text_file(path), path.string()); }

const ConfigValue& at(const ConfigValue& map, std::string_view key) {
  const ConfigValue* value = map.find(key);
  if (value == nullptr) throw DataError(concat(map.where(), ": golden case lacks \"", key, "\""));
  return *value;
}

fs::path find_data(const std::string& name, const fs::path& folder, const std::vector<fs::path>& data_folders) {
  std::vector<fs::path> places{folder};
  places.insert(places.end(), data_folders.begin(), data_folders.end());
  for (const fs::path& place : places) {
    for (const fs::path& candidate : {place / name, place / fs::path(name).filename()}) {
      if (fs::exists(candidate)) return candidate;
    }
  }
  throw DataError(concat(folder.string(), ": data file \"", name, "\" is in none of the data folders; give its folder by --data"));
}

/// Rows, each the worst over all samples.
class Rows {
 public:
  void worst(const std::string& quantity, double error, double bound) {
    for (CheckRow& row : rows_) {
      if (row.quantity != quantity) continue;
      row.error = std::max(row.error, std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
      return;
    }
    rows_.push_back({quantity, 0.0, bound});
    worst(quantity, error, bound);
  }
  template <class A, class B>
  void equal(const std::string& quantity, const A& found, const B& expected) {
    worst(quantity, found == expected ? 0.0 : std::numeric_limits<double>::infinity(), 0.0);
  }
  CheckRows take() { return std::move(rows_); }

 private:
  CheckRows rows_;
};

double relative_distance(const Tensor& found, const Tensor& expected) {
  if (!(found.shape() == expected.shape())) return std::numeric_limits<double>::infinity();
  const std::vector<float> a = to_host<float>(found), b = to_host<float>(expected);
  double difference = 0.0, norm = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    difference += std::pow(static_cast<double>(a[k]) - b[k], 2);
    norm += std::pow(static_cast<double>(b[k]), 2);
  }
  return norm == 0.0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

std::vector<bool> flags(const Tensor& x) { return std::vector<bool>(x.data<bool>(), x.data<bool>() + x.numel()); }

/// The settings of a case as an entry of the run file: from problem.json's `settings` or the reference's keyword arguments.
DataEntry entry_of(const std::string& problem, const fs::path& path, const ConfigValue& settings) {
  DataEntry entry;
  entry.problem = problem;
  entry.path = path.string();
  for (const auto& [key, value] : settings.entries()) {
    if (value.is_null()) continue;
    if (key == "max_num_time_steps") entry.max_num_time_steps = read_config<int>(value);
    else if (key == "time_step_size") entry.time_step_size = read_config<int>(value);
    else if (key == "fix_input_to_time_step") entry.fix_input_to_time_step = read_config<int>(value);
    else if (key == "allowed_time_transitions") entry.allowed_time_transitions = read_config<std::vector<int>>(value);
    else if (key == "resolution") entry.resolution = read_config<int>(value);
    else if (key == "just_velocities") entry.just_velocities = value.as_bool();
    else if (key == "num_trajectories") entry.num_trajectories = value.as_integer();
    else if (key == "which") entry.split = read_config<Split>(value);
    else throw DataError(concat(value.where(), ": golden case has the unknown setting \"", key, "\""));
  }
  return entry;
}

void check_sample(const Dataset& dataset, std::int64_t sample, const SafetensorsReader& golden, const std::string& prefix, Rows& rows) {
  const Tensor input = empty({dataset.in_channels(), dataset.ny(), dataset.nx()}, DType::f32);
  const Tensor label = empty({dataset.out_channels(), dataset.ny(), dataset.nx()}, DType::f32);
  const bool points = dataset.mask() == Dataset::Mask::points;
  const Tensor mask = zeros(points ? Shape{1, dataset.ny(), dataset.nx()} : Shape{dataset.out_channels()}, DType::boolean);
  dataset.read(sample, {input.data<float>(), label.data<float>(), mask.data<bool>()});
  rows.worst("pixel_values", relative_distance(input, golden.tensor(prefix + "/pixel_values")), kSampleBound);
  rows.worst("labels", relative_distance(label, golden.tensor(prefix + "/labels")), kSampleBound);
  const std::optional<double> time = dataset.index(sample).time;
  rows.equal("time", time.has_value(), golden.find(prefix + "/time") != nullptr);
  if (time) rows.equal("time", *time, to_number(golden.tensor(prefix + "/time")));
  const bool masked = golden.find(prefix + "/pixel_mask") != nullptr;
  if (!masked) {
    const std::vector<bool> values = flags(mask);
    rows.equal("pixel_mask", std::find(values.begin(), values.end(), true) == values.end(), true);
    return;
  }
  const Tensor expected = golden.tensor(prefix + "/pixel_mask");
  rows.equal("pixel_mask", dataset.mask() != Dataset::Mask::none && mask.shape() == expected.shape() && flags(mask) == flags(expected),
             true);
}

void check_samples(const Dataset& dataset, const ConfigValue& recorded, const SafetensorsReader& golden, const std::string& prefix, Rows& rows) {
  for (const ConfigValue& sample : recorded.elements()) {
    check_sample(dataset, sample.as_integer(), golden, concat(prefix, sample.as_integer()), rows);
  }
}

/// `index`: trajectory, first frame, second frame, time.
void check_index(const Dataset& dataset, const ConfigValue& index, std::int64_t first_trajectory, Rows& rows) {
  for (std::size_t sample = 0; sample < index.elements().size(); ++sample) {
    const std::vector<ConfigValue>& expected = index.elements()[sample].elements();
    const SampleIndex found = dataset.index(static_cast<std::int64_t>(sample));
    rows.equal("index", found.trajectory, expected[0].as_integer() + first_trajectory);
    if (!expected[1].is_null()) rows.equal("index", found.frames == FramePair{read_config<int>(expected[1]), read_config<int>(expected[2])}, true);
    if (!expected[3].is_null()) rows.equal("index", found.time.value_or(-1.0), expected[3].as_number());
  }
}

void check_description(const ConfigValue& golden, const Problem& problem, Rows& rows) {
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
    for (const auto& [name, split] : {std::pair{"train", Split::train}, std::pair{"val", Split::validation}, std::pair{"test", Split::test}}) {
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

DatasetMember open_whole(const DataConfig& config, DataEntry entry) {
  Problem problem = problem_of(config, entry);
  entry.trajectories = {0, open_field_source(problem, entry.path, entry.chunk_order)->num_trajectories()};
  return open_member(std::move(problem), entry, Split::train);
}

/// A case whose splits were recorded: the sizes of the sets are those of the file.
void check_splits(const ConfigValue& golden, const DataEntry& entry, const SafetensorsReader& samples, Rows& rows) {
  Problem problem = problem_of({}, entry);
  const ConfigValue& sizes = at(golden, "overridden");
  problem.splits = {at(sizes, "N_max").as_integer(), at(sizes, "N_val").as_integer(), at(sizes, "N_test").as_integer()};
  for (const auto& [name, split] : {std::pair{"train", Split::train}, std::pair{"val", Split::validation}, std::pair{"test", Split::test}}) {
    const ConfigValue& expected = at(golden, name);
    const Dataset dataset({open_member(problem, entry, split)});
    rows.equal("length", dataset.size(), at(expected, "length").as_integer());
    check_index(dataset, at(expected, "index"), at(expected, "first_trajectory").as_integer(), rows);
    check_samples(dataset, at(expected, "recorded"), samples, std::string(name) + "/", rows);
  }
}

CheckRows check_concatenation(const ConfigValue& golden, const fs::path& folder, const std::vector<fs::path>& data_folders) {
  DataConfig config;
  for (const ConfigValue& member : at(golden, "members").elements()) {
    DataEntry entry = entry_of(at(member, "problem").as_string(), find_data(at(member, "file").as_string(), folder, data_folders), at(member, "settings"));
    entry.trajectories = read_config<std::array<std::int64_t, 2>>(at(member, "trajectories"));
    config.train.push_back(entry);
  }
  const Dataset dataset = open_dataset(config, config.train, Split::train, "data.train");
  Rows rows;
  rows.equal("length", dataset.size(), at(golden, "length").as_integer());
  for (const ConfigValue& line : at(golden, "index").elements()) {
    const auto expected = read_config<std::array<double, 6>>(line);
    const SampleIndex found = dataset.index(static_cast<std::int64_t>(expected[0]));
    rows.equal("index", std::array{expected[0], static_cast<double>(found.member), static_cast<double>(found.trajectory),
                                   static_cast<double>(found.frames.first), static_cast<double>(found.frames.second), found.time.value_or(-1.0)},
               expected);
  }
  check_samples(dataset, at(golden, "recorded"), SafetensorsReader(folder / "samples.safetensors"), "", rows);
  return rows.take();
}

}  // namespace

CheckRows check_pdegym_problem(const fs::path& folder, const std::vector<fs::path>& data_folders) {
  const ConfigValue golden = read_json(folder / "problem.json");
  if (golden.find("members") != nullptr) return check_concatenation(golden, folder, data_folders);
  const DataEntry entry =
      entry_of(at(golden, "problem").as_string(), find_data(at(golden, "file").as_string(), folder, data_folders), at(golden, "settings"));
  const SafetensorsReader samples(folder / "samples.safetensors");
  Rows rows;
  check_description(golden, problem_of({}, entry), rows);
  if (golden.find("train") != nullptr) {
    check_splits(golden, entry, samples, rows);
    return rows.take();
  }
  const Dataset dataset({open_whole({}, entry)});
  rows.equal("length", dataset.size(), at(golden, "length").as_integer());
  check_index(dataset, at(golden, "index"), 0, rows);
  check_samples(dataset, at(golden, "recorded"), samples, "", rows);
  return rows.take();
}

CheckRows check_pdegym_chunks(const fs::path& folder) {
  const ConfigValue golden = read_json(folder / "chunks.json");
  const SafetensorsReader samples(folder / "samples.safetensors");
  const auto& orders = at(golden, "orders").entries();
  Rows rows;
  for (const auto& [name, expected] : orders) {
    DataEntry entry = entry_of(at(golden, "problem").as_string(), folder, at(golden, "settings"));
    entry.chunk_order = name == "by_name" ? ChunkOrder::name : ChunkOrder::number;
    for (const auto& [variable, files] : at(expected, "files").entries()) {
      std::vector<std::string> found;
      for (const std::string& path : chunk_files(folder.string(), variable, entry.chunk_order)) found.push_back(fs::path(path).filename().string());
      rows.equal("files", found, read_config<std::vector<std::string>>(files));
    }
    const Dataset dataset({open_whole({}, entry)});
    rows.equal("length", dataset.size(), at(expected, "length").as_integer());
    for (const ConfigValue& line : at(expected, "index").elements()) {
      const std::vector<ConfigValue>& row = line.elements();
      const SampleIndex found = dataset.index(row[0].as_integer());
      rows.equal("index", std::array{static_cast<double>(found.trajectory), static_cast<double>(found.frames.first),
                                     static_cast<double>(found.frames.second), found.time.value_or(-1.0)},
                 std::array{row[1].as_number(), row[4].as_number(), row[5].as_number(), row[6].as_number()});
    }
    check_samples(dataset, at(expected, "recorded"), samples, orders.size() > 1 ? name + "/" : "", rows);
  }
  return rows.take();
}

CheckRows check_pdegym_refused(const fs::path& file, const std::vector<fs::path>& data_folders) {
  static const std::map<std::string, std::string> files{
      {"fluids.incompressible.Sines", "NS-Sines.nc"}, {"fluids.compressible.RichtmyerMeshkov.tracer", "CE-RM.nc"},
      {"fluids.compressible.gravity.RayleighTaylor.tracer", "GCE-RT.nc"}, {"fluids.compressible.gravity.RayleighTaylor", "GCE-RT.nc"},
      {"wave.Gaussians", "Wave-Gauss.nc"}, {"reaction_diffusion.AllenCahn", "ACE.nc"}};
  Rows rows;
  const ConfigValue document = read_json(file);
  for (const ConfigValue& line : document.elements()) {
    const std::string name = at(line, "dataset").as_string();
    const ConfigValue& settings = at(line, "kwargs");
    bool refused = false;
    try {
      const auto known = files.find(name);
      const DataEntry entry = entry_of(name, known == files.end() ? "none" : find_data(known->second, file.parent_path(), data_folders), settings);
      // Sizes of the published sets are part of what is refused, so only cases without them take the whole file.
      if (entry.num_trajectories) open_member(problem_of({}, entry), entry, Split::train);
      else open_whole({}, entry);
    } catch (const ConfigError&) {
      refused = true;
    } catch (const DataError&) {
      refused = files.contains(name);
    }
    rows.equal(concat("refused: ", name, " ", to_json(settings, 0)), refused, !at(line, "error").is_null());
  }
  return rows.take();
}

}  // namespace trident
