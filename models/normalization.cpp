#include "models/normalization.h"

#include <algorithm>
#include <complex>

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

/// In the number type of the values, as the reference computes: its rounding is part of the published models' inputs.
template <class T>
void normalize_in_place(const Channel& channel, std::span<T> values) {
  const T shift = static_cast<T>(channel.shift), mean = static_cast<T>(channel.mean), std = static_cast<T>(channel.std);
  for (T& value : values) value = ((value - shift) - mean) / std;
}

template <class T>
void normalize_in_place(const Channel& channel, std::span<std::complex<T>> values) {
  const auto std = static_cast<T>(channel.std);
  const std::complex<T> mean(static_cast<T>(channel.mean), static_cast<T>(channel.mean_imag));
  for (std::complex<T>& value : values) value = (value - static_cast<T>(channel.shift) - mean) / std;
}

template <class T>
void denormalize_in_place(const Channel& channel, std::span<T> values) {
  const T shift = static_cast<T>(channel.shift), mean = static_cast<T>(channel.mean), std = static_cast<T>(channel.std);
  for (T& value : values) value = value * std + mean + shift;
}

template <class T>
void denormalize_in_place(const Channel& channel, std::span<std::complex<T>> values) {
  const auto std = static_cast<T>(channel.std);
  const std::complex<T> mean(static_cast<T>(channel.mean), static_cast<T>(channel.mean_imag));
  for (std::complex<T>& value : values) value = value * std + mean + static_cast<T>(channel.shift);
}

void require_channels(const char* where, const Tensor& x, const std::vector<Channel>& channels, int dims) {
  if (x.rank() > dims && x.size(-dims - 1) == static_cast<std::int64_t>(channels.size())) return;
  throw ShapeError(concat(where, ": fields ", to_string(x.shape()), " do not have the problem's ", channels.size(), " channels on axis ",
                          -dims - 1, "; give all of them, before the axes of space"));
}

/// Calls body(channel, its values in one sample) over contiguous fields.
template <class T, class Body>
void for_each_plane(const Tensor& x, const std::vector<Channel>& channels, int dims, Body body) {
  std::size_t points = 1;
  for (int dim = -dims; dim < 0; ++dim) points *= static_cast<std::size_t>(x.size(dim));
  const auto planes = points == 0 ? 0 : static_cast<std::size_t>(x.numel()) / points;
  T* data = x.data<T>();
  for (std::size_t plane = 0; plane < planes; ++plane) body(channels[plane % channels.size()], std::span<T>(data + plane * points, points));
}

/// Calls work(T{}) with the number type of x.
template <class Work>
void in_type_of(const char* where, const Tensor& x, Work work) {
  if (x.dtype() == DType::f32) return work(float{});
  if (x.dtype() == DType::f64) return work(double{});
  if (x.dtype() == DType::c64) return work(c64{});
  if (x.dtype() == DType::c128) return work(c128{});
  throw ShapeError(concat(where, ": fields are ", name_of(x.dtype()), "; convert them to f32, f64, c64 or c128"));
}

Tensor copy_of(const Tensor& x) {
  Tensor result = empty(x.shape(), x.dtype(), x.device());
  copy_into(result, x);
  return result;
}

}  // namespace

void normalize_values(const Channel& channel, std::span<float> values) { normalize_in_place(channel, values); }

void normalize_pairs(const Channel& channel, std::span<float> values) {
  const std::span<c64> pairs(reinterpret_cast<c64*>(values.data()), values.size() / 2);
  normalize_in_place(channel, pairs);
}

Tensor normalize(const Tensor& x, const std::vector<Channel>& channels, int dims) {
  require_channels("normalize", x, channels, dims);
  const Tensor result = copy_of(x);
  in_type_of("normalize", x, [&](auto type) {
    using T = decltype(type);
    for_each_plane<T>(result, channels, dims, [](const Channel& channel, std::span<T> values) { normalize_in_place(channel, values); });
  });
  return result;
}

Tensor denormalize(const Tensor& x, const std::vector<Channel>& channels, int dims) {
  require_channels("denormalize", x, channels, dims);
  const Tensor result = copy_of(x);
  in_type_of("denormalize", x, [&](auto type) {
    using T = decltype(type);
    for_each_plane<T>(result, channels, dims, [](const Channel& channel, std::span<T> values) { denormalize_in_place(channel, values); });
  });
  return result;
}

void fill_masked_channels(const Tensor& x, const std::vector<Channel>& channels, int dims) {
  require_channels("fill_masked_channels", x, channels, dims);
  if (!x.is_contiguous())
    throw ShapeError(concat("fill_masked_channels: fields ", to_string(x.shape()), " are not contiguous; pack them first"));
  in_type_of("fill_masked_channels", x, [&](auto type) {
    using T = decltype(type);
    for_each_plane<T>(x, channels, dims, [](const Channel& channel, std::span<T> values) {
      if (channel.masked) std::fill(values.begin(), values.end(), static_cast<T>(channel.value));
    });
  });
}

}  // namespace trident
