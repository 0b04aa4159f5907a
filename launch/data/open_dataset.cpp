#include <algorithm>
#include <limits>

#include "launch/data/dataset.h"
#include "launch/data/field_source.h"
#include "launch/data/fitted_normalization.h"
#include "launch/data/own_data.h"
#include "runtime/error.h"

namespace trident {
namespace {

/// The entry's own setting, else the section's, else the problem's.
template <class T>
void choose(T& setting, const std::optional<T>& of_entry, const std::optional<T>& of_section) {
  if (of_entry)
    setting = *of_entry;
  else if (of_section)
    setting = *of_section;
}

template <class T>
void choose(std::optional<T>& setting, const std::optional<T>& of_entry, const std::optional<T>& of_section) {
  if (of_entry)
    setting = of_entry;
  else if (of_section)
    setting = of_section;
}

void apply_times(const DataConfig& config, const DataEntry& entry, Problem& problem) {
  if (problem.steady) return;
  choose(problem.times.max_num_time_steps, entry.max_num_time_steps, config.max_num_time_steps);
  choose(problem.times.time_step_size, entry.time_step_size, config.time_step_size);
  choose(problem.times.fix_input_to_time_step, entry.fix_input_to_time_step, config.fix_input_to_time_step);
  choose(problem.times.allowed_time_transitions, entry.allowed_time_transitions, config.allowed_time_transitions);
  frame_pairs(problem.times);
}

Problem table_problem(const DataEntry& entry) {
  const Problem problem = find_problem(*entry.problem);
  return entry.just_velocities ? velocities_only(problem) : problem;
}

/// What needs no file.
void check_entry(const DataConfig& config, const DataEntry& entry, Split default_split) {
  if (entry.path.empty()) throw ConfigError("path: is missing; name a file, or a folder of chunk files");
  if (entry.weight && !(*entry.weight > 0.0))
    throw ConfigError(concat("weight: ", *entry.weight, " is not above 0; leave the entry out instead"));
  if (entry.resolution && *entry.resolution < 2) throw ConfigError(concat("resolution: ", *entry.resolution, " points; give 2 or more"));
  if (entry.trajectories && ((*entry.trajectories)[0] < 0 || (*entry.trajectories)[1] <= (*entry.trajectories)[0])) {
    throw ConfigError(
        concat("trajectories: [", (*entry.trajectories)[0], ", ", (*entry.trajectories)[1], "] holds none; give [first, past the last)"));
  }
  if (config.normalization == Normalization::fitted) check_fitted(entry);
  if (!entry.problem) return check_own_data(entry);
  if (entry.input) throw ConfigError("problem and input are both given; keep `problem`, or `input` for data of your own");
  Problem problem = table_problem(entry);
  apply_times(config, entry, problem);
  if (!entry.trajectories) trajectories_of(problem.splits, entry.split.value_or(default_split), entry.num_trajectories.value_or(-1));
}

TrajectoryRange trajectories_in_use(const Problem& problem, const DataEntry& entry, Split default_split, std::int64_t available) {
  const bool published = problem.splits.total > 0;
  TrajectoryRange range{0, available};
  if (entry.trajectories) {
    range = {(*entry.trajectories)[0], (*entry.trajectories)[1]};
  } else if (published) {
    range = trajectories_of(problem.splits, entry.split.value_or(default_split), entry.num_trajectories.value_or(-1));
  } else if (entry.num_trajectories) {
    range = trajectories_of({available, 0, 0}, Split::train, *entry.num_trajectories);
  }
  if (range.last <= available) return range;
  throw DataError(concat(entry.path, ": has ", available, " trajectories, expected ", range.last, " for [", range.first, ", ", range.last,
                         ")", entry.trajectories ? "" : ", the split of the published set", "; set trajectories: [first, past the last)"));
}

void check_frames(const Problem& problem, const std::vector<FramePair>& pairs, const DataEntry& entry, int frames) {
  int last = 0;
  for (const FramePair& pair : pairs) last = std::max(last, pair.second);
  if (last < frames) return;
  throw ConfigError(concat("problem \"", problem.name, "\": time_step_size ", problem.times.time_step_size, " and max_num_time_steps ",
                           problem.times.max_num_time_steps, " reach frame ", last, ", but ", entry.path, " has frames 0 to ", frames - 1,
                           "; make one of them smaller"));
}

/// Runs `work`, whose ConfigErrors and DataErrors get the entry's key in front.
template <class Work>
auto for_entry(const std::string& key, std::size_t index, Work work) {
  const std::string prefix = concat(key, "[", index, "]: ");
  try {
    return work();
  } catch (const ConfigError& error) {
    throw ConfigError(prefix + error.what());
  } catch (const DataError& error) {
    throw DataError(prefix + error.what());
  }
}

}  // namespace

Problem problem_of(const DataConfig& config, const DataEntry& entry, Files files) {
  Problem problem = entry.problem ? table_problem(entry) : files == Files::there ? own_problem(entry) : announced_own_problem(entry);
  apply_times(config, entry, problem);
  return problem;
}

DatasetMember open_member(Problem problem, const DataEntry& entry, Split default_split) {
  DatasetMember member;
  member.source = open_field_source(problem, entry.path, entry.chunk_order);
  member.trajectories = trajectories_in_use(problem, entry, default_split, member.source->num_trajectories());
  member.pairs = problem.steady ? std::vector<FramePair>{{}} : frame_pairs(problem.times);
  check_frames(problem, member.pairs, entry, member.source->num_frames());
  const Shape& extents = member.source->extents();
  const auto [least, most] = std::ranges::minmax(extents);
  if (entry.resolution && (*entry.resolution > least || least != most || problem.mask == MaskRule::input_is_one)) {
    throw ConfigError(
        concat("resolution: ", *entry.resolution, " cannot be made of the ", spelled_points(extents), " points of problem \"", problem.name,
               "\"; Fourier downsampling takes fields of as many points along each axis, without masks per point, to at most as many"));
  }
  member.resolution = entry.resolution;
  member.weight = entry.weight;
  member.problem = std::move(problem);
  return member;
}

namespace {

std::vector<DatasetMember> open_members(const DataConfig& config, const std::vector<DataEntry>& entries, Split default_split,
                                        const std::string& key) {
  std::vector<DatasetMember> members;
  for (std::size_t index = 0; index < entries.size(); ++index) {
    const DataEntry& entry = entries[index];
    members.push_back(for_entry(key, index, [&] {
      check_entry(config, entry, default_split);
      Problem problem = problem_of(config, entry);
      if (entry.has_axes_of_model) require_certain_axes(entry, problem);
      return open_member(std::move(problem), entry, default_split);
    }));
  }
  return members;
}

}  // namespace

std::vector<Dataset> open_each(const DataConfig& config, const std::vector<DataEntry>& entries, Split default_split,
                               const std::string& key) {
  std::vector<Dataset> sets;
  for (DatasetMember& member : open_members(config, entries, default_split, key)) sets.push_back(Dataset({std::move(member)}));
  return sets;
}

Dataset open_dataset(const DataConfig& config, const std::vector<DataEntry>& entries, Split default_split, const std::string& key) {
  std::vector<DatasetMember> members = open_members(config, entries, default_split, key);
  if (members.empty()) throw ConfigError(concat(key, ": is empty; name at least one data set"));
  return Dataset(std::move(members));
}

Dataset open_frames(Problem problem, const std::string& path, std::int64_t trajectory, const std::vector<FramePair>& pairs) {
  if (trajectory < 0 || trajectory == std::numeric_limits<std::int64_t>::max()) {
    throw ConfigError(concat("trajectory ", trajectory, ": ", path, " has none of this number; they are counted from 0"));
  }
  DataEntry entry;
  entry.problem = problem.name;
  entry.path = path;
  entry.trajectories = {trajectory, trajectory + 1};
  problem.times = {.max_num_time_steps = 1, .time_step_size = 1, .allowed_time_transitions = {}, .fix_input_to_time_step = {}};
  return Dataset({open_member(std::move(problem), entry, Split::test)}).with_pairs(pairs);
}

void check_data_config(const DataConfig& config, const ConfigValue& document) {
  const auto check_list = [&](const std::vector<DataEntry>& entries, Split split, const char* key) {
    for (std::size_t index = 0; index < entries.size(); ++index) {
      try {
        check_entry(config, entries[index], split);
      } catch (const ConfigError& error) {
        throw config_error(document, concat(key, "[", index, "]"), error.what());
      }
    }
  };
  check_list(config.train, Split::train, "data.train");
  check_list(config.validation, Split::validation, "data.validation");
}

}  // namespace trident
