#include "models/mg_tfno/multigrid_patches.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/error.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/constant.h"

namespace trident {
namespace {

constexpr int kMostLevels = 3;

/// One axis of the field under one level's windows.
struct Axis1D {
  std::int64_t points, patch, padding, factor;  // factor: every factor-th point
  BeyondEdge mode;

  /// Point `place` of the window of patch `index`; below 0: none.
  std::int64_t operator()(std::int64_t index, std::int64_t place) const {
    const std::int64_t coarse = points / factor, step = patch / factor, centring = (patch - step + 1) / 2;
    const std::int64_t at = index * step + place - centring - padding;
    if (mode == BeyondEdge::periodic) return factor * (((at % coarse) + coarse) % coarse);
    if (mode == BeyondEdge::edge) return factor * std::clamp<std::int64_t>(at, 0, coarse - 1);
    return at < 0 || at >= coarse ? -1 : factor * at;
  }
};

void check_size(const char* axis, std::int64_t points, std::int64_t levels) {
  const std::int64_t unit = std::int64_t{1} << (2 * levels);
  if (points >= 2 * unit && points % unit == 0) return;
  const std::int64_t below = std::max(2 * unit, points / unit * unit), above = std::max(2 * unit, (points + unit - 1) / unit * unit);
  throw ConfigError(
      concat("mg_tfno: ", points, " ", axis, " cannot be cut by ", levels, " levels, which need a multiple of ", unit, " from ", 2 * unit,
             " on; the nearest that work: ", below == above ? concat(above) : concat(below, " and ", above), ". Or change model.levels"));
}

std::int64_t padding_of(const char* axis, std::int64_t points, double fraction) {
  if (!(fraction >= 0.0 && fraction <= 1.0)) {
    throw ConfigError(
        concat("mg_tfno: model.padding_fraction is ", fraction, " of the ", axis, "; it must be from 0 to 1, for example 0.1"));
  }
  return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(points) * fraction));  // half to even, as the reference rounds
}

template <class Points>
std::shared_ptr<const WindowIndices> windows_of(const PatchGrid& grid, Range units, std::int64_t levels, std::int64_t rows,
                                                std::int64_t columns, Points points) {
  auto windows = std::make_shared<WindowIndices>();
  windows->levels = levels;
  windows->rows = rows;
  windows->columns = columns;
  for (std::int64_t unit = units.first; unit < units.last; ++unit) windows->sample.push_back(unit / grid.patches());
  for (std::int64_t level = 0; level < levels; ++level) {
    const auto [of_rows, of_columns] = points(level);
    for (std::int64_t unit = units.first; unit < units.last; ++unit) {
      for (std::int64_t place = 0; place < rows; ++place) windows->row_index.push_back(of_rows(grid.row_of(unit), place));
      for (std::int64_t place = 0; place < columns; ++place) windows->column_index.push_back(of_columns(grid.column_of(unit), place));
    }
  }
  return windows;
}

void require_units(const char* op, const Tensor& x, const PatchGrid& grid, std::int64_t rows, std::int64_t columns) {
  if (x.rank() == 4 && x.size(2) == rows && x.size(3) == columns) return;
  throw ShapeError(concat(op, ": got ", to_string(x.shape()), ", but fields of ", grid.ny, "x", grid.nx, " points and ", grid.levels,
                          " levels ask for ", rows, "x", columns, " points"));
}

}  // namespace

PatchGrid::PatchGrid(const PatchingConfig& config, std::int64_t ny_, std::int64_t nx_)
    : ny(ny_), nx(nx_), levels(config.levels), per_side(std::int64_t{1} << config.levels), mode(config.padding_mode) {
  if (config.levels < 1 || config.levels > kMostLevels) {
    throw ConfigError(concat("mg_tfno: model.levels is ", config.levels, "; it must be from 1 to ", kMostLevels));
  }
  check_size("rows", ny, levels);
  check_size("columns", nx, levels);
  rows = ny / per_side;
  columns = nx / per_side;
  padding_rows = padding_of("rows", ny, config.padding_fraction[0]);
  padding_columns = padding_of("columns", nx, config.padding_fraction[1]);
}

std::shared_ptr<const WindowIndices> multigrid_windows(const PatchGrid& grid, Range units) {
  return windows_of(grid, units, grid.levels + 1, grid.window_rows(), grid.window_columns(), [&](std::int64_t level) {
    const std::int64_t factor = std::int64_t{1} << level;
    return std::pair{Axis1D{grid.ny, grid.rows, grid.padding_rows, factor, grid.mode},
                     Axis1D{grid.nx, grid.columns, grid.padding_columns, factor, grid.mode}};
  });
}

std::shared_ptr<const WindowIndices> patch_windows(const PatchGrid& grid, Range units, std::int64_t margin) {
  return windows_of(grid, units, 1, grid.rows + 2 * margin, grid.columns + 2 * margin, [&](std::int64_t) {
    return std::pair{Axis1D{grid.ny, grid.rows, margin, 1, BeyondEdge::periodic},
                     Axis1D{grid.nx, grid.columns, margin, 1, BeyondEdge::periodic}};
  });
}

Tensor multigrid_patches(const Tensor& x, const PatchGrid& grid) {
  require_units("multigrid_patches", x, grid, grid.ny, grid.nx);
  return gather_windows(x, multigrid_windows(grid, {0, x.size(0) * grid.patches()}));
}

Tensor without_padding(const Tensor& x, const PatchGrid& grid) {
  require_units("without_padding", x, grid, grid.window_rows(), grid.window_columns());
  return slice(slice(x, 2, grid.padding_rows, grid.padding_rows + grid.rows), 3, grid.padding_columns, grid.padding_columns + grid.columns);
}

Tensor cut_into_patches(const Tensor& x, std::int64_t per_side) {
  if (x.rank() != 4 || x.size(2) % per_side != 0 || x.size(3) % per_side != 0) {
    throw ShapeError(concat("cut_into_patches: ", to_string(x.shape()), " cannot be cut into ", per_side, "x", per_side, " equal patches"));
  }
  const std::int64_t rows = x.size(2) / per_side, columns = x.size(3) / per_side;
  const Tensor cells = reshape(x, {x.size(0), x.size(1), per_side, rows, per_side, columns});
  return reshape(contiguous(permute(cells, {0, 2, 4, 1, 3, 5})), {x.size(0) * per_side * per_side, x.size(1), rows, columns});
}

Tensor stitched(const Tensor& patches, const PatchGrid& grid) {
  require_units("stitched", patches, grid, grid.rows, grid.columns);
  return stitched(patches, grid.per_side);
}

Tensor stitched(const Tensor& patches, std::int64_t per_side) {
  const std::int64_t samples = patches.size(0) / (per_side * per_side), channels = patches.size(1), rows = patches.size(2),
                     columns = patches.size(3);
  const Tensor cells = reshape(patches, {samples, per_side, per_side, channels, rows, columns});
  return reshape(contiguous(permute(cells, {0, 3, 1, 4, 2, 5})), {samples, channels, per_side * rows, per_side * columns});
}

Tensor window_coordinates(const PatchGrid& grid, const WindowIndices& windows, DType dtype, Device device) {
  // Coordinates are gathered as the fields are, so padding with zeros pads them too.
  std::vector<double> coordinates;
  for (std::int64_t row = 0; row < grid.ny * grid.nx; ++row)
    coordinates.push_back(static_cast<double>(row / grid.nx) / static_cast<double>(grid.ny));
  for (std::int64_t point = 0; point < grid.ny * grid.nx; ++point)
    coordinates.push_back(static_cast<double>(point % grid.nx) / static_cast<double>(grid.nx));
  const Tensor field = constant({1, 2, grid.ny, grid.nx}, coordinates, dtype, device);
  auto of_one_field = std::make_shared<WindowIndices>(windows);
  std::ranges::fill(of_one_field->sample, 0);
  return gather_windows(field, of_one_field);
}

}  // namespace trident
