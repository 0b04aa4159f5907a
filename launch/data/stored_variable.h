/// One variable of one data file, with the meaning of its axes.
#pragma once

#include <string>

#include "launch/data/data_file.h"
#include "launch/data/field_source.h"
#include "models/problem.h"

namespace trident {

/// The letter of axis `axis` of fields with so many axes of space: the last one is x, the one before it y, the first of three z.
inline char space_letter(int space_axes, int axis) { return "zyx"[3 - space_axes + axis]; }

class StoredVariable {
 public:
  /// `wanted`: what read() gives. Throws DataError if the variable does not have the axes that the problem says.
  StoredVariable(const DataFile& file, const std::string& name, const Variable& variable, Numbers wanted);

  const std::string& path() const { return path_; }
  /// The extent of an axis, by its letter; 1 where the variable does not have it.
  std::int64_t extent(char axis) const;
  bool has(char axis) const { return axes_.find(axis) != std::string::npos; }

  /// What a block is, for messages: the trajectory of the whole set and the frame.
  struct Place {
    std::int64_t trajectory = 0;
    int frame = 0;
  };
  /// The window of channels [first, first + count) of row `row` at `place.frame` -> (channel, space...), or one number. Where complex
  /// numbers are wanted (channel, space..., 2), with zeros for the imaginary parts that the file does not have. Throws DataError, also if
  /// not finite.
  void read(std::int64_t row, const Place& place, int first, int count, const FieldWindow& window, float* target) const;

 private:
  std::string where(std::int64_t row, const Place& place) const;
  /// Of the block of the file at `start`.
  void require_finite(const float* values, const Shape& start, const Shape& count, const Shape& stride, std::int64_t row,
                      const Place& place) const;

  std::string path_;
  std::string axes_;
  Numbers wanted_;
  DataArray dataset_;
};

}  // namespace trident
