#include "checkpoint/complex_parts.h"

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {

namespace {

Shape without_last(const Shape& shape) {
  Shape result;
  for (int dim = 0; dim + 1 < shape.rank(); ++dim) result.push_back(shape[dim]);
  return result;
}

}  // namespace

bool may_be_complex_parts(const StoredTensor& tensor) {
  return tensor.dtype && is_floating(*tensor.dtype) && tensor.shape.rank() > 0 && tensor.shape[tensor.shape.rank() - 1] == 2;
}

StoredTensor complex_of_parts(StoredTensor tensor) {
  tensor.shape = without_last(tensor.shape);
  tensor.dtype = tensor.dtype == DType::f64 ? DType::c128 : DType::c64;
  tensor.load = [load = tensor.load, shape = tensor.shape, dtype = *tensor.dtype] {
    const Tensor values = empty(shape, dtype);
    copy_into(parts_of_complex(values), load());
    return values;
  };
  return tensor;
}

Tensor parts_of_complex(const Tensor& x) {
  if (!is_complex(x.dtype())) return x;
  const Tensor values = packed(x);
  Shape shape = values.shape();
  shape.push_back(2);
  return from_memory(values.bytes(), shape, values.dtype() == DType::c64 ? DType::f32 : DType::f64, values.storage());
}

Tensor complex_from_parts(const Tensor& parts) {
  return from_memory(parts.bytes(), without_last(parts.shape()), parts.dtype() == DType::f64 ? DType::c128 : DType::c64, parts.storage());
}

}  // namespace trident
