/// Sums over space whose roots are norms of fields (leading..., space...): one number for each leading index.
#pragma once

#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

/// The sums of |x|^p over the last `axes` axes: the leading extents of x. Gradient at 0: 0.
Tensor power_sums(const Tensor& x, int axes, double p);

/// The neighbours of a field's first and last points along one axis: extents as the field's, 1 along the axis. Undefined: the field is
/// periodic there.
struct Neighbours {
  Tensor before, after;
};
/// The sums of x^2 and of the squares of all first derivatives over the last spacings.size() (1 to 3) axes. Derivatives are central
/// differences, (next - previous) / (2 spacing). `neighbours`: one per axis, or none for a periodic field.
Tensor sobolev_sums(const Tensor& x, const std::vector<double>& spacings, const std::vector<Neighbours>& neighbours = {});
/// Neighbours that make the differences at both ends of `axis` (negative: from the back) the one-sided ones of third order,
/// (-11 x0 + 18 x1 - 9 x2 + 2 x3) / (6 spacing). Throws ShapeError for fewer than 4 points.
Neighbours one_sided_neighbours(const Tensor& x, int axis);

}  // namespace trident
