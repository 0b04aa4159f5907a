#include "models/problem.h"

#include <algorithm>
#include <limits>

#include "models/problem_table.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr int kMostSnapshots = 10'000;  // of which every pair may be a sample

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// "NS-PwC.tracer.out" -> "NS-PwC" and its endings, the last one first.
std::pair<std::string_view, std::vector<std::string_view>> split_endings(std::string_view name) {
  std::vector<std::string_view> endings;
  for (;;) {
    const std::size_t dot = name.rfind('.');
    if (dot == std::string_view::npos) return {name, endings};
    const std::string_view ending = name.substr(dot + 1);
    if (ending != "tracer" && ending != "time" && ending != "out") return {name, endings};
    endings.push_back(ending);
    name = name.substr(0, dot);
  }
}

[[noreturn]] void refuse_ending(const ProblemEntry& entry, std::string_view ending, const char* why) {
  throw ConfigError(concat("problem \"", entry.problem.name, ".", ending, "\": ", why, "; use \"", entry.problem.name, "\""));
}

void apply_ending(const ProblemEntry& entry, std::string_view ending, Problem& problem) {
  if (ending == "out") {
    if (!entry.out) refuse_ending(entry, ending, problem.steady ? "it is steady" : "its trajectories end at the training horizon");
    problem.times = *entry.out;
  } else if (ending == "time") {
    if (!problem.steady) refuse_ending(entry, ending, "only steady problems take .time, this one has lead times of its own");
    problem.time_scale = 1.0;
    problem.name += ".time";
  } else if (entry.tracer) {
    problem.input.push_back(*entry.tracer);
    problem.output.push_back(*entry.tracer);
    problem.group_sizes.push_back(1);
    problem.name += ".tracer";
  } else if (!entry.ignores_tracer) {
    refuse_ending(entry, ending, "it has no tracer");
  }
}

}  // namespace

std::vector<std::string> problem_names() {
  std::vector<std::string> names;
  for (const ProblemEntry& entry : problem_table()) names.push_back(entry.problem.name);
  return names;
}

Problem find_problem(std::string_view name) {
  const auto [base, endings] = split_endings(name);
  for (const ProblemEntry& entry : problem_table()) {
    if (entry.problem.name != base && entry.reference != base) continue;
    Problem problem = entry.problem;
    for (const std::string_view ending : endings) apply_ending(entry, ending, problem);
    return problem;
  }
  throw ConfigError(concat("problem \"", name, "\" is unknown; known are ", joined(problem_names()),
                           ", with the endings .tracer, .time, .out where they apply; or describe data of your own by `input`"));
}

Problem velocities_only(const Problem& problem) {
  const auto is_constant = [](const Channel& channel) { return channel.source == Source::constant; };
  if (std::none_of(problem.input.begin(), problem.input.end(), is_constant)) {
    throw ConfigError(concat("problem \"", problem.name,
                             "\": just_velocities leaves out a constant density and pressure, and this one has none; "
                             "remove just_velocities"));
  }
  Problem result = problem;
  std::erase_if(result.input, is_constant);
  std::erase_if(result.output, is_constant);
  result.group_sizes.clear();
  auto channel = problem.output.begin();
  for (const int size : problem.group_sizes) {
    const auto kept = size - std::count_if(channel, channel + size, is_constant);
    if (kept > 0) result.group_sizes.push_back(static_cast<int>(kept));
    channel += size;
  }
  return result;
}

std::vector<FramePair> frame_pairs(const TimeSettings& settings) {
  const int count = settings.max_num_time_steps, step = settings.time_step_size;
  if (count < 1) throw ConfigError(concat("max_num_time_steps: ", count, " leaves no sample; give 1 or more"));
  if (step < 1) throw ConfigError(concat("time_step_size: ", step, " is not a number of frames; give 1 or more"));
  if (count > kMostSnapshots) throw ConfigError(concat("max_num_time_steps: ", count, " is more than ", kMostSnapshots));
  const std::int64_t last = settings.fix_input_to_time_step.value_or(0) + std::int64_t{step} * count;
  if (last > std::numeric_limits<int>::max()) {
    throw ConfigError(concat("max_num_time_steps: ", count, " times ", step, " frames (time_step_size) reaches frame ", last,
                             ", which no data set has; make one of them smaller"));
  }
  std::vector<FramePair> pairs;
  if (settings.fix_input_to_time_step) {
    const int first = *settings.fix_input_to_time_step;
    if (first < 0) throw ConfigError(concat("fix_input_to_time_step: ", first, " is not a frame; give 0 or more"));
    for (int k = 1; k <= count; ++k) pairs.push_back({first, first + step * k});
    return pairs;
  }
  const auto& allowed = settings.allowed_time_transitions;
  for (int i = 0; i <= count; ++i) {
    for (int j = i; j <= count; ++j) {
      if (!allowed || std::find(allowed->begin(), allowed->end(), j - i) != allowed->end()) pairs.push_back({step * i, step * j});
    }
  }
  if (pairs.empty()) {
    throw ConfigError(
        concat("allowed_time_transitions: no pair of the ", count + 1, " snapshots is in the list; give numbers from 0 to ", count));
  }
  return pairs;
}

TrajectoryRange trajectories_of(const Splits& splits, Split split, std::int64_t num_trajectories) {
  const std::int64_t available = splits.total - splits.validation - splits.test;
  if (split == Split::validation) return {available, available + splits.validation};
  if (split == Split::test) return {splits.total - splits.test, splits.total};
  if (num_trajectories == -1 || num_trajectories == -2 || num_trajectories == -8) return {0, available / -num_trajectories};
  if (num_trajectories < 1 || num_trajectories > available) {
    throw ConfigError(concat("num_trajectories: ", num_trajectories, " is not a part of the ", available,
                             " training trajectories; give 1 to ", available, ", or -1 for all, -2 for half, -8 for an eighth"));
  }
  return {0, num_trajectories};
}

std::vector<ChannelGroup> channel_groups(const Problem& problem) {
  std::vector<ChannelGroup> groups;
  int first = 0;
  for (const int size : problem.group_sizes) {
    groups.push_back({first, first + size});
    first += size;
  }
  return groups;
}

std::vector<std::string> group_names(const Problem& problem) {
  std::vector<std::string> names;
  for (const ChannelGroup& group : channel_groups(problem)) {
    std::string& name = names.emplace_back();
    for (int channel = group.first; channel < group.last; ++channel) name += problem.output[static_cast<std::size_t>(channel)].name;
  }
  return names;
}

ConfigValue to_config(const Problem& problem) { return write_config(problem); }
Problem problem_from_config(const ConfigValue& value) { return read_config<Problem>(value); }

}  // namespace trident
