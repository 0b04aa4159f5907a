/// Number types of tensors.
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace trident {

/// f16 and i32 are there for reading files; nothing computes in them.
enum class DType : std::uint8_t { f32, f64, bf16, i64, boolean, c64, c128, f16, i32 };

std::size_t size_of(DType dtype);  // bytes
/// "f32", "bool", ...
std::string_view name_of(DType dtype);
bool is_floating(DType dtype);  // f32, f64, bf16, f16
bool is_complex(DType dtype);
DType real_of(DType dtype);     // the type of the parts of c64 and c128; any other is its own
DType complex_of(DType dtype);  // of f32 c64, of f64 c128; throws ShapeError for others

using c64 = std::complex<float>;
using c128 = std::complex<double>;

/// bf16 as stored: the upper half of an f32.
struct bf16 {
  std::uint16_t bits;
};

/// f16 as stored: IEEE binary16.
struct f16 {
  std::uint16_t bits;
};

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::boolean;
};
template <>
struct DTypeOf<c64> {
  static constexpr DType value = DType::c64;
};
template <>
struct DTypeOf<c128> {
  static constexpr DType value = DType::c128;
};
template <class T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

}  // namespace trident
