#include "runtime/tensor/view.h"

#include "runtime/error.h"

namespace trident::view {

Tensor reshape(const Tensor& x, const Shape& shape) {
  if (numel(shape) != x.numel()) {
    throw ShapeError(concat("reshape: ", to_string(x.shape()), " has ", x.numel(), " elements, ", to_string(shape), " has ", numel(shape)));
  }
  if (!x.is_contiguous()) throw ShapeError(concat("reshape: tensor ", to_string(x.shape()), " is not contiguous; call contiguous() first"));
  return Tensor(x.storage(), x.offset(), shape, contiguous_strides(shape), x.dtype());
}

Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end) {
  const int axis = dim < 0 ? dim + x.rank() : dim;
  if (axis < 0 || axis >= x.rank() || begin < 0 || end < begin || end > x.size(axis)) {
    throw ShapeError(concat("slice: [", begin, ", ", end, ") of dimension ", dim, " is outside of ", to_string(x.shape())));
  }
  Shape shape = x.shape();
  shape[axis] = end - begin;
  return Tensor(x.storage(), x.offset() + begin * x.strides()[axis], shape, x.strides(), x.dtype());
}

Tensor permute(const Tensor& x, const Shape& order) {
  if (order.rank() != x.rank()) throw ShapeError(concat("permute: order ", to_string(order), " does not fit ", to_string(x.shape())));
  Shape shape = x.shape(), strides = x.strides();
  unsigned seen = 0;
  for (int dim = 0; dim < x.rank(); ++dim) {
    const std::int64_t from = order[dim];
    if (from < 0 || from >= x.rank() || (seen >> from & 1U) != 0) {
      throw ShapeError(concat("permute: order ", to_string(order), " is not a permutation of the dimensions of ", to_string(x.shape())));
    }
    seen |= 1U << from;
    shape[dim] = x.shape()[static_cast<int>(from)];
    strides[dim] = x.strides()[static_cast<int>(from)];
  }
  return Tensor(x.storage(), x.offset(), shape, strides, x.dtype());
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) {
  if (broadcast_shape("broadcast_to", x.shape(), shape) != shape) {
    throw ShapeError(concat("broadcast_to: ", to_string(x.shape()), " is larger than ", to_string(shape)));
  }
  Shape strides = shape;
  const int lead = shape.rank() - x.rank();
  for (int dim = 0; dim < shape.rank(); ++dim) {
    strides[dim] = dim < lead || x.shape()[dim - lead] != shape[dim] ? 0 : x.strides()[dim - lead];
  }
  return Tensor(x.storage(), x.offset(), shape, strides, x.dtype());
}

Tensor as_real(const Tensor& x) {
  if (!is_complex(x.dtype()))
    throw ShapeError(concat("as_real: tensor ", to_string(x.shape()), " holds ", name_of(x.dtype()), "; it must be complex"));
  Shape shape = x.shape(), strides = x.strides();
  for (std::int64_t& stride : strides) stride *= 2;
  shape.push_back(2);
  strides.push_back(1);
  return Tensor(x.storage(), 2 * x.offset(), shape, strides, real_of(x.dtype()));
}

Tensor as_complex(const Tensor& x) {
  const int last = x.rank() - 1;
  bool fits = last >= 0 && x.size(last) == 2 && x.strides()[last] == 1 && x.offset() % 2 == 0;
  Shape shape, strides;
  for (int dim = 0; dim < last; ++dim) {
    fits = fits && (x.strides()[dim] % 2 == 0 || x.size(dim) <= 1);
    shape.push_back(x.size(dim));
    strides.push_back(x.strides()[dim] / 2);
  }
  if (!fits) {
    throw ShapeError(concat("as_complex: tensor ", to_string(x.shape()), " with strides ", to_string(x.strides()),
                            " does not hold pairs of parts; call contiguous() on (..., 2) first"));
  }
  return Tensor(x.storage(), x.offset() / 2, shape, strides, complex_of(x.dtype()));
}

}  // namespace trident::view
