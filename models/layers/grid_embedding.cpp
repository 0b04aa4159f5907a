#include "models/layers/grid_embedding.h"

#include <vector>

#include "runtime/ops/shape.h"
#include "runtime/tensor/constant.h"
#include "runtime/tensor/view.h"

namespace trident {

Tensor append_grid(const Tensor& x, const FieldPlace& place) {
  std::vector<Tensor> parts{x};
  for (int dim = 2; dim < x.rank(); ++dim) {
    const auto space = static_cast<std::size_t>(dim - 2);
    const Range own = place.own(space);
    std::vector<double> coordinates;
    for (std::int64_t i = own.first; i < own.last; ++i)
      coordinates.push_back(static_cast<double>(i) / static_cast<double>(place.extents()[space]));
    Shape along, field = x.shape();
    for (int i = 0; i < x.rank(); ++i) along.push_back(i == dim ? own.size() : 1);
    field[1] = 1;
    parts.push_back(view::broadcast_to(constant(along, coordinates, x.dtype(), x.device()), field));
  }
  return concatenate(parts, 1);
}

}  // namespace trident
