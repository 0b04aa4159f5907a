#include "launch/data/own_data.h"

#include <algorithm>
#include <filesystem>

#include "launch/data/data_file.h"
#include "launch/data/field_source.h"
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

std::vector<Channel> channels_of(const std::string& variable, const std::vector<std::string>& names, const std::vector<double>& mean,
                                 const std::vector<double>& std) {
  std::vector<Channel> channels;
  for (std::size_t index = 0; index < names.size(); ++index) {
    Channel& channel = channels.emplace_back();
    channel.name = names[index];
    channel.variable = variable;
    channel.index = static_cast<int>(index);
    if (!mean.empty()) channel.mean = mean[index];
    if (!std.empty()) channel.std = std[index];
  }
  return channels;
}

/// The axes of a variable: (trajectory, [channel], y, x) with the frames at `time_axis`.
std::string axes_of(const DataFile& file, const std::string& variable, std::optional<int> time_axis) {
  const Shape shape = file.array(variable).shape();
  const int rest = shape.rank() - (time_axis ? 1 : 0);
  if (rest != 3 && rest != 4) {
    throw DataError(concat(file.path(), ": variable \"", variable, "\" has the shape ", to_string(shape),
                           ", expected (trajectory, [channel], y, x)",
                           time_axis ? " and a time axis" : "; name the axis of the frames by time_axis if there is one"));
  }
  std::string axes = rest == 4 ? "ncyx" : "nyx";
  if (!time_axis) return axes;
  if (*time_axis < 0 || *time_axis > rest - 2) {
    throw ConfigError(concat("time_axis: ", *time_axis, " is not before the space axes of variable \"", variable, "\" with the shape ",
                             to_string(shape), "; give 0 to ", rest - 2));
  }
  return axes.insert(static_cast<std::size_t>(*time_axis), 1, 't');
}

}  // namespace

void check_own_data(const DataEntry& entry) {
  if (!entry.input) throw ConfigError("neither `problem` nor `input` is given; name a problem, or the input variable of data of your own");
  if (entry.channels.empty()) throw ConfigError("channels: is empty; name the channels of the output variable");
  if (entry.just_velocities) throw ConfigError("just_velocities: belongs to problems of the table; leave the channels out of `channels`");
  check_constants("mean", entry.mean, entry.channels.size());
  check_constants("std", entry.std, entry.channels.size());
  const std::size_t inputs = entry.input_channels.empty() ? entry.channels.size() : entry.input_channels.size();
  check_constants("input_mean", entry.input_mean, inputs);
  check_constants("input_std", entry.input_std, inputs);
  check_scales("std", entry.std);
  check_scales("input_std", entry.input_std);
  if (entry.time_scale && !(*entry.time_scale > 0.0))
    throw ConfigError(concat("time_scale: ", *entry.time_scale, " is not above 0; give frames"));
  group_sizes_of(entry);
}

Problem own_problem(const DataEntry& entry) {
  check_own_data(entry);
  const std::string output = entry.output.value_or(*entry.input);
  const bool same_channels = entry.input_channels.empty();
  Problem problem;
  problem.name = std::filesystem::path(entry.path).stem().string();
  // Without constants of its own an input with the output's channels is normalised as the output is.
  const auto& input_mean = same_channels && entry.input_mean.empty() ? entry.mean : entry.input_mean;
  const auto& input_std = same_channels && entry.input_std.empty() ? entry.std : entry.input_std;
  problem.input = channels_of(*entry.input, same_channels ? entry.channels : entry.input_channels, input_mean, input_std);
  problem.output = channels_of(output, entry.channels, entry.mean, entry.std);
  problem.group_sizes = group_sizes_of(entry);
  problem.steady = !entry.time_axis;
  problem.time_scale = problem.steady ? entry.time_scale : entry.time_scale.value_or(1.0);
  const auto file_of = [&](const std::string& variable) {
    return DataFile::open(std::filesystem::is_directory(entry.path) ? chunk_files(entry.path, variable, entry.chunk_order).front()
                                                                    : entry.path);
  };
  const DataFile input_file = file_of(*entry.input);
  problem.variables.push_back({*entry.input, axes_of(input_file, *entry.input, entry.time_axis)});
  if (output != *entry.input) problem.variables.push_back({output, axes_of(file_of(output), output, entry.time_axis)});
  const Shape shape = input_file.array(*entry.input).shape();
  const int frames = entry.time_axis ? static_cast<int>(shape[*entry.time_axis]) : 1;
  problem.times = {.max_num_time_steps = std::max(1, std::min(7, frames - 1)), .time_step_size = 1};
  return problem;
}

}  // namespace trident
