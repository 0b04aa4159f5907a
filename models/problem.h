/// Problems: what the fields of a data set are, as models, files and the service need to know it.
///
/// Every published set is one entry of the table in problem_table.cpp; data of a user's own become a Problem too (launch/data).
/// A name may end in `.tracer` (one more channel), `.time` (a steady problem with lead time 1), `.out` (time settings that reach past the
/// training horizon), in any order.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/config.h"
#include "runtime/ops/reduce.h"

namespace trident {

/// Where a channel's numbers come from.
enum class Source {
  file,
  constant,           // `value` everywhere
  kolmogorov_forcing  // 0.1 sin(2 pi (x + y)) on points i / (n - 1), both ends included
};
inline auto config_names(Source) {
  return std::array{std::pair{Source::file, "file"}, std::pair{Source::constant, "constant"},
                    std::pair{Source::kolmogorov_forcing, "kolmogorov_forcing"}};
}

/// One channel, and how its physical values become the model's numbers: (value - shift - mean) / std.
struct Channel {
  std::string name{};
  Source source = Source::file;
  std::string variable{};  // of the file
  int index = 0;           // on the variable's channel axis
  double value = 0.0;      // of a constant channel, physical
  double shift = 0.0;      // removed from the data before they are normalised (the mean pressure of the compressible sets)
  double mean = 0.0, std = 1.0;
  double mean_imag = 0.0;  // of complex fields: the mean's imaginary part
  bool masked = false;     // not predicted: outputs take the label, or `value` where there is none

  static void visit(auto& self, auto& v) {
    v("name", self.name), v("source", self.source), v("variable", self.variable), v("index", self.index), v("value", self.value);
    v("shift", self.shift), v("mean", self.mean), v("std", self.std), v("mean_imag", self.mean_imag);
    v("masked", self.masked);
  }
};

/// One variable of a file and the meaning of its axes, in the order of the file: n trajectory, t frame, c channel, z, y and x the axes -3,
/// -2 and -1 of our fields, p (the last one) real and imaginary part. PDEgym calls our y "x" and our x "y"; "ntcxy" is a set that is
/// transposed when it is read.
struct Variable {
  std::string name{};
  std::string axes{};  // "ntcyx"; "" for a number

  static void visit(auto& self, auto& v) { v("name", self.name), v("axes", self.axes); }
};

/// Which pairs of frames of a trajectory are samples.
struct TimeSettings {
  int max_num_time_steps = 7;
  int time_step_size = 2;  // frames
  std::optional<std::vector<int>> allowed_time_transitions{};
  std::optional<int> fix_input_to_time_step{};

  static void visit(auto& self, auto& v) {
    v("max_num_time_steps", self.max_num_time_steps), v("time_step_size", self.time_step_size);
    v("allowed_time_transitions", self.allowed_time_transitions), v("fix_input_to_time_step", self.fix_input_to_time_step);
  }
};

struct FramePair {
  int first = 0, second = 0;
  bool operator==(const FramePair&) const = default;
};
/// The pairs in the order of the samples. Throws ConfigError on settings that cannot be meant, or that leave no pair.
std::vector<FramePair> frame_pairs(const TimeSettings& settings);

/// Trajectories of the published set, by position: training from 0, then validation, the test set last.
struct Splits {
  std::int64_t total = 0, validation = 0, test = 0;

  static void visit(auto& self, auto& v) { v("total", self.total), v("validation", self.validation), v("test", self.test); }
};

enum class Split { train, validation, test };
inline auto config_names(Split) {
  return std::array{std::pair{Split::train, "train"}, std::pair{Split::validation, "validation"}, std::pair{Split::test, "test"}};
}

/// Trajectories [first, last).
struct TrajectoryRange {
  std::int64_t first = 0, last = 0;
  bool operator==(const TrajectoryRange&) const = default;
};
/// `num_trajectories` limits the training set: a number, or -1, -2, -8 for all, half, an eighth of it. Throws ConfigError.
TrajectoryRange trajectories_of(const Splits& splits, Split split, std::int64_t num_trajectories = -1);

/// What is not predicted.
enum class MaskRule {
  none,
  channels,     // by Channel::masked; a mask that is false everywhere counts
  input_is_one  // per point: where the input is exactly 1 (the airfoil); labels are 1 there
};
inline auto config_names(MaskRule) {
  return std::array{std::pair{MaskRule::none, "none"}, std::pair{MaskRule::channels, "channels"},
                    std::pair{MaskRule::input_is_one, "input_is_one"}};
}

struct Problem {
  std::string name{};
  std::vector<Variable> variables{};
  std::string sample_groups{};             // "Sample_": trajectory i lies in the HDF5 group Sample_i; empty: variables lie at the root
  int space_axes = 2;                      // of its fields
  bool complex = false;                    // its numbers are
  std::vector<Channel> input{}, output{};  // of the model
  std::vector<int> group_sizes{};          // channels of each group of the loss, in order
  MaskRule mask = MaskRule::none;
  bool steady = false;                 // no frames: one sample a trajectory
  std::optional<double> time_scale{};  // frames; the model's time is lead time / scale. A steady problem has none, or lead time 1
  TimeSettings times{};
  Splits splits{};  // zeros: not a published set

  static void visit(auto& self, auto& v) {
    v("name", self.name), v("variables", self.variables), v("sample_groups", self.sample_groups);
    v("space_axes", self.space_axes), v("complex", self.complex);
    v("input", self.input), v("output", self.output), v("group_sizes", self.group_sizes), v("mask", self.mask);
    v("steady", self.steady), v("time_scale", self.time_scale), v("times", self.times);
    v("splits", self.splits);
  }
};

/// The table's names without endings, for messages and help.
std::vector<std::string> problem_names();
/// A problem of the table by our name or the reference's ("fluids.incompressible.Sines"), with any endings. Throws ConfigError with the
/// nearest name, or if the problem has no such ending.
Problem find_problem(std::string_view name);
/// Without the constant channels (rho, p) of the incompressible sets. Throws ConfigError where there are none.
Problem velocities_only(const Problem& problem);

std::vector<ChannelGroup> channel_groups(const Problem& problem);
/// "rho", "uv", "p".
std::vector<std::string> group_names(const Problem& problem);

/// For trident.json; problem_from_config() is the inverse.
ConfigValue to_config(const Problem& problem);
Problem problem_from_config(const ConfigValue& value);

}  // namespace trident
