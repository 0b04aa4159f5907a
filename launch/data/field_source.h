/// Where fields come from: the trajectories of one data set, read frame by frame. One implementation per layout of files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launch/data/data_config.h"
#include "models/problem.h"
#include "parallel/range.h"

namespace trident {

/// Consecutive channels of one variable of a problem.
struct ChannelRun {
  std::size_t variable = 0;  // in Problem::variables
  int first = 0, count = 1;
};

inline Rectangle whole_field(std::int64_t ny, std::int64_t nx) { return {.rows = {0, ny}, .columns = {0, nx}}; }

/// The points of a field that are read: those of a rectangle, every `stride`-th along both axes from its first one on.
struct FieldWindow {
  Rectangle rectangle;
  std::int64_t stride = 1;

  std::int64_t ny() const { return (rectangle.rows.size() + stride - 1) / stride; }
  std::int64_t nx() const { return (rectangle.columns.size() + stride - 1) / stride; }
};

class FieldSource {
 public:
  virtual ~FieldSource() = default;
  virtual std::int64_t num_trajectories() const = 0;
  virtual int num_frames() const = 0;  // 1 of a steady problem
  virtual std::int64_t ny() const = 0;
  virtual std::int64_t nx() const = 0;
  /// "velocity: 17 files in the order of their numbers", for the log.
  virtual std::string description() const = 0;
  /// Writes the window of `run` at one frame as f32 into `target`, (channel, y, x); numbers without space axes fill their field. Nothing
  /// else of the field is read. Throws DataError naming file, variable, trajectory and frame if it cannot be read or is not finite.
  virtual void read(const ChannelRun& run, std::int64_t trajectory, int frame, const FieldWindow& window, float* target) const = 0;
};

/// Opens a file, or a folder of chunk files (VARIABLE_NUMBER.nc), and checks that its variables are what the problem says.
/// Throws DataError with file, variable, what was expected and what was found.
std::unique_ptr<FieldSource> open_field_source(const Problem& problem, const std::string& path, ChunkOrder order);

/// The chunk files of a variable in a folder. Throws DataError if there are none, or, in the order of numbers, if one is missing.
std::vector<std::string> chunk_files(const std::string& folder, const std::string& variable, ChunkOrder order);

}  // namespace trident
