/// Where fields come from: the trajectories of one data set, read frame by frame. One implementation per layout of files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/box.h"
#include "launch/data/data_config.h"
#include "models/problem.h"
#include "runtime/tensor/shape.h"

namespace trident {

/// Consecutive channels of one variable of a problem.
struct ChannelRun {
  std::size_t variable = 0;  // in Problem::variables
  int first = 0, count = 1;
};

/// The part of fields of `extents` points that lies in a rectangle of the last two axes; of fields of one dimension only its columns count.
Box box_of(const Shape& extents, const Rectangle& rectangle);

/// "64x64", for messages.
std::string spelled_points(const Shape& extents);

/// The points of a field that are read: those of a part of it, every `stride`-th along all axes from its first one on.
struct FieldWindow {
  Box part;  // of the axes of space, in the order of the array
  std::int64_t stride = 1;

  std::int64_t extent(std::size_t axis) const { return (part[axis].size() + stride - 1) / stride; }
  std::int64_t points() const;
};

class FieldSource {
 public:
  virtual ~FieldSource() = default;
  virtual std::int64_t num_trajectories() const = 0;
  virtual int num_frames() const = 0;        // 1 of a steady problem
  virtual const Shape& extents() const = 0;  // points along each axis of space
  /// "velocity: 17 files in the order of their numbers", for the log.
  virtual std::string description() const = 0;
  /// Writes the window of `run` at one frame as f32 into `target`, (channel, space...), of complex problems (channel, space..., 2); numbers
  /// without space axes fill their field. Nothing else of the field is read. Throws DataError naming file, variable, trajectory and frame
  /// if it cannot be read or is not finite.
  virtual void read(const ChannelRun& run, std::int64_t trajectory, int frame, const FieldWindow& window, float* target) const = 0;
};

/// Opens a file, or a folder of chunk files (VARIABLE_NUMBER.nc), and checks that its variables are what the problem says.
/// Throws DataError with file, variable, what was expected and what was found.
std::unique_ptr<FieldSource> open_field_source(const Problem& problem, const std::string& path, ChunkOrder order);

/// The chunk files of a variable in a folder. Throws DataError if there are none, or, in the order of numbers, if one is missing.
std::vector<std::string> chunk_files(const std::string& folder, const std::string& variable, ChunkOrder order);

}  // namespace trident
