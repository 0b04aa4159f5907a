/// The tokens of one level on their way through its blocks, on the ranks of the tensor axis.
#pragma once

#include <optional>

#include "models/module.h"
#include "runtime/ops/layer_norm.h"

namespace trident {

/// Products read whole grids of tokens (batch, y, x, width), every rank's its own heads or columns. What stands between products is done
/// alike by all ranks, or by each for a share of the tokens (rows, width), as the pass says.
class TokenStream {
 public:
  /// `tokens`: the shape of the whole grids.
  TokenStream(const Mesh& mesh, TokensBetween between, const Shape& tokens);

  /// What this rank keeps of a grid that every rank has.
  Tensor kept(const Tensor& whole) const;
  CarriedSum kept(const CarriedSum& whole) const;
  /// The grid of which every rank keeps its part.
  Tensor whole(const Tensor& kept) const;
  /// What this rank keeps of the sum of the ranks' addends (whole grids).
  Tensor sum(const Tensor& addend) const;
  /// Whether sum() and whole() leave tokens as they are.
  bool is_whole() const { return mesh_.size(Axis::tensor) == 1; }
  std::int64_t samples() const { return shape_[0]; }
  /// Which tokens it keeps; nothing if all.
  const std::optional<SampleRows>& part() const { return part_; }

 private:
  Mesh mesh_;
  Shape shape_;
  std::vector<std::int64_t> counts_;  // of tokens, by rank
  std::optional<SampleRows> part_;
};

}  // namespace trident
