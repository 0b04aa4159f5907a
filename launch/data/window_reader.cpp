#include "launch/data/window_reader.h"

#include <algorithm>
#include <span>

#include "launch/data/field_source.h"
#include "launch/data/reading_threads.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

using Points = std::span<const std::int64_t>;

/// The points of one axis that a window needs, each once, and the evenly spaced runs that they are read in.
struct AxisPoints {
  std::vector<std::int64_t> points;
  std::vector<Range> runs;  // of positions in `points`

  AxisPoints(Points wanted, std::int64_t stride) : points(wanted.begin(), wanted.end()) {
    std::ranges::sort(points);
    const auto repeated = std::ranges::unique(points);
    points.erase(repeated.begin(), repeated.end());
    if (!points.empty() && points.front() < 0) points.erase(points.begin());  // beyond the field
    for (std::size_t position = 0; position < points.size(); ++position) {
      const auto at = static_cast<std::int64_t>(position);
      if (position > 0 && points[position] == points[position - 1] + stride)
        runs.back().last = at + 1;
      else
        runs.push_back({at, at + 1});
    }
  }

  std::int64_t size() const { return static_cast<std::int64_t>(points.size()); }
  /// From the first to behind the last point of a run.
  Range extent(const Range& run) const {
    return {points[static_cast<std::size_t>(run.first)], points[static_cast<std::size_t>(run.last - 1)] + 1};
  }
  /// Where a point stands; -1 for none.
  std::int64_t position(std::int64_t point) const { return point < 0 ? -1 : std::ranges::lower_bound(points, point) - points.begin(); }
};

/// The points of a window: `stride` apart along both axes, in any order, also beyond the field (below 0).
struct Window {
  Points rows, columns;
  std::int64_t stride;
};

/// Reads a window of `channels` channels into `target` by read(part of the field, numbers).
template <class Read>
void read_window(const Window& window, std::int64_t channels, Read read, float* target) {
  const AxisPoints rows(window.rows, window.stride), columns(window.columns, window.stride);
  std::vector<float> held(static_cast<std::size_t>(channels * rows.size() * columns.size())), block;
  for (const Range& row_run : rows.runs) {
    for (const Range& column_run : columns.runs) {
      block.resize(static_cast<std::size_t>(channels * row_run.size() * column_run.size()));
      read(FieldWindow{.part = {rows.extent(row_run), columns.extent(column_run)}, .stride = window.stride}, block.data());
      auto from = block.begin();
      for (std::int64_t channel = 0; channel < channels; ++channel) {
        for (std::int64_t row = row_run.first; row < row_run.last; ++row, from += column_run.size()) {
          std::copy_n(from, column_run.size(), held.begin() + ((channel * rows.size() + row) * columns.size() + column_run.first));
        }
      }
    }
  }
  std::vector<std::int64_t> places;
  for (const std::int64_t column : window.columns) places.push_back(columns.position(column));
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (const std::int64_t row : window.rows) {
      const std::int64_t place = rows.position(row);
      const float* line = held.data() + (channel * rows.size() + std::max<std::int64_t>(place, 0)) * columns.size();
      for (const std::int64_t column : places) *target++ = place < 0 || column < 0 ? 0.0F : line[column];
    }
  }
}

/// (units, levels * channels, rows, columns).
template <class Read>
Tensor read_windows(const WindowIndices& indices, std::int64_t channels, int threads, Read read) {
  const Tensor windows = empty({indices.units(), indices.levels * channels, indices.rows, indices.columns}, DType::f32);
  const auto part = [](const std::vector<std::int64_t>& all, std::int64_t place, std::int64_t count) {
    return Points(all).subspan(static_cast<std::size_t>(place * count), static_cast<std::size_t>(count));
  };
  on_reading_threads(indices.units() * indices.levels, threads, [&](std::int64_t number) {
    const std::int64_t unit = number / indices.levels, level = number % indices.levels, place = level * indices.units() + unit;
    const Window window{part(indices.row_index, place, indices.rows), part(indices.column_index, place, indices.columns),
                        std::int64_t{1} << level};
    float* target = windows.data<float>() + number * channels * indices.rows * indices.columns;
    const std::int64_t sample = indices.sample[static_cast<std::size_t>(unit)];
    read_window(
        window, channels, [&](const FieldWindow& of_field, float* block) { read(sample, of_field, block); }, target);
  });
  return windows;
}

}  // namespace

Fields read_patches(const Dataset& dataset, const PatchGrid& grid, const std::vector<std::int64_t>& samples, Range units, bool windows,
                    int threads) {
  const auto number = [&](std::int64_t sample) { return samples[static_cast<std::size_t>(sample)]; };
  const Tensor input = read_windows(
      windows ? *multigrid_windows(grid, units) : *patch_windows(grid, units), dataset.in_channels(), threads,
      [&](std::int64_t sample, const FieldWindow& window, float* target) { dataset.read_input(number(sample), window, target); });
  const Tensor label = read_windows(
      *patch_windows(grid, units, 1), dataset.out_channels(), threads,
      [&](std::int64_t sample, const FieldWindow& window, float* target) { dataset.read_label(number(sample), window, target); });
  return {.input = input,
          .time = {},
          .pixel_mask = {},
          .label = label,
          .ny = grid.ny,
          .nx = grid.nx,
          .patches = PatchUnits{.units = units, .samples = static_cast<std::int64_t>(samples.size()), .windows = windows}};
}

}  // namespace trident
