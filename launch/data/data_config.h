/// The `data:` section of the run file.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "models/problem.h"

namespace trident {

/// How chunk files of a folder follow each other: velocity_2 before velocity_10, or as strings.
enum class ChunkOrder { number, name };
inline auto config_names(ChunkOrder) { return std::array{std::pair{ChunkOrder::number, "number"}, std::pair{ChunkOrder::name, "name"}}; }

/// One data set, or a part of one. `problem` names an entry of the table; without it `input` describes data of the user's own.
struct DataEntry {
  std::optional<std::string> problem;
  std::string path;  // a file, or a folder of chunk files
  ChunkOrder chunk_order = ChunkOrder::number;
  std::optional<std::array<std::int64_t, 2>> trajectories;  // [first, past last); default: the split, or all of the user's own
  std::optional<Split> split;                               // default: the list that the entry stands in
  std::optional<std::int64_t> num_trajectories;             // of the training split: a number, or -1 all, -2 half, -8 an eighth
  std::optional<double> weight;                             // sampling probability, normalised over entries
  bool just_velocities = false;                             // without density and pressure
  std::optional<int> resolution;                            // points per side after Fourier downsampling
  // Override the section's settings.
  std::optional<int> max_num_time_steps, time_step_size, fix_input_to_time_step;
  std::optional<std::vector<int>> allowed_time_transitions;
  // Data of the user's own: variables (trajectory, [channel], space...), with the frames at axis `time_axis`.
  std::optional<std::string> input, output;      // variables; output defaults to input
  std::optional<int> time_axis;                  // null: steady
  std::optional<int> space_axes;                 // 1 to 3: (x), (y, x), (z, y, x); null: the model's, or 2
  std::optional<bool> complex;                   // true: also pairs on a last axis; null: the model's, or as they are stored
  std::vector<std::string> channels;             // names, of the output
  std::vector<std::vector<std::string>> groups;  // of the loss; default: each channel by itself
  std::vector<double> mean, std;                 // of the output's channels; default: 0 and 1
  std::vector<double> mean_imag;                 // of complex ones; default: 0
  std::vector<std::string> input_channels;       // default: as the output's
  std::vector<double> input_mean, input_std, input_mean_imag;
  std::optional<double> time_scale;  // frames, default 1; of a steady set: given, every sample has the lead time 1
  bool has_axes_of_model = false;    // no key: space_axes was not given, and is the model's

  static void visit(auto& self, auto& v) {
    v("problem", self.problem), v("path", self.path), v("chunk_order", self.chunk_order), v("trajectories", self.trajectories);
    v("split", self.split), v("num_trajectories", self.num_trajectories), v("weight", self.weight);
    v("just_velocities", self.just_velocities), v("resolution", self.resolution);
    v("max_num_time_steps", self.max_num_time_steps), v("time_step_size", self.time_step_size);
    v("fix_input_to_time_step", self.fix_input_to_time_step), v("allowed_time_transitions", self.allowed_time_transitions);
    v("input", self.input), v("output", self.output), v("time_axis", self.time_axis);
    v("space_axes", self.space_axes), v("complex", self.complex), v("channels", self.channels);
    v("groups", self.groups), v("mean", self.mean), v("std", self.std), v("mean_imag", self.mean_imag);
    v("input_channels", self.input_channels), v("input_mean", self.input_mean), v("input_std", self.input_std);
    v("input_mean_imag", self.input_mean_imag), v("time_scale", self.time_scale);
  }
};

/// given: by the constants of the problem, or of the entry. fitted: each channel to mean 0 and deviation 1 over the samples of data.train.
enum class Normalization { given, fitted };
inline auto config_names(Normalization) {
  return std::array{std::pair{Normalization::given, "given"}, std::pair{Normalization::fitted, "fitted"}};
}

struct DataConfig {
  std::vector<DataEntry> train, validation;
  std::optional<int> time_step_size, max_num_time_steps;  // default: the problem's
  std::optional<std::vector<int>> allowed_time_transitions;
  std::optional<int> fix_input_to_time_step;
  bool shuffle = true;
  Normalization normalization = Normalization::given;  // of data of the user's own

  static void visit(auto& self, auto& v) {
    v("train", self.train), v("validation", self.validation), v("time_step_size", self.time_step_size);
    v("max_num_time_steps", self.max_num_time_steps), v("allowed_time_transitions", self.allowed_time_transitions);
    v("fix_input_to_time_step", self.fix_input_to_time_step), v("shuffle", self.shuffle);
    v("normalization", self.normalization);
  }
};

}  // namespace trident
