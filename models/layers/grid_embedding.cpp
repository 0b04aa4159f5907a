#include "models/layers/grid_embedding.h"

#include <vector>

#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {

Tensor append_grid(const Tensor& x) {
  std::vector<Tensor> parts{x};
  for (int dim = 2; dim < x.rank(); ++dim) {
    const std::int64_t points = x.size(dim);
    std::vector<double> coordinates;
    for (std::int64_t i = 0; i < points; ++i) coordinates.push_back(static_cast<double>(i) / static_cast<double>(points));
    Shape along, field = x.shape();
    for (int i = 0; i < x.rank(); ++i) along.push_back(i == dim ? points : 1);
    field[1] = 1;
    const Tensor numbers = empty(along, x.dtype(), x.device());
    copy_into(numbers, from_values<double>(along, coordinates));
    parts.push_back(view::broadcast_to(numbers, field));
  }
  return concatenate(parts, 1);
}

}  // namespace trident
