#include "runtime/tensor/shape.h"

#include <algorithm>

#include "runtime/error.h"

namespace trident {

Shape::Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const std::int64_t> extents) {
  for (const std::int64_t extent : extents) push_back(extent);
}

void Shape::push_back(std::int64_t extent) {
  if (rank_ == kMaxRank) throw ShapeError("shape: more than 8 dimensions; reshape to fewer");
  extents_[static_cast<std::size_t>(rank_++)] = extent;
}

bool Shape::operator==(const Shape& other) const { return std::equal(begin(), end(), other.begin(), other.end()); }

std::int64_t numel(const Shape& shape) {
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t extent : shape) {
    if (extent < 0) throw ShapeError(concat("shape ", to_string(shape), ": an extent is negative"));
    empty = empty || extent == 0;
    // An extent of 0 does not excuse the others: strides are made of them.
    if (__builtin_mul_overflow(product, std::max<std::int64_t>(extent, 1), &product)) {
      throw ShapeError(concat("shape ", to_string(shape), ": more elements than 63 bits can count"));
    }
  }
  return empty ? 0 : product;
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  std::int64_t stride = 1;
  for (int dim = shape.rank() - 1; dim >= 0; --dim) {
    strides[dim] = stride;
    stride *= shape[dim];
  }
  return strides;
}

Shape broadcast_shape(const char* where, const Shape& a, const Shape& b) {
  Shape result = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  const int lead = result.rank() - shorter.rank();
  for (int dim = 0; dim < shorter.rank(); ++dim) {
    std::int64_t& extent = result[lead + dim];
    if (extent == 1) {
      extent = shorter[dim];
    } else if (shorter[dim] != 1 && shorter[dim] != extent) {
      throw ShapeError(concat(where, ": shapes ", to_string(a), " and ", to_string(b), " do not broadcast; extents must be equal or 1"));
    }
  }
  return result;
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (int dim = 0; dim < shape.rank(); ++dim) text += (dim ? ", " : "") + std::to_string(shape[dim]);
  return text + (shape.rank() == 1 ? ",)" : ")");
}

}  // namespace trident
