#include "models/mg_tfno/patch_exchange.h"

#include <vector>

#include "parallel/collectives.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;

/// The places of a window's rows (or columns) by the row of patches that they lie in; places beyond the field are in none.
std::vector<std::vector<std::int64_t>> places_by_patch(const std::vector<std::int64_t>& index, std::int64_t window, std::int64_t size,
                                                       std::int64_t of_patch, std::int64_t per_side) {
  std::vector<std::vector<std::int64_t>> places(static_cast<std::size_t>(per_side));
  for (std::int64_t place = 0; place < size; ++place) {
    const std::int64_t point = index[static_cast<std::size_t>(window * size + place)];
    if (point >= 0) places[static_cast<std::size_t>(point / of_patch)].push_back(place);
  }
  return places;
}

/// Calls visit(source unit, row in its patch, column in it, place among the points of all windows) for every point that the windows of
/// `units` take from units that `wanted` accepts. The order is the same on every rank.
template <class Wanted, class Visit>
void for_each_point(const PatchGrid& grid, Range units, Wanted wanted, Visit visit) {
  const auto windows = multigrid_windows(grid, units);
  for (std::int64_t window = 0; window < windows->levels * windows->units(); ++window) {
    const std::int64_t sample = windows->sample[static_cast<std::size_t>(window % windows->units())];
    const auto rows = places_by_patch(windows->row_index, window, windows->rows, grid.rows, grid.per_side);
    const auto columns = places_by_patch(windows->column_index, window, windows->columns, grid.columns, grid.per_side);
    for (std::int64_t patch = 0; patch < grid.patches(); ++patch) {
      const std::int64_t source = sample * grid.patches() + patch;
      if (!wanted(source)) continue;
      for (const std::int64_t row : rows[static_cast<std::size_t>(grid.row_of(patch))]) {
        for (const std::int64_t column : columns[static_cast<std::size_t>(grid.column_of(patch))]) {
          visit(source, windows->row_index[static_cast<std::size_t>(window * windows->rows + row)] % grid.rows,
                windows->column_index[static_cast<std::size_t>(window * windows->columns + column)] % grid.columns,
                (window * windows->rows + row) * windows->columns + column);
        }
      }
    }
  }
}

Tensor index_of(const std::vector<std::int64_t>& values, Device device) {
  return from_values<std::int64_t>({static_cast<std::int64_t>(values.size())}, values, device);
}

}  // namespace

Tensor exchanged_windows(const Tensor& patches, const PatchGrid& grid, const PatchUnits& own, const Mesh& mesh) {
  const int ranks = mesh.size(kBatchAxes);
  const std::int64_t total = own.samples * grid.patches(), channels = patches.size(1);
  const auto units_of = [&](int r) { return part_of(total, ranks, r); };

  std::vector<std::int64_t> sent, send_counts, receive_counts;
  for (int receiver = 0; receiver < ranks; ++receiver) {
    const std::size_t before = sent.size();
    for_each_point(
        grid, units_of(receiver), [&](std::int64_t source) { return source >= own.units.first && source < own.units.last; },
        [&](std::int64_t source, std::int64_t row, std::int64_t column, std::int64_t) {
          sent.push_back(((source - own.units.first) * grid.rows + row) * grid.columns + column);
        });
    send_counts.push_back(static_cast<std::int64_t>(sent.size() - before));
  }
  const std::int64_t points = grid.window_rows() * grid.window_columns(), windows = (grid.levels + 1) * own.units.size();
  std::vector<std::int64_t> from(static_cast<std::size_t>(windows * points), -1);
  std::int64_t received = 0;
  for (int sender = 0; sender < ranks; ++sender) {
    const std::int64_t before = received;
    const Range theirs = units_of(sender);
    for_each_point(
        grid, own.units, [&](std::int64_t source) { return source >= theirs.first && source < theirs.last; },
        [&](std::int64_t, std::int64_t, std::int64_t, std::int64_t place) { from[static_cast<std::size_t>(place)] = received++; });
    receive_counts.push_back(received - before);
  }
  for (std::int64_t& place : from) place = place < 0 ? received : place;  // beyond the field: the row of zeros behind the others

  const Tensor table = reshape(contiguous(permute(patches, {0, 2, 3, 1})), {own.units.size() * grid.rows * grid.columns, channels});
  const Tensor arrived = all_to_all(mesh, kBatchAxes, gather_rows(table, index_of(sent, table.device())), send_counts, receive_counts);
  const Tensor values =
      gather_rows(concatenate({arrived, zeros({1, channels}, arrived.dtype(), arrived.device())}, 0), index_of(from, arrived.device()));
  const Tensor by_window = reshape(values, {grid.levels + 1, own.units.size(), grid.window_rows(), grid.window_columns(), channels});
  return reshape(contiguous(permute(by_window, {1, 0, 4, 2, 3})),
                 {own.units.size(), (grid.levels + 1) * channels, grid.window_rows(), grid.window_columns()});
}

}  // namespace trident
