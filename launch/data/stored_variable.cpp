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

void StoredVariable::read(std::int64_t row, const Place& place, int first, int count, const FieldWindow& window, float* target) const {
  const auto& [rows, columns] = window.rectangle;
  const std::int64_t ny = has('y') ? window.ny() : 1, nx = has('x') ? window.nx() : 1, points = ny * nx, values = points * count;
  if (values == 0) return;
  Shape start, counts, stride;
  for (const char axis : axes_) {
    start.push_back(axis == 'n' ? row : axis == 't' ? place.frame : axis == 'c' ? first : axis == 'y' ? rows.first : columns.first);
    counts.push_back(axis == 'c' ? count : axis == 'y' ? ny : axis == 'x' ? nx : 1);
    stride.push_back(axis == 'y' || axis == 'x' ? window.stride : 1);
  }
  try {
    dataset_.read(start, counts, target, stride);
  } catch (const DataError& error) {
    throw DataError(concat(where(row, place), ": cannot be read: ", error.what()));
  }
  const bool transposed = axes_.ends_with("xy");
  const float* bad = std::find_if(target, target + values, [](float value) { return !std::isfinite(value); });
  if (bad != target + values) {
    const std::int64_t point = (bad - target) % points, slow = point / (transposed ? ny : nx), fast = point % (transposed ? ny : nx);
    const std::int64_t first_slow = transposed ? columns.first : rows.first, first_fast = transposed ? rows.first : columns.first;
    throw DataError(concat(where(row, place), ", channel ", first + (bad - target) / points, ", point (", first_slow + slow * window.stride,
                           ", ", first_fast + fast * window.stride, "): found ", *bad,
                           ", expected finite numbers; repair the file or leave the trajectory out"));
  }
  if (!transposed) return;
  std::vector<float> scratch;
  for (int channel = 0; channel < count; ++channel) transpose(target + channel * points, nx, ny, scratch);
}

}  // namespace trident
