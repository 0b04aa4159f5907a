/// The tensor: a small value handle on shared memory. Everything computed is a free function in runtime/ops.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/device/allocator.h"
#include "runtime/tensor/dtype.h"
#include "runtime/tensor/shape.h"

namespace trident {

struct Node;  // runtime/autograd/tape.h

/// Memory that tensors share: a block of the allocator, or foreign memory (a mapped file, a request) kept alive by `owner`.
struct Storage {
  Block block;
  std::shared_ptr<const void> owner;
  std::byte* data = nullptr;
  std::size_t bytes = 0;
  Device device;
};

/// A view of a storage: offset, shape, strides (all in elements), number type, and the place on the tape where it was made.
/// Copies share memory and node. A default-constructed tensor is undefined.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<Storage> storage, std::int64_t offset, Shape shape, Shape strides, DType dtype);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  const Shape& strides() const { return strides_; }
  std::int64_t size(int dim) const { return shape_[dim < 0 ? dim + rank() : dim]; }
  int rank() const { return shape_.rank(); }
  std::int64_t numel() const { return numel_; }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_->device; }
  bool is_cuda() const { return device().kind == Device::Kind::cuda; }
  bool is_contiguous() const;
  std::int64_t offset() const { return offset_; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }

  /// The first element. Throws ShapeError if T is not the tensor's number type.
  template <class T>
  T* data() const {
    require_dtype(dtype_of<T>);
    return reinterpret_cast<T*>(storage_->data) + offset_;
  }
  std::byte* bytes() const { return storage_->data + offset_ * static_cast<std::int64_t>(size_of(dtype_)); }
  std::int64_t num_bytes() const { return numel_ * static_cast<std::int64_t>(size_of(dtype_)); }

  /// The node that computed this value, or its leaf; null where no gradient flows.
  const std::shared_ptr<Node>& node() const { return node_; }
  Tensor with_node(std::shared_ptr<Node> node) const;
  /// The same memory without its place on the tape.
  Tensor detached() const { return with_node(nullptr); }

 private:
  void require_dtype(DType dtype) const;

  std::shared_ptr<Storage> storage_;
  std::int64_t offset_ = 0;
  std::int64_t numel_ = 0;
  Shape shape_, strides_;
  DType dtype_ = DType::f32;
  std::shared_ptr<Node> node_;
};

}  // namespace trident
