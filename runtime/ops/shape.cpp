#include "runtime/ops/shape.h"

#include <algorithm>
#include <type_traits>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/gather.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

int checked_dim(const char* op, const Tensor& x, int dim) {
  const int axis = dim < 0 ? dim + x.rank() : dim;
  if (axis < 0 || axis >= x.rank()) throw ShapeError(concat(op, ": dimension ", dim, " is outside of ", to_string(x.shape())));
  return axis;
}

Shape with_extent(Shape shape, int dim, std::int64_t extent) {
  shape[dim] = extent;
  return shape;
}

/// The shape asked for, with its -1 replaced.
Shape resolved(const Tensor& x, const Shape& shape) {
  Shape result = shape;
  std::int64_t known = 1;
  int open = -1;
  for (int dim = 0; dim < shape.rank(); ++dim) {
    if (shape[dim] != -1) {
      known *= shape[dim];
    } else if (open < 0) {
      open = dim;
    } else {
      throw ShapeError(concat("reshape: ", to_string(shape), " leaves two extents open; one may be -1"));
    }
  }
  if (open < 0) return result;
  if (known == 0 || x.numel() % known != 0) {
    throw ShapeError(concat("reshape: ", to_string(x.shape()), " has ", x.numel(), " elements, which do not fill ", to_string(shape)));
  }
  result[open] = x.numel() / known;
  return result;
}

/// y (shape of x but for `dim`) with x at [before, before + extent), and zeros around it. Unrecorded; negative numbers crop.
Tensor padded(const Tensor& x, int dim, std::int64_t before, std::int64_t after) {
  const std::int64_t extent = x.size(dim), size = extent + before + after;
  const Tensor kept = view::slice(x, dim, std::max<std::int64_t>(0, -before), extent - std::max<std::int64_t>(0, -after));
  if (before <= 0 && after <= 0) return kept;
  const Tensor y = empty(with_extent(x.shape(), dim, size), x.dtype(), x.device());
  const std::int64_t first = std::max<std::int64_t>(0, before), last = first + kept.size(dim);
  set_zero(view::slice(y, dim, 0, first));
  copy_into(view::slice(y, dim, first, last), kept);
  set_zero(view::slice(y, dim, last, size));
  return y;
}

/// Every second cell of a grid (b, h, w, ...), from (row, column) on: a view.
Tensor every_second(const Tensor& grid, std::int64_t row, std::int64_t column) {
  Shape shape = grid.shape(), strides = grid.strides();
  const std::int64_t offset = grid.offset() + row * strides[1] + column * strides[2];
  shape[1] = (shape[1] - row + 1) / 2;
  shape[2] = (shape[2] - column + 1) / 2;
  strides[1] *= 2;
  strides[2] *= 2;
  return Tensor(grid.storage(), offset, shape, strides, grid.dtype());
}

/// How the four cells of 2x2 lie side by side.
enum class CellOrder { by_rows, by_columns };

/// Hands `copy` views of the same shape of a grid (b, rows, columns, e) and of one with its cells side by side (b, h, w, 4e), rows <= 2h
/// and columns <= 2w: the whole grids, or where one has more, one after the other the cells of each place.
template <class Copy>
void for_each_part_of_cells(const Tensor& fine, const Tensor& coarse, CellOrder order, Copy&& copy) {
  const std::int64_t b = fine.size(0), h = coarse.size(1), w = coarse.size(2), e = fine.size(3);
  const Shape &f = fine.strides(), &c = coarse.strides();
  const std::int64_t row_step = (order == CellOrder::by_rows ? 2 * e : e) * c[3],
                     column_step = (order == CellOrder::by_rows ? e : 2 * e) * c[3];
  if (fine.size(1) == 2 * h && fine.size(2) == 2 * w) {
    const Shape cells{b, h, w, 2, 2, e};
    return copy(Tensor(fine.storage(), fine.offset(), cells, {f[0], 2 * f[1], 2 * f[2], f[1], f[2], f[3]}, fine.dtype()),
                Tensor(coarse.storage(), coarse.offset(), cells, {c[0], c[1], c[2], row_step, column_step, c[3]}, coarse.dtype()));
  }
  for (std::int64_t row = 0; row < 2; ++row) {
    for (std::int64_t column = 0; column < 2; ++column) {
      const Tensor part = every_second(fine, row, column);
      copy(part, Tensor(coarse.storage(), coarse.offset() + row * row_step + column * column_step, part.shape(), c, coarse.dtype()));
    }
  }
}

/// (b, c, h*p, w*p) seen as (b, h, w, c, p, p).
Tensor patches_of(const Tensor& fields, std::int64_t p) {
  const Shape& s = fields.strides();
  const Shape shape{fields.size(0), fields.size(2) / p, fields.size(3) / p, fields.size(1), p, p};
  return Tensor(fields.storage(), fields.offset(), shape, {s[0], s[2] * p, s[3] * p, s[1], s[2], s[3]}, fields.dtype());
}

}  // namespace

Tensor reshape(const Tensor& x, const Shape& shape) {
  const Tensor y = view::reshape(packed(x), resolved(x, shape));
  return record("reshape", y, {x}, [before = x.shape()](const Tensor& dy, Wanted) { return std::vector{reshape(dy, before)}; });
}

Tensor permute(const Tensor& x, const Shape& order) {
  const Tensor y = view::permute(x, order);
  Shape inverse = order;
  for (int dim = 0; dim < order.rank(); ++dim) inverse[static_cast<int>(order[dim])] = dim;
  return record("permute", y, {x}, [inverse](const Tensor& dy, Wanted) { return std::vector{view::permute(dy, inverse)}; });
}

Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end) {
  const Tensor y = view::slice(x, dim, begin, end);
  const int axis = checked_dim("slice", x, dim);
  return record("slice", y, {x}, [axis, begin, after = x.size(axis) - end](const Tensor& dy, Wanted) {
    return std::vector{padded(dy, axis, begin, after)};
  });
}

Tensor contiguous(const Tensor& x) {
  // Recorded even where nothing moves: that depends on extents, which ranks do not share.
  return record("contiguous", packed(x), {x}, [](const Tensor& dy, Wanted) { return std::vector{dy}; });
}

Tensor concatenate(const std::vector<Tensor>& parts, int dim) {
  if (parts.empty()) throw ShapeError("concatenate: got no tensors; at least one is needed");
  const int axis = checked_dim("concatenate", parts[0], dim);
  std::vector<std::int64_t> begins{0};
  for (const Tensor& part : parts) {
    if (part.rank() != parts[0].rank() || with_extent(part.shape(), axis, 0) != with_extent(parts[0].shape(), axis, 0)) {
      throw ShapeError(concat("concatenate: ", to_string(part.shape()), " does not fit ", to_string(parts[0].shape()), "; only dimension ",
                              axis, " may differ"));
    }
    begins.push_back(begins.back() + part.size(axis));
  }
  const Tensor y = empty(with_extent(parts[0].shape(), axis, begins.back()), parts[0].dtype(), parts[0].device());
  for (std::size_t i = 0; i < parts.size(); ++i) copy_into(view::slice(y, axis, begins[i], begins[i + 1]), parts[i]);
  return record("concatenate", y, parts, [axis, begins](const Tensor& dy, Wanted wanted) {
    std::vector<Tensor> gradients(begins.size() - 1);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (wanted[i]) gradients[i] = view::slice(dy, axis, begins[i], begins[i + 1]);
    }
    return gradients;
  });
}

Tensor pad(const Tensor& x, int dim, std::int64_t before, std::int64_t after) {
  const int axis = checked_dim("pad", x, dim);
  if (std::max<std::int64_t>(0, -before) + std::max<std::int64_t>(0, -after) > x.size(axis)) {
    throw ShapeError(concat("pad: cropping ", -before, " and ", -after, " elements leaves nothing of the ", x.size(axis), " of dimension ",
                            dim, " of ", to_string(x.shape())));
  }
  if (before == 0 && after == 0) return x;
  return record("pad", padded(x, axis, before, after), {x},
                [axis, before, after](const Tensor& dy, Wanted) { return std::vector{padded(dy, axis, -before, -after)}; });
}

Tensor roll(const Tensor& x, int dim, std::int64_t shift) {
  const int axis = checked_dim("roll", x, dim);
  const std::int64_t extent = x.size(axis), by = extent == 0 ? 0 : (shift % extent + extent) % extent;
  if (by == 0) return x;
  const Tensor y = empty(x.shape(), x.dtype(), x.device());
  copy_into(view::slice(y, axis, by, extent), view::slice(x, axis, 0, extent - by));
  copy_into(view::slice(y, axis, 0, by), view::slice(x, axis, extent - by, extent));
  return record("roll", y, {x}, [axis, by](const Tensor& dy, Wanted) { return std::vector{roll(dy, axis, -by)}; });
}

namespace {

/// Of indices on the host. Those on a GPU are not waited for: an index outside of the table makes its row NaN there.
void require_inside(const GatherExtents& extents, const Tensor& index) {
  const std::int64_t outside = first_outside(Cpu{}, extents, index.data<std::int64_t>());
  if (outside < 0) return;
  throw ShapeError(concat("gather_rows: index ", index.data<std::int64_t>()[outside], " at position ", outside, " of ",
                          to_string(index.shape()), " is outside of the ", extents.rows, " rows"));
}

}  // namespace

Tensor gather_rows(const Tensor& table, const Tensor& index) {
  if (table.rank() == 0) throw ShapeError("gather_rows: the table is a scalar; it needs rows");
  const Tensor rows = packed(table), at = packed(index);
  Shape shape = at.shape();
  std::int64_t width = 1;
  for (int dim = 1; dim < rows.rank(); ++dim) {
    shape.push_back(rows.size(dim));
    width *= rows.size(dim);
  }
  const GatherExtents extents{rows.size(0), width, at.numel()};
  const Tensor y = empty(shape, rows.dtype(), rows.device());
  launch("gather_rows", rows, [&](auto device, auto type) {
    using T = decltype(type);
    if constexpr (std::is_same_v<decltype(device), Cpu>) require_inside(extents, at);
    gather_rows(device, extents, rows.data<T>(), at.data<std::int64_t>(), y.data<T>());
  });
  return record("gather_rows", y, {table}, [extents, at, shape = rows.shape()](const Tensor& dy, Wanted) {
    const Tensor from = packed(dy), dtable = empty(shape, dy.dtype(), dy.device());
    const Tensor order = empty({extents.rows + 1 + extents.count}, DType::i64, dy.device());
    launch("gather_rows", from, [&](auto device, auto type) {
      using T = decltype(type);
      gather_rows_gradient(device, extents, from.data<T>(), at.data<std::int64_t>(), order.data<std::int64_t>(), dtable.data<T>());
    });
    return std::vector{dtable};
  });
}

Tensor patchify(const Tensor& x, std::int64_t patch) {
  if (x.rank() != 4 || patch < 1 || x.size(2) % patch != 0 || x.size(3) % patch != 0) {
    throw ShapeError(
        concat("patchify: ", to_string(x.shape()), " cannot be cut into patches of ", patch, "; pad y and x to multiples of it"));
  }
  const Tensor from = patches_of(x, patch);
  const Tensor y = empty(from.shape(), x.dtype(), x.device());
  copy_into(y, from);
  const Tensor tokens = view::reshape(y, {from.size(0), from.size(1), from.size(2), x.size(1) * patch * patch});
  return record("patchify", tokens, {x}, [patch](const Tensor& dy, Wanted) { return std::vector{unpatchify(dy, patch)}; });
}

Tensor unpatchify(const Tensor& x, std::int64_t patch) {
  if (x.rank() != 4 || patch < 1 || x.size(3) % (patch * patch) != 0) {
    throw ShapeError(concat("unpatchify: ", to_string(x.shape()), " does not hold patches of ", patch, " x ", patch,
                            "; the last extent must be a multiple of ", patch * patch));
  }
  const std::int64_t channels = x.size(3) / (patch * patch);
  const Tensor y = empty({x.size(0), channels, x.size(1) * patch, x.size(2) * patch}, x.dtype(), x.device());
  const Tensor to = patches_of(y, patch);
  copy_into(to, view::reshape(packed(x), to.shape()));
  return record("unpatchify", y, {x}, [patch](const Tensor& dy, Wanted) { return std::vector{patchify(dy, patch)}; });
}

Tensor merge_cells(const Tensor& x) {
  if (x.rank() != 4) throw ShapeError(concat("merge_cells: a grid of tokens (batch, y, x, channel) is needed, got ", to_string(x.shape())));
  const bool padded = x.size(1) % 2 != 0 || x.size(2) % 2 != 0;
  const Tensor y = (padded ? zeros : empty)({x.size(0), (x.size(1) + 1) / 2, (x.size(2) + 1) / 2, 4 * x.size(3)}, x.dtype(), x.device());
  for_each_part_of_cells(x, y, CellOrder::by_columns, [](const Tensor& fine, const Tensor& coarse) { copy_into(coarse, fine); });
  return record("merge_cells", y, {x}, [shape = x.shape()](const Tensor& dy, Wanted) {
    const Tensor dx = empty(shape, dy.dtype(), dy.device());
    for_each_part_of_cells(dx, dy, CellOrder::by_columns, [](const Tensor& fine, const Tensor& coarse) { copy_into(fine, coarse); });
    return std::vector{dx};
  });
}

Tensor spread_cells(const Tensor& x, std::int64_t rows, std::int64_t columns) {
  if (x.rank() != 4 || x.size(3) % 4 != 0 || rows < 0 || columns < 0 || rows > 2 * x.size(1) || columns > 2 * x.size(2)) {
    throw ShapeError(concat("spread_cells: ", to_string(x.shape()), " does not spread over ", rows, " x ", columns,
                            " cells; channels must be a multiple of 4, rows and columns at most twice the grid's"));
  }
  const Tensor y = empty({x.size(0), rows, columns, x.size(3) / 4}, x.dtype(), x.device());
  for_each_part_of_cells(y, x, CellOrder::by_rows, [](const Tensor& fine, const Tensor& coarse) { copy_into(fine, coarse); });
  return record("spread_cells", y, {x}, [shape = x.shape()](const Tensor& dy, Wanted) {
    const bool cropped = dy.size(1) < 2 * shape[1] || dy.size(2) < 2 * shape[2];
    const Tensor dx = (cropped ? zeros : empty)(shape, dy.dtype(), dy.device());
    for_each_part_of_cells(dy, dx, CellOrder::by_rows, [](const Tensor& fine, const Tensor& coarse) { copy_into(coarse, fine); });
    return std::vector{dx};
  });
}

namespace {

Tensor dropped(const Tensor& x, double probability, const StreamKey& key, const DropoutPlaces& places) {
  if (probability < 0.0 || probability >= 1.0) throw ConfigError(concat("dropout: probability is ", probability, "; it must be in [0, 1)"));
  if (probability == 0.0) return x;
  const Tensor in = packed(x), y = empty_like(in);
  launch_activations("dropout", in, [&](auto device, auto type) {
    using T = decltype(type);
    dropout(device, places, probability, key, in.data<T>(), y.data<T>());
  });
  return record("dropout", y, {x}, [=](const Tensor& dy, Wanted) { return std::vector{dropped(dy, probability, key, places)}; });
}

}  // namespace

Tensor dropout(const Tensor& x, double probability, const StreamKey& key, std::int64_t first) {
  const std::int64_t width = x.rank() > 0 ? std::max<std::int64_t>(1, x.size(-1)) : 1, tokens = x.numel() / width;
  return dropped(x, probability, key,
                 {.tokens = tokens,
                  .width = width,
                  .rows = 1,
                  .columns = std::max<std::int64_t>(1, tokens),
                  .first = 0,
                  .origin = first,
                  .sample_step = 0,
                  .row_step = 0});
}

Tensor dropout(const Tensor& x, double probability, const StreamKey& key, const TokenPlaces& places) {
  const std::int64_t width = x.size(-1), sample_step = places.grid_rows * places.grid_columns;
  const std::int64_t origin = places.first_sample * sample_step + places.first_row * places.grid_columns + places.first_column;
  return dropped(x, probability, key,
                 {.tokens = width == 0 ? 0 : x.numel() / width,
                  .width = width,
                  .rows = places.rows,
                  .columns = places.columns,
                  .first = places.first,
                  .origin = origin * width,
                  .sample_step = sample_step,
                  .row_step = places.grid_columns});
}

}  // namespace trident
