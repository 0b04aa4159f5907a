#include "launch/data/stored_variable.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/error.h"

namespace trident {
namespace {

/// "(trajectory, frame, channel, y, x)".
std::string spelled(const std::string& axes) {
  std::string text;
  for (const char axis : axes) {
    text += text.empty() ? "" : ", ";
    text += axis == 'n' ? "trajectory" : axis == 't' ? "frame" : axis == 'c' ? "channel" : std::string(1, axis);
  }
  return "(" + text + ")";
}

void transpose(float* field, std::int64_t rows, std::int64_t columns, std::vector<float>& scratch) {
  scratch.assign(field, field + rows * columns);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column)
      field[column * rows + row] = scratch[static_cast<std::size_t>(row * columns + column)];
  }
}

}  // namespace

StoredVariable::StoredVariable(const DataFile& file, const std::string& name, const Variable& variable)
    : path_(file.path()), axes_(variable.axes), dataset_(file.array(name)) {
  const Shape& shape = dataset_.shape();
  const bool empty = std::any_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent == 0; });
  if (shape.rank() != static_cast<int>(axes_.size()) || empty) {
    throw DataError(concat(path_, ": variable \"", name, "\" has the shape ", to_string(shape), ", expected ", axes_.size(), " axes ",
                           spelled(axes_), empty ? " without an extent of 0" : "", "; check that the file belongs to the problem"));
  }
}

std::int64_t StoredVariable::extent(char axis) const {
  const std::size_t position = axes_.find(axis);
  return position == std::string::npos ? 1 : dataset_.shape()[static_cast<int>(position)];
}

std::string StoredVariable::where(std::int64_t row, const Place& place) const {
  std::string text = concat(path_, ": variable \"", dataset_.name(), "\", trajectory ", place.trajectory);
  if (has('n') && row != place.trajectory) text += concat(" (row ", row, " of this file)");
  if (has('t')) text += concat(", frame ", place.frame);
  return text;
}

void StoredVariable::read(std::int64_t row, const Place& place, int first, int count, float* target) const {
  Shape start, counts;
  for (const char axis : axes_) {
    start.push_back(axis == 'n' ? row : axis == 't' ? place.frame : axis == 'c' ? first : 0);
    counts.push_back(axis == 'c' ? count : axis == 'y' || axis == 'x' ? extent(axis) : 1);
  }
  try {
    dataset_.read(start, counts, target);
  } catch (const DataError& error) {
    throw DataError(concat(where(row, place), ": cannot be read: ", error.what()));
  }
  const std::int64_t points = extent('y') * extent('x'), values = points * count;
  const float* bad = std::find_if(target, target + values, [](float value) { return !std::isfinite(value); });
  if (bad != target + values) {
    throw DataError(concat(where(row, place), ", channel ", first + (bad - target) / points, ", point (",
                           (bad - target) % points / extent('x'), ", ", (bad - target) % extent('x'), "): found ", *bad,
                           ", expected finite numbers; repair the file or leave the trajectory out"));
  }
  if (!axes_.ends_with("xy")) return;
  std::vector<float> scratch;
  for (int channel = 0; channel < count; ++channel) transpose(target + channel * points, extent('x'), extent('y'), scratch);
}

}  // namespace trident
