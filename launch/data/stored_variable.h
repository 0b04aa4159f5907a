/// One variable of one data file, with the meaning of its axes.
#pragma once

#include <string>

#include "launch/data/data_file.h"
#include "launch/data/field_source.h"
#include "models/problem.h"

namespace trident {

class StoredVariable {
 public:
  /// Throws DataError if the variable does not have the axes that the problem says.
  StoredVariable(const DataFile& file, const std::string& name, const Variable& variable);

  const std::string& path() const { return path_; }
  /// The extent of an axis, by its letter; 1 where the variable does not have it.
  std::int64_t extent(char axis) const;
  bool has(char axis) const { return axes_.find(axis) != std::string::npos; }

  /// What a block is, for messages: the trajectory of the whole set and the frame.
  struct Place {
    std::int64_t trajectory = 0;
    int frame = 0;
  };
  /// The window of channels [first, first + count) of row `row` at `place.frame` -> (channel, y, x), or one number. Throws DataError, also if
  /// not finite.
  void read(std::int64_t row, const Place& place, int first, int count, const FieldWindow& window, float* target) const;

 private:
  std::string where(std::int64_t row, const Place& place) const;

  std::string path_;
  std::string axes_;
  DataArray dataset_;
};

}  // namespace trident
