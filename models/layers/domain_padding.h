/// Zeros around a field while Fourier blocks see it, so that what is not periodic does not meet itself.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "models/layers/field_place.h"

namespace trident {

enum class PaddingMode { symmetric, one_sided };
inline auto config_names(PaddingMode) {
  return std::array{std::pair{PaddingMode::symmetric, "symmetric"}, std::pair{PaddingMode::one_sided, "one-sided"}};
}

class DomainPadding {
 public:
  /// `fractions` of the field's points per dimension, on each padded side, rounded half to even. Empty: no padding.
  DomainPadding(std::vector<double> fractions, PaddingMode mode) : fractions_(std::move(fractions)), mode_(mode) {}

  /// Points per dimension with the padding.
  std::vector<std::int64_t> padded(std::vector<std::int64_t> extents) const;
  /// Of `padded_extents`, once the resolution of a field of `extents` points has changed by `scaling`.
  std::vector<std::int64_t> unpadded(std::vector<std::int64_t> padded_extents, const std::vector<std::int64_t>& extents,
                                     const std::vector<double>& scaling) const;
  /// x (batch, channel, space...), or this rank's part of it -> this rank's part of the padded field.
  Tensor pad(const Tensor& x, const FieldPlace& place) const;
  /// The inverse of pad() of a field at `place`, whose resolution has changed by `scaling` per dimension since.
  Tensor unpad(const Tensor& x, const FieldPlace& place, const std::vector<double>& scaling) const;

 private:
  std::int64_t points(std::size_t dim, std::int64_t extent, double scaling = 1.0) const;
  std::int64_t before(std::int64_t after) const { return mode_ == PaddingMode::symmetric ? after : 0; }
  std::int64_t sides() const { return mode_ == PaddingMode::symmetric ? 2 : 1; }

  std::vector<double> fractions_;
  PaddingMode mode_;
};

}  // namespace trident
