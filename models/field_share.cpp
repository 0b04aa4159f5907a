#include "models/field_share.h"

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;

/// A piece for each patch; one without samples for a rank that has none.
FieldPieces pieces_of(const PatchGrid& grid, Range units) {
  FieldPieces pieces;
  for (std::int64_t unit = units.first; unit < units.last; ++unit) {
    const std::int64_t sample = unit / grid.patches(), row = grid.row_of(unit) * grid.rows, column = grid.column_of(unit) * grid.columns;
    pieces.push_back(
        {.samples = {sample, sample + 1}, .rectangle = {.rows = {row, row + grid.rows}, .columns = {column, column + grid.columns}}});
  }
  if (pieces.empty()) pieces.push_back({.samples = {0, 0}, .rectangle = {.rows = {0, grid.rows}, .columns = {0, grid.columns}}});
  return pieces;
}

}  // namespace

FieldShare share_of(const Model& model, const Mesh& mesh, std::int64_t samples, std::int64_t ny, std::int64_t nx) {
  const auto patching = model->patching();
  if (patching && mesh.size(kBatchAxes) > 1) {
    const PatchGrid grid(*patching, ny, nx);
    const Range units = part_of(samples * grid.patches(), mesh.size(kBatchAxes), mesh.comm(kBatchAxes).rank());
    return {
        .pieces = pieces_of(grid, units), .units = PatchUnits{.units = units, .samples = samples, .windows = false}, .ny = ny, .nx = nx};
  }
  const Range mine = part_of(samples, mesh.size(Axis::data), mesh.coordinate(Axis::data));
  return {.pieces = {{.samples = mine, .rectangle = model->rectangle(ny, nx)}}, .units = {}, .ny = ny, .nx = nx};
}

Tensor rows_for(const FieldShare& share, const Tensor& of_samples) {
  if (!of_samples.defined()) return {};
  Shape shape = of_samples.shape();
  shape[0] = rows_of(share.pieces);
  const Tensor rows = empty(shape, of_samples.dtype());
  std::int64_t begin = 0;
  for (const FieldPiece& piece : share.pieces) {
    const std::int64_t end = begin + piece.samples.size();
    copy_into(view::slice(rows, 0, begin, end), view::slice(of_samples, 0, piece.samples.first, piece.samples.last));
    begin = end;
  }
  return rows;
}

}  // namespace trident
