#include "models/layers/domain_padding.h"

#include <cmath>

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

Tensor DomainPadding::pad(const Tensor& x, const FieldPlace& place) const {
  if (fractions_.empty()) return x;
  std::vector<std::int64_t> before, after;
  for (std::size_t dim = 0; dim < fractions_.size(); ++dim) {
    after.push_back(points(dim, place.extents()[dim]));
    before.push_back(this->before(after.back()));
  }
  return place.padded(x, before, after);
}

Tensor DomainPadding::unpad(const Tensor& x, const FieldPlace& place, const std::vector<double>& scaling) const {
  if (fractions_.empty()) return x;
  std::vector<std::int64_t> extents = place.extents(), before, after;
  for (std::size_t dim = 0; dim < fractions_.size(); ++dim) {
    after.push_back(points(dim, extents[dim], scaling[dim]));
    before.push_back(this->before(after.back()));
    // Where nothing is shared out the resolution may have changed, and what is not padding is left.
    if (place.is_whole()) extents[dim] = x.size(static_cast<int>(dim) + 2) - before.back() - after.back();
  }
  return place.of(extents).unpadded(x, before, after);
}

}  // namespace trident
