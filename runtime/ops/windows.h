/// Windows of fields whose points are given by indices: overlapping, strided, wrapped or padded.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident {

/// Which points of a field (sample, channel, ny, nx) each unit's windows hold: one window per level, all of rows x columns points. A unit's
/// row r of level l is row_index[(l * units + unit) * rows + r] of its sample; below 0: zero.
struct WindowIndices {
  std::int64_t levels = 1, rows = 0, columns = 0;
  std::vector<std::int64_t> sample;  // of each unit, ascending
  std::vector<std::int64_t> row_index, column_index;

  std::int64_t units() const { return static_cast<std::int64_t>(sample.size()); }
};

/// x: (sample, channel, ny, nx) -> (unit, level * channel, rows, columns), level slowest. Gradient: added back, in the order of units, then
/// levels. Throws ShapeError for indices outside of x.
Tensor gather_windows(const Tensor& x, const std::shared_ptr<const WindowIndices>& indices);

}  // namespace trident
