/// Making tensors, and bringing numbers to and from the host.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/error.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// Contiguous; contents are not initialised.
Tensor empty(const Shape& shape, DType dtype, Device device = {});
Tensor empty_like(const Tensor& x);
Tensor zeros(const Shape& shape, DType dtype, Device device = {});
Tensor zeros_like(const Tensor& x);
/// Every element is `value`; floating types only.
Tensor full(const Shape& shape, double value, DType dtype, Device device = {});
/// Row-major numbers of the host, on `device`. Throws ShapeError if their count does not fit the shape.
template <class T>
Tensor from_values(const Shape& shape, std::span<const T> values, Device device = {});
template <class T>
Tensor from_values(const Shape& shape, const std::vector<T>& values, Device device = {}) {
  return from_values(shape, std::span<const T>(values), device);
}
/// A contiguous host tensor on memory that `owner` keeps alive: a mapped file, a request. Nothing is copied.
Tensor from_memory(void* data, const Shape& shape, DType dtype, std::shared_ptr<const void> owner);
/// On the host, where copies to and from GPUs need not wait; contents are not initialised.
Tensor empty_pinned(const Shape& shape, DType dtype);

/// Sets every byte to 0, in place.
void set_zero(const Tensor& x);
/// Row-major elements on the host; waits for the work that produces x.
template <class T>
std::vector<T> to_host(const Tensor& x);
/// The value of a tensor of one element, as a double; waits for it.
double to_number(const Tensor& x);

}  // namespace trident
