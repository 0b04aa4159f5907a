#include "models/layers/domain_padding.h"

#include <cmath>

#include "runtime/ops/shape.h"

namespace trident {

/// Of one side; `scaling` is applied to the rounded number, and rounded again.
std::int64_t DomainPadding::points(std::size_t dim, std::int64_t extent, double scaling) const {
  return static_cast<std::int64_t>(std::nearbyint(scaling * std::nearbyint(fractions_[dim] * static_cast<double>(extent))));
}

std::vector<std::int64_t> DomainPadding::padded(std::vector<std::int64_t> extents) const {
  for (std::size_t dim = 0; dim < fractions_.size(); ++dim) extents[dim] += sides() * points(dim, extents[dim]);
  return extents;
}

std::vector<std::int64_t> DomainPadding::unpadded(std::vector<std::int64_t> padded_extents, const std::vector<std::int64_t>& extents,
                                                  const std::vector<double>& scaling) const {
  for (std::size_t dim = 0; dim < fractions_.size(); ++dim) padded_extents[dim] -= sides() * points(dim, extents[dim], scaling[dim]);
  return padded_extents;
}

Tensor DomainPadding::pad(const Tensor& x) const {
  Tensor y = x;
  for (std::size_t dim = 0; dim < fractions_.size(); ++dim) {
    const int axis = static_cast<int>(dim) + 2;
    const std::int64_t after = points(dim, x.size(axis));
    if (after > 0) y = trident::pad(y, axis, mode_ == PaddingMode::symmetric ? after : 0, after);
  }
  return y;
}

Tensor DomainPadding::unpad(const Tensor& x, const std::vector<std::int64_t>& extents, const std::vector<double>& scaling) const {
  Tensor y = x;
  for (std::size_t dim = 0; dim < fractions_.size(); ++dim) {
    const std::int64_t after = points(dim, extents[dim], scaling[dim]);
    const int axis = static_cast<int>(dim) + 2;
    if (after > 0) y = slice(y, axis, mode_ == PaddingMode::symmetric ? after : 0, y.size(axis) - after);
  }
  return y;
}

}  // namespace trident
