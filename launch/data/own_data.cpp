#include "launch/data/own_data.h"

#include <algorithm>
#include <filesystem>

#include "launch/data/data_file.h"
#include "launch/data/field_source.h"
#include "launch/data/stored_variable.h"
#include "runtime/error.h"

namespace trident {
namespace {

void check_constants(const char* key, const std::vector<double>& values, std::size_t channels) {
  if (values.empty() || values.size() == channels) return;
  throw ConfigError(concat(key, ": has ", values.size(), " numbers for ", channels, " channels; give one for each channel"));
}

void check_scales(const char* key, const std::vector<double>& values) {
  if (std::all_of(values.begin(), values.end(), [](double value) { return value > 0.0; })) return;
  throw ConfigError(concat(key, ": holds a number that is not above 0; fields are divided by it"));
}

std::vector<int> group_sizes_of(const DataEntry& entry) {
  if (entry.groups.empty()) return std::vector<int>(entry.channels.size(), 1);
  std::vector<std::string> listed;
  std::vector<int> sizes;
  for (const std::vector<std::string>& group : entry.groups) {
    listed.insert(listed.end(), group.begin(), group.end());
    sizes.push_back(static_cast<int>(group.size()));
  }
  const bool has_empty = std::find(sizes.begin(), sizes.end(), 0) != sizes.end();
  if (listed != entry.channels || has_empty) {
    throw ConfigError("groups: do not hold each of `channels` once and in their order; write for example [[rho], [u, v]]");
  }
  return sizes;
}

/// One number for each channel, or none.
struct ChannelConstants {
  const std::vector<double>&mean, &std, &mean_imag;
};

std::vector<Channel> channels_of(const std::string& variable, const std::vector<std::string>& names, const ChannelConstants& constants) {
  std::vector<Channel> channels;
  for (std::size_t index = 0; index < names.size(); ++index) {
    Channel& channel = channels.emplace_back();
    channel.name = names[index];
    channel.variable = variable;
    channel.index = static_cast<int>(index);
    if (!constants.mean.empty()) channel.mean = constants.mean[index];
    if (!constants.std.empty()) channel.std = constants.std[index];
    if (!constants.mean_imag.empty()) channel.mean_imag = constants.mean_imag[index];
  }
  return channels;
}

constexpr int kDefaultSpaceAxes = 2;

int space_axes_of(const DataEntry& entry) { return entry.space_axes.value_or(kDefaultSpaceAxes); }

/// "(trajectory, [channel], y, x) and a time axis".
std::string expected_axes(const DataEntry& entry) {
  std::string text = "(trajectory, [channel]";
  const int axes = space_axes_of(entry);
  for (int axis = 0; axis < axes; ++axis) text += concat(", ", space_letter(axes, axis));
  if (entry.complex.value_or(false)) text += ", [real and imaginary part]";
  return text + (entry.time_axis ? ") and a time axis" : ")");
}

/// The axes of a variable: (trajectory, [channel], space..., [real and imaginary part]) with the frames at `time_axis`; of several
/// variables some may do without frames.
std::string axes_of(const DataFile& file, const std::string& variable, const DataEntry& entry) {
  const DataArray array = file.array(variable);
  const Shape& shape = array.shape();
  const int space = space_axes_of(entry);
  if (array.is_complex() && !entry.complex.value_or(true)) {
    throw DataError(concat(file.path(), ": variable \"", variable,
                           "\" is complex, but the run file says complex: false; take that out, or save its ",
                           "real and imaginary parts as two channels"));
  }
  const bool stored_pairs = entry.complex.value_or(false) && shape.rank() > space + 1 && shape[shape.rank() - 1] == 2;
  const bool pairs = array.is_complex() || stored_pairs;
  const int leading = shape.rank() - space - (pairs ? 1 : 0);  // trajectory, frame, channel
  const bool has_frames = entry.time_axis && leading > 1;
  if (leading < 1 || leading - (has_frames ? 1 : 0) > 2) {
    throw DataError(concat(file.path(), ": variable \"", variable, "\" has the shape ", to_string(shape),
                           array.is_complex() ? " of complex numbers" : "", ", expected ", expected_axes(entry),
                           entry.time_axis ? "" : "; name the axis of the frames by time_axis if there is one", "; space_axes, now ", space,
                           ", says how many axes of space there are"));
  }
  std::string axes = leading - (has_frames ? 1 : 0) == 2 ? "nc" : "n";
  for (int axis = 0; axis < space; ++axis) axes += space_letter(space, axis);
  if (pairs) axes += 'p';
  if (!has_frames) return axes;
  if (*entry.time_axis < 0 || *entry.time_axis >= leading) {
    throw ConfigError(concat("time_axis: ", *entry.time_axis, " is not before the space axes of variable \"", variable,
                             "\" with the shape ", to_string(shape), "; give 0 to ", leading - 1));
  }
  return axes.insert(static_cast<std::size_t>(*entry.time_axis), 1, 't');
}

/// The first of a variable's chunk files, or the one file.
DataFile file_of(const DataEntry& entry, const std::string& variable) {
  const bool is_folder = std::filesystem::is_directory(entry.path);
  return DataFile::open(is_folder ? chunk_files(entry.path, variable, entry.chunk_order).front() : entry.path);
}

bool any_axes_have(const Problem& problem, char axis) {
  return std::ranges::any_of(problem.variables, [&](const Variable& variable) { return variable.axes.find(axis) != std::string::npos; });
}

}  // namespace

void check_own_data(const DataEntry& entry) {
  if (!entry.input) throw ConfigError("neither `problem` nor `input` is given; name a problem, or the input variable of data of your own");
  if (entry.channels.empty()) throw ConfigError("channels: is empty; name the channels of the output variable");
  if (entry.just_velocities) throw ConfigError("just_velocities: belongs to problems of the table; leave the channels out of `channels`");
  check_constants("mean", entry.mean, entry.channels.size());
  check_constants("std", entry.std, entry.channels.size());
  const std::size_t inputs = entry.input_channels.empty() ? entry.channels.size() : entry.input_channels.size();
  check_constants("mean_imag", entry.mean_imag, entry.channels.size());
  check_constants("input_mean", entry.input_mean, inputs);
  check_constants("input_mean_imag", entry.input_mean_imag, inputs);
  check_constants("input_std", entry.input_std, inputs);
  check_scales("std", entry.std);
  check_scales("input_std", entry.input_std);
  if (entry.time_scale && !(*entry.time_scale > 0.0))
    throw ConfigError(concat("time_scale: ", *entry.time_scale, " is not above 0; give frames"));
  if (entry.space_axes && (*entry.space_axes < 1 || *entry.space_axes > 3)) {
    throw ConfigError(concat("space_axes: ", *entry.space_axes, " axes of space; give 1 (x), 2 (y, x) or 3 (z, y, x)"));
  }
  group_sizes_of(entry);
}

void require_certain_axes(const DataEntry& entry, const Problem& problem) {
  const auto named = static_cast<std::int64_t>(std::max(problem.input.size(), problem.output.size()));
  for (const Variable& variable : problem.variables) {
    const Shape shape = file_of(entry, variable.name).array(variable.name).shape();
    const auto extent = [&](char axis) { return shape[static_cast<int>(variable.axes.find(axis))]; };
    if (variable.axes.find('c') == std::string::npos || extent('c') <= named) continue;
    bool is_cube = true;
    for (int axis = 0; axis < problem.space_axes; ++axis) {
      is_cube = is_cube && extent(space_letter(problem.space_axes, axis)) == extent('c');
    }
    if (!is_cube) continue;
    throw ConfigError(concat("variable \"", variable.name, "\" has the shape ", to_string(shape), ": ", extent('c'), " channels, of which ",
                             named, named == 1 ? " is" : " are", " named, or fields with ", problem.space_axes + 1,
                             " axes of space for a model with ", problem.space_axes, "; give space_axes: ", problem.space_axes,
                             " if they are channels, or take a model of as many axes as the fields have"));
  }
}

Problem announced_own_problem(const DataEntry& entry) {
  check_own_data(entry);
  const std::string output = entry.output.value_or(*entry.input);
  const bool same_channels = entry.input_channels.empty();
  Problem problem;
  problem.name = std::filesystem::path(entry.path).stem().string();
  // Without constants of its own an input with the output's channels is normalised as the output is.
  const auto of_input = [&](const std::vector<double>& own, const std::vector<double>& of_output) -> const std::vector<double>& {
    return same_channels && own.empty() ? of_output : own;
  };
  problem.input = channels_of(
      *entry.input, same_channels ? entry.channels : entry.input_channels,
      {of_input(entry.input_mean, entry.mean), of_input(entry.input_std, entry.std), of_input(entry.input_mean_imag, entry.mean_imag)});
  problem.output = channels_of(output, entry.channels, {entry.mean, entry.std, entry.mean_imag});
  problem.group_sizes = group_sizes_of(entry);
  problem.space_axes = space_axes_of(entry);
  problem.steady = !entry.time_axis;
  problem.time_scale = problem.steady ? entry.time_scale : entry.time_scale.value_or(1.0);
  problem.complex = entry.complex.value_or(false);
  return problem;
}

Problem own_problem(const DataEntry& entry) {
  Problem problem = announced_own_problem(entry);
  const std::string output = entry.output.value_or(*entry.input);
  int frames = 1;
  const auto add = [&](const std::string& name) {
    const DataFile file = file_of(entry, name);
    const Variable& variable = problem.variables.emplace_back(name, axes_of(file, name, entry));
    if (variable.axes.find('t') != std::string::npos) frames = static_cast<int>(file.array(name).shape()[*entry.time_axis]);
  };
  add(*entry.input);
  if (output != *entry.input) add(output);
  if (entry.time_axis && !any_axes_have(problem, 't')) {
    throw ConfigError(concat("time_axis: ", *entry.time_axis, ", but variable \"", output, "\" has the axes of a steady set, expected ",
                             expected_axes(entry), "; leave time_axis out, or check space_axes"));
  }
  problem.complex = any_axes_have(problem, 'p');
  if (entry.complex.value_or(false) && !problem.complex) {
    throw DataError(concat(entry.path, ": variable \"", output,
                           "\" is real where complex fields are expected; store complex numbers, or pairs on a ",
                           "last axis of 2, or set complex to false (and model.complex_data)"));
  }
  if (!problem.complex && !(entry.mean_imag.empty() && entry.input_mean_imag.empty())) {
    throw ConfigError(concat(entry.mean_imag.empty() ? "input_mean_imag" : "mean_imag", ": the fields are real; leave it out"));
  }
  problem.times = {.max_num_time_steps = std::max(1, std::min(7, frames - 1)), .time_step_size = 1};
  return problem;
}

}  // namespace trident
