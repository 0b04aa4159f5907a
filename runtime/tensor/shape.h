/// Extents of a tensor, and the arithmetic on them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

namespace trident {

/// Up to 8 extents, stored in place: making one costs no allocation. Also used for strides (in elements).
class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);  // throws ShapeError past 8
  explicit Shape(const std::vector<std::int64_t>& extents) : Shape(std::span(extents)) {}

  int rank() const { return rank_; }
  std::int64_t operator[](int dim) const { return extents_[static_cast<std::size_t>(dim)]; }
  std::int64_t& operator[](int dim) { return extents_[static_cast<std::size_t>(dim)]; }
  const std::int64_t* begin() const { return extents_.data(); }
  const std::int64_t* end() const { return extents_.data() + rank_; }
  std::int64_t* begin() { return extents_.data(); }
  std::int64_t* end() { return extents_.data() + rank_; }
  void push_back(std::int64_t extent);
  bool operator==(const Shape& other) const;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// Product of the extents; throws ShapeError if it does not fit in 63 bits.
std::int64_t numel(const Shape& shape);
/// Row-major strides in elements.
Shape contiguous_strides(const Shape& shape);
/// The shape that both broadcast to by NumPy's rules; throws ShapeError naming `where` if there is none.
Shape broadcast_shape(const char* where, const Shape& a, const Shape& b);
/// "(4, 1024, 96)"
std::string to_string(const Shape& shape);

}  // namespace trident
