/// Differentiable moves: the same numbers elsewhere.
#pragma once

#include <vector>

#include "runtime/tensor/stream_key.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// Shares memory if x is contiguous. One extent may be -1.
Tensor reshape(const Tensor& x, const Shape& shape);
/// A view with the dimensions in another order.
Tensor permute(const Tensor& x, const Shape& order);
/// A view of elements [begin, end) of `dim`.
Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end);
/// Row-major without gaps; x itself where it already is.
Tensor contiguous(const Tensor& x);
Tensor concatenate(const std::vector<Tensor>& parts, int dim);
/// Zeros added before and after `dim`; negative numbers crop.
Tensor pad(const Tensor& x, int dim, std::int64_t before, std::int64_t after);
/// Element i of `dim` moves to (i + shift) mod extent.
Tensor roll(const Tensor& x, int dim, std::int64_t shift);
/// table (n, ...) at index (i64, any shape) -> (index shape..., ...). The gradient adds in index order. Throws ShapeError past n.
Tensor gather_rows(const Tensor& table, const Tensor& index);

/// Cuts fields into square patches, channels last: (b, c, ny, nx) -> (b, ny/p, nx/p, c*p*p), channel slowest, as torch.nn.Conv2d with
/// kernel = stride = p reads its weight.
Tensor patchify(const Tensor& x, std::int64_t patch);
/// The transpose of patchify: (b, h, w, c*p*p) -> (b, c, h*p, w*p).
Tensor unpatchify(const Tensor& x, std::int64_t patch);
/// Patch merging's gather: (b, h, w, d) -> (b, ceil(h/2), ceil(w/2), 4d) in the order [0::2,0::2], [1::2,0::2], [0::2,1::2], [1::2,1::2]
/// (y first); odd extents are padded with zeros.
Tensor merge_cells(const Tensor& x);
/// Patch unmerging's spread: (b, h, w, 4e) -> (b, rows, columns, e), 2x2 cells row-major, cropped to rows <= 2h, columns <= 2w.
Tensor spread_cells(const Tensor& x, std::int64_t rows, std::int64_t columns);

/// x / (1 - p) where the stream's number at the element's global index is >= p, else 0. Global index: first + row-major index.
Tensor dropout(const Tensor& x, double probability, const StreamKey& key, std::int64_t first = 0);

/// Where tokens (..., width) stand in a grid of samples, rows and columns: they are a box of it, or consecutive tokens of a box.
struct TokenPlaces {
  std::int64_t rows = 1, columns = 1;                              // of the box
  std::int64_t first = 0;                                          // token of the box, row-major, with which the tensor begins
  std::int64_t first_sample = 0, first_row = 0, first_column = 0;  // of the box in the grid
  std::int64_t grid_rows = 1, grid_columns = 1;
};
/// The same, with the row-major index in the whole grid.
Tensor dropout(const Tensor& x, double probability, const StreamKey& key, const TokenPlaces& places);

}  // namespace trident
