#include "launch/data/stored_variable.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// "(trajectory, frame, channel, y, x)".
std::string spelled(const std::string& axes) {
  std::string text;
  for (const char axis : axes) {
    text += text.empty() ? "" : ", ";
    text += axis == 'n' ? "trajectory" : axis == 't' ? "frame" : axis == 'c' ? "channel" : axis == 'p' ? "2" : std::string(1, axis);
  }
  return "(" + text + ")";
}

/// The axes of a field in our order.
constexpr std::string_view kFieldAxes = "czyxp";

/// For each axis of a field, in our order, the position that it has among those of the file.
Shape order_of(const std::string& axes) {
  std::string stored;
  for (const char axis : axes) {
    if (kFieldAxes.find(axis) != std::string_view::npos) stored += axis;
  }
  Shape order;
  for (const char axis : kFieldAxes) {
    const std::size_t position = stored.find(axis);
    if (position != std::string::npos) order.push_back(static_cast<std::int64_t>(position));
  }
  return order;
}

/// Real numbers that stand at the beginning of `values` become complex ones.
void add_imaginary_parts(float* values, std::int64_t count) {
  for (std::int64_t k = count - 1; k >= 0; --k) {
    values[2 * k] = values[k];
    values[2 * k + 1] = 0.0F;
  }
}

}  // namespace

StoredVariable::StoredVariable(const DataFile& file, const std::string& name, const Variable& variable, Numbers wanted)
    : path_(file.path()), axes_(variable.axes), wanted_(wanted), dataset_(file.array(name)) {
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

namespace {

/// Without a way out in the middle, so that vectors of numbers are looked at.
bool all_finite(const float* values, std::int64_t count) {
  int others = 0;
  for (std::int64_t i = 0; i < count; ++i) others |= std::isfinite(values[i]) ? 0 : 1;
  return others == 0;
}

}  // namespace

void StoredVariable::require_finite(const float* values, const Shape& start, const Shape& count, const Shape& stride, std::int64_t row,
                                    const Place& place) const {
  if (all_finite(values, numel(count))) return;
  const float* const bad = std::find_if(values, values + numel(count), [](float value) { return !std::isfinite(value); });
  std::int64_t position = bad - values, channel = 0;
  std::string point;
  for (int dim = count.rank() - 1; dim >= 0; position /= count[dim], --dim) {
    const char axis = axes_[static_cast<std::size_t>(dim)];
    const std::int64_t index = start[dim] + position % count[dim] * stride[dim];
    if (axis == 'c') channel = index;
    if (axis == 'z' || axis == 'y' || axis == 'x') point = concat(index, point.empty() ? "" : ", ", point);
  }
  throw DataError(concat(where(row, place), ", channel ", channel, ", point (", point, "): found ", *bad,
                         ", expected finite numbers; repair the file or leave the trajectory out"));
}

void StoredVariable::read(std::int64_t row, const Place& place, int first, int count, const FieldWindow& window, float* target) const {
  Shape start, counts, stride, block;  // of the file's axes, and of those of the field
  for (const char axis : axes_) {
    const std::size_t from_last = std::string_view("xyz").find(axis);
    const bool is_space = from_last != std::string_view::npos, is_single = axis == 'n' || axis == 't';
    const std::size_t number = is_space ? window.part.size() - 1 - from_last : 0;
    start.push_back(axis == 'n' ? row : axis == 't' ? place.frame : axis == 'c' ? first : is_space ? window.part[number].first : 0);
    counts.push_back(is_single ? 1 : axis == 'c' ? count : is_space ? window.extent(number) : 2);
    stride.push_back(is_space ? window.stride : 1);
    if (!is_single) block.push_back(counts[counts.rank() - 1]);
  }
  const std::int64_t values = numel(counts);
  if (values == 0) return;
  const Shape order = order_of(axes_);
  const bool in_order = std::is_sorted(order.begin(), order.end());
  const Tensor other = in_order ? Tensor{} : empty(block, DType::f32);
  float* const read = in_order ? target : other.data<float>();
  try {
    dataset_.read(start, counts, read, stride);
  } catch (const DataError& error) {
    throw DataError(concat(where(row, place), ": cannot be read: ", error.what()));
  }
  require_finite(read, start, counts, stride, row, place);
  if (!in_order) {
    const Tensor turned = view::permute(other, order);
    copy_into(from_memory(target, turned.shape(), DType::f32, nullptr), turned);
  }
  if (wanted_ == Numbers::complex && !has('p')) add_imaginary_parts(target, values);
}

}  // namespace trident
