#include "runtime/ops/windows.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

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

/// The lists of indices one after the other on a GPU. Copied once and kept as long as the process lives: they are few, and every step of a
/// run asks for the same ones.
Tensor indices_on(const WindowIndices& indices, Device device) {
  std::vector<std::int64_t> all = indices.sample;
  all.insert(all.end(), indices.row_index.begin(), indices.row_index.end());
  all.insert(all.end(), indices.column_index.begin(), indices.column_index.end());
  static std::mutex mutex;
  static auto& copies = *new std::map<std::pair<int, std::vector<std::int64_t>>, Tensor>;
  const std::lock_guard lock(mutex);
  Tensor& copy = copies[{device.index, all}];
  if (!copy.defined()) copy = from_values<std::int64_t>({static_cast<std::int64_t>(all.size())}, all, device);
  return copy;
}

WindowExtents extents_of(const Shape& x, const WindowIndices& indices, Device device) {
  WindowExtents extents{x[0],
                        x[1],
                        x[2],
                        x[3],
                        indices.units(),
                        indices.levels,
                        indices.rows,
                        indices.columns,
                        indices.sample.data(),
                        indices.row_index.data(),
                        indices.column_index.data()};
  if (device.kind == Device::Kind::cpu) return extents;
  const auto* lists = indices_on(indices, device).data<std::int64_t>();
  extents.sample = lists;
  extents.row_index = lists + indices.sample.size();
  extents.column_index = extents.row_index + indices.row_index.size();
  return extents;
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
    gather_windows(device, extents_of(in.shape(), *indices, in.device()), in.data<T>(), windows.data<T>());
  });
  return record("gather_windows", windows, {x}, [shape = x.shape(), indices](const Tensor& dwindows, Wanted) {
    const Tensor gradient = packed(dwindows), dx = empty(shape, dwindows.dtype(), dwindows.device());
    launch("gather_windows", gradient, [&](auto device, auto type) {
      using T = decltype(type);
      gather_windows_gradient(device, extents_of(shape, *indices, dx.device()), gradient.data<T>(), dx.data<T>());
    });
    return std::vector{dx};
  });
}

}  // namespace trident
