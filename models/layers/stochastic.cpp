#include "models/layers/stochastic.h"

#include <algorithm>

#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"

namespace trident {

Tensor drop_elements(const Tensor& x, double probability, const Pass& pass, std::string_view site) {
  if (pass.mode == Mode::eval || probability == 0.0) return x;
  // A rank without samples records the same operations as the others.
  const std::int64_t elements_per_sample = x.numel() / std::max<std::int64_t>(1, x.size(0));
  return dropout(x, probability, pass.key.fold(site), pass.first_sample * elements_per_sample);
}

Tensor drop_elements(const Tensor& x, double probability, const Pass& pass, std::string_view site, const FieldPlace& place) {
  if (place.is_whole() || pass.mode == Mode::eval || probability == 0.0) return drop_elements(x, probability, pass, site);
  const std::size_t dims = place.extents().size();
  const Range rows = dims == 1 ? Range{0, 1} : place.own(dims - 2), columns = place.own(dims - 1);
  std::int64_t planes = x.size(1);  // of a sample
  for (std::size_t dim = 0; dim + 2 < dims; ++dim) planes *= place.extents()[dim];
  const TokenPlaces places{.rows = rows.size(),
                           .columns = columns.size(),
                           .first_sample = pass.first_sample * planes,
                           .first_row = rows.first,
                           .first_column = columns.first,
                           .grid_rows = dims == 1 ? 1 : place.extents()[dims - 2],
                           .grid_columns = place.extents().back()};
  return reshape(dropout(reshape(x, {x.size(0) * planes, rows.size(), columns.size(), 1}), probability, pass.key.fold(site), places),
                 x.shape());
}

Tensor drop_elements(const Tensor& x, double probability, const Pass& pass, std::string_view site, const WindowLevel& level,
                     const std::optional<SampleRows>& part) {
  if (pass.mode == Mode::eval || probability == 0.0) return x;
  return dropout(x, probability, pass.key.fold(site),
                 TokenPlaces{.rows = level.own.rows.size(),
                             .columns = level.own.columns.size(),
                             .first = part ? part->first : 0,
                             .first_sample = pass.first_sample,
                             .first_row = level.own.rows.first,
                             .first_column = level.own.columns.first,
                             .grid_rows = level.grid.rows,
                             .grid_columns = level.grid.columns});
}

Tensor drop_path_factor(std::int64_t batch, double probability, const Pass& pass, std::string_view site, Device device) {
  if (pass.mode == Mode::eval || probability == 0.0) return {};
  return dropout(full({batch, 1}, 1.0, parameter_type(pass.precision), device), probability, pass.key.fold(site), pass.first_sample);
}

}  // namespace trident
