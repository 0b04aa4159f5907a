#include "runtime/tensor/create.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_driver.h"
#include "runtime/device/launch_only.h"
#include "runtime/kernels/on_threads.h"
#include "runtime/kernels/strided_copy.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

std::size_t bytes_of(const Shape& shape, DType dtype) {
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(numel(shape), static_cast<std::int64_t>(size_of(dtype)), &bytes)) {
    throw ShapeError(concat("shape ", to_string(shape), " of ", name_of(dtype), ": more bytes than 63 bits can count"));
  }
  return static_cast<std::size_t>(bytes);
}

}  // namespace

Tensor empty(const Shape& shape, DType dtype, Device device) {
  auto storage = std::make_shared<Storage>();
  storage->bytes = bytes_of(shape, dtype);
  storage->block = Block(storage->bytes, device);
  storage->data = static_cast<std::byte*>(storage->block.data());
  storage->device = device;
  return Tensor(std::move(storage), 0, shape, contiguous_strides(shape), dtype);
}

Tensor empty_like(const Tensor& x) { return empty(x.shape(), x.dtype(), x.device()); }

Tensor zeros(const Shape& shape, DType dtype, Device device) {
  Tensor x = empty(shape, dtype, device);
  set_zero(x);
  return x;
}

Tensor zeros_like(const Tensor& x) { return zeros(x.shape(), x.dtype(), x.device()); }

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor x = empty(shape, dtype, device);
  on_device("full", device, [&](auto on) {
    if (dtype == DType::f32) return fill(on, x.numel(), value, x.data<float>());
    if (dtype == DType::f64) return fill(on, x.numel(), value, x.data<double>());
    if (dtype == DType::bf16) return fill(on, x.numel(), value, x.data<bf16>());
    if (dtype == DType::f16) return fill(on, x.numel(), value, x.data<f16>());
    throw ShapeError(concat("full: fills floating types, got ", name_of(dtype)));
  });
  return x;
}

template <class T>
Tensor from_values(const Shape& shape, std::span<const T> values, Device device) {
  if (numel(shape) != static_cast<std::int64_t>(values.size())) {
    throw ShapeError(concat("from_values: shape ", to_string(shape), " takes ", numel(shape), " numbers, got ", values.size()));
  }
  Tensor x = empty(shape, dtype_of<T>);
  if (!values.empty()) std::memcpy(x.bytes(), values.data(), values.size_bytes());
  return to_device(x, device);
}

Tensor from_memory(void* data, const Shape& shape, DType dtype, std::shared_ptr<const void> owner) {
  auto storage = std::make_shared<Storage>();
  storage->owner = std::move(owner);
  storage->data = static_cast<std::byte*>(data);
  storage->bytes = bytes_of(shape, dtype);
  return Tensor(std::move(storage), 0, shape, contiguous_strides(shape), dtype);
}

Tensor empty_pinned(const Shape& shape, DType dtype) {
  const std::shared_ptr<void> memory = pinned_memory(bytes_of(shape, dtype));
  return from_memory(memory.get(), shape, dtype, memory);
}

void set_zero(const Tensor& x) {
  if (x.numel() == 0 || x.device().counted) return;
  if (!x.is_contiguous()) return copy_into(x, view::broadcast_to(zeros({1}, x.dtype(), x.device()), x.shape()));
  const auto bytes = static_cast<std::size_t>(x.num_bytes());
  if constexpr (build::kHasCuda) {
    if (x.is_cuda()) return cuda_driver::set_zero(x.bytes(), bytes, current_stream(x.device()).handle());
  }
  constexpr std::size_t kLargeBytes = std::size_t{4} << 20;  // one thread alone does not fill the memory's bandwidth
  share_out(static_cast<std::int64_t>(bytes), bytes >= kLargeBytes ? omp_get_max_threads() : 1,
            [&](std::int64_t first, std::int64_t last) { std::memset(x.bytes() + first, 0, static_cast<std::size_t>(last - first)); });
}

template <class T>
std::vector<T> to_host(const Tensor& x) {
  require_waiting_allowed("to_host");
  const Tensor flat = to_device(packed(x), {});
  const T* data = flat.data<T>();
  return std::vector<T>(data, data + flat.numel());
}

double to_number(const Tensor& x) {
  if (x.numel() != 1) throw ShapeError(concat("to_number: a tensor of one element is needed, got ", to_string(x.shape())));
  require_waiting_allowed("to_number");
  double value = 0;
  const Tensor number = from_memory(&value, x.shape(), DType::f64, nullptr);
  copy_into(number, x);
  return value;
}

template Tensor from_values(const Shape&, std::span<const float>, Device);
template Tensor from_values(const Shape&, std::span<const double>, Device);
template Tensor from_values(const Shape&, std::span<const std::int64_t>, Device);
template Tensor from_values(const Shape&, std::span<const std::int32_t>, Device);
template Tensor from_values(const Shape&, std::span<const bool>, Device);
template Tensor from_values(const Shape&, std::span<const c64>, Device);
template Tensor from_values(const Shape&, std::span<const c128>, Device);
template std::vector<float> to_host(const Tensor&);
template std::vector<double> to_host(const Tensor&);
template std::vector<std::int64_t> to_host(const Tensor&);
template std::vector<std::int32_t> to_host(const Tensor&);
template std::vector<c64> to_host(const Tensor&);
template std::vector<c128> to_host(const Tensor&);

}  // namespace trident
