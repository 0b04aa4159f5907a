#include "runtime/ops/windows.h"

#include <algorithm>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/windows.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

void check_indices(const char* what, const std::vector<std::int64_t>& indices, std::size_t count, std::int64_t extent) {
  if (indices.size() != count) throw ShapeError(concat("gather_windows: ", indices.size(), " ", what, ", the extents ask for ", count));
  if (indices.empty()) return;
  const std::int64_t largest = *std::max_element(indices.begin(), indices.end());
  if (largest >= extent) throw ShapeError(concat("gather_windows: ", what, " reach ", largest, " of ", extent));
}

WindowExtents extents_of(const Shape& x, const WindowIndices& indices) {
  return {x[0], x[1], x[2], x[3], indices.units(), indices.levels, indices.rows, indices.columns,
          indices.sample.data(), indices.row_index.data(), indices.column_index.data()};
}

}  // namespace

Tensor gather_windows(const Tensor& x, const std::shared_ptr<const WindowIndices>& indices) {
  if (x.rank() != 4) throw ShapeError(concat("gather_windows: fields are (sample, channel, y, x), got ", to_string(x.shape())));
  const auto places = static_cast<std::size_t>(indices->levels * indices->units());
  check_indices("samples", indices->sample, indices->sample.size(), x.size(0));
  check_indices("rows", indices->row_index, places * static_cast<std::size_t>(indices->rows), x.size(2));
  check_indices("columns", indices->column_index, places * static_cast<std::size_t>(indices->columns), x.size(3));
  const Tensor in = packed(x);
  const Tensor windows = empty({indices->units(), indices->levels * x.size(1), indices->rows, indices->columns}, x.dtype(), x.device());
  launch("gather_windows", in, [&](auto device, auto type) {
    using T = decltype(type);
    gather_windows(device, extents_of(in.shape(), *indices), in.data<T>(), windows.data<T>());
  });
  return record("gather_windows", windows, {x}, [shape = x.shape(), indices](const Tensor& dwindows, Wanted) {
    const Tensor gradient = packed(dwindows), dx = empty(shape, dwindows.dtype(), dwindows.device());
    launch("gather_windows", gradient, [&](auto device, auto type) {
      using T = decltype(type);
      gather_windows_gradient(device, extents_of(shape, *indices), gradient.data<T>(), dx.data<T>());
    });
    return std::vector{dx};
  });
}

}  // namespace trident
