#include "tests/support/random_tensor.h"

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/random.h"

namespace trident::testing {

Tensor random_tensor(const Shape& shape, std::uint64_t seed, DType dtype) {
  std::vector<double> values(static_cast<std::size_t>(numel(shape)));
  const RandomKey key = RandomKey(seed).fold("random_tensor");
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = normal(key, i);
  const Tensor x = empty(shape, dtype);
  copy_into(x, from_values(shape, values));
  return x;
}

Tensor strided_copy_of(const Tensor& x) {
  Shape strides = x.shape();
  std::int64_t size = 1;
  for (int dim = 0; dim < x.rank(); ++dim) {
    strides[dim] = size;
    size *= x.size(dim) + 1;
  }
  const Tensor memory = zeros({size}, x.dtype());
  const Tensor copy(memory.storage(), 0, x.shape(), strides, x.dtype());
  copy_into(copy, x);
  return copy;
}

Tensor as_f32(const Tensor& x) {
  const auto values = to_host<double>(x);
  return from_values(x.shape(), std::vector<float>(values.begin(), values.end()));
}

Tensor as_f64(const Tensor& x) {
  const auto values = to_host<float>(x);
  return from_values(x.shape(), std::vector<double>(values.begin(), values.end()));
}

}  // namespace trident::testing
