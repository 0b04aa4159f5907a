/// Where this rank's part of a field (batch, channel, space...) lies in the whole one, and how parts of different extents change hands. The
/// ranks of domain_y x domain_x share the last two dimensions of space (the only one, along x); what is before them is whole.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/domain.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// The place of this rank's part, where Domain::rectangle puts it.
class FieldPlace {
 public:
  /// `extents`: points of the whole field per dimension of space.
  FieldPlace(Domain domain, std::vector<std::int64_t> extents);

  const Mesh& mesh() const { return domain_.mesh(); }
  bool is_whole() const { return domain_.ranks() == 1; }
  const std::vector<std::int64_t>& extents() const { return extents_; }
  double points() const;  // of the whole field
  /// Indices along dimension `dim` of space that this rank has.
  Range own(std::size_t dim) const;
  /// This rank's part of another field on the same ranks.
  FieldPlace of(std::vector<std::int64_t> extents) const { return {domain_, std::move(extents)}; }

  /// x, this rank's part, with so many more points per dimension before and after it: other ranks' points, or zeros outside of the field.
  Tensor with_margin(const Tensor& x, std::int64_t before, std::int64_t after) const;
  /// Of a field with so many zeros before and after it per dimension: this rank's part.
  Tensor padded(const Tensor& x, const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after) const;
  /// The inverse, which drops what padded() added; x is this rank's part of the padded field.
  Tensor unpadded(const Tensor& x, const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after) const;

 private:
  std::int64_t rows() const { return extents_.size() == 1 ? 1 : extents_[extents_.size() - 2]; }
  bool has_rows() const { return extents_.size() > 1; }
  ExchangePlan padding_plan(const FieldPlace& wide, std::int64_t samples, std::int64_t rows_before, std::int64_t columns_before) const;
  FieldPlace padded_place(const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after) const;

  Domain domain_;
  std::vector<std::int64_t> extents_;
  Rectangle own_;
};

/// x (..., rows, columns) by a plan whose sites hold one number -> (..., those rows and columns). Nothing of an empty box has extents in
/// the plan.
Tensor moved(const Mesh& mesh, const ExchangePlan& plan, const Tensor& x, std::int64_t rows, std::int64_t columns);

}  // namespace trident
