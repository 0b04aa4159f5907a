#include "runtime/tensor/tensor.h"

#include <utility>

#include "runtime/error.h"

namespace trident {

Tensor::Tensor(std::shared_ptr<Storage> storage, std::int64_t offset, Shape shape, Shape strides, DType dtype)
    : storage_(std::move(storage)), offset_(offset), numel_(trident::numel(shape)), shape_(shape), strides_(strides), dtype_(dtype) {}

bool Tensor::is_contiguous() const {
  std::int64_t expected = 1;
  for (int dim = rank() - 1; dim >= 0; --dim) {
    if (shape_[dim] == 0) return true;
    if (shape_[dim] != 1 && strides_[dim] != expected) return false;
    expected *= shape_[dim];
  }
  return true;
}

Tensor Tensor::with_node(std::shared_ptr<Node> node) const {
  Tensor result = *this;
  result.node_ = std::move(node);
  return result;
}

void Tensor::require_dtype(DType dtype) const {
  if (!defined()) throw ShapeError("tensor: its data was asked for, but it is undefined");
  if (dtype != dtype_) {
    throw ShapeError(
        concat("tensor ", to_string(shape_), ": holds ", name_of(dtype_), ", read as ", name_of(dtype), "; convert it with cast()"));
  }
}

}  // namespace trident
