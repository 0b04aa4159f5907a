/// Multi-grid patches: a field cut into 2^levels x 2^levels patches, each seen with the field around it at ever coarser resolutions.
///
/// A *unit* is one patch of one sample: unit = sample * patches + (patch row) * per_side + (patch column). Its windows: level 0 the patch
/// and `padding` points on each side; level l every 2^l-th point, as many of them, centred on the patch, so 2^l times as much of the field;
/// at the last level and without padding the whole field.
/// Source: Kossaifi et al. 2023, "Multi-Grid Tensorized Fourier Neural Operator", and neuralop.training.patching.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "parallel/range.h"
#include "runtime/ops/windows.h"

namespace trident {

/// What lies beyond the edge of a field: its other side, zeros, or its last point.
enum class BeyondEdge { periodic, zeros, edge };
inline auto config_names(BeyondEdge) {
  return std::array{std::pair{BeyondEdge::periodic, "periodic"}, std::pair{BeyondEdge::zeros, "zeros"},
                    std::pair{BeyondEdge::edge, "edge"}};
}

struct PatchingConfig {
  int levels = 1;                                    // 2^levels patches per side; 1 to 3
  std::array<double, 2> padding_fraction{0.0, 0.0};  // of the whole field's points, rows and columns
  BeyondEdge padding_mode = BeyondEdge::periodic;
};

/// How fields of ny x nx points are cut.
struct PatchGrid {
  /// Throws ConfigError with the nearest sizes that work: multiples of 4^levels, from 2 * 4^levels on.
  PatchGrid(const PatchingConfig& config, std::int64_t ny, std::int64_t nx);

  std::int64_t ny, nx, levels, per_side;
  std::int64_t rows, columns;                  // of a patch
  std::int64_t padding_rows, padding_columns;  // on each side
  BeyondEdge mode;

  std::int64_t patches() const { return per_side * per_side; }  // of a sample
  std::int64_t window_rows() const { return rows + 2 * padding_rows; }
  std::int64_t window_columns() const { return columns + 2 * padding_columns; }
  std::int64_t row_of(std::int64_t unit) const { return unit % patches() / per_side; }  // patches
  std::int64_t column_of(std::int64_t unit) const { return unit % per_side; }
};

/// The points that the windows of `units` hold; samples are counted from 0 as the units are.
std::shared_ptr<const WindowIndices> multigrid_windows(const PatchGrid& grid, Range units);
/// The points of the patches alone, with `margin` more on each side of them, wrapped at the field's edges.
std::shared_ptr<const WindowIndices> patch_windows(const PatchGrid& grid, Range units, std::int64_t margin = 0);

/// x: (sample, channel, ny, nx) -> (unit, (levels + 1) * channel, window rows, window columns), level slowest.
Tensor multigrid_patches(const Tensor& x, const PatchGrid& grid);
/// (unit, channel, window rows, window columns) without the padding.
Tensor without_padding(const Tensor& x, const PatchGrid& grid);
/// (sample, channel, ny, nx) -> (unit, channel, rows, columns), and back.
Tensor cut_into_patches(const Tensor& x, std::int64_t per_side);
Tensor stitched(const Tensor& patches, const PatchGrid& grid);
Tensor stitched(const Tensor& patches, std::int64_t per_side);

/// (unit, (levels + 1) * 2, window rows, window columns): the coordinates row / ny and column / nx of every point of the windows.
Tensor window_coordinates(const PatchGrid& grid, const WindowIndices& windows, DType dtype, Device device = {});

}  // namespace trident
