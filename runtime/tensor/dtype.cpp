#include "runtime/tensor/dtype.h"

#include <array>

#include "runtime/error.h"

namespace trident {
namespace {

struct Row {
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array<Row, 9> kRows{
    {{"f32", 4}, {"f64", 8}, {"bf16", 2}, {"i64", 8}, {"bool", 1}, {"c64", 8}, {"c128", 16}, {"f16", 2}, {"i32", 4}}};

}  // namespace

std::size_t size_of(DType dtype) { return kRows[static_cast<std::size_t>(dtype)].bytes; }
std::string_view name_of(DType dtype) { return kRows[static_cast<std::size_t>(dtype)].name; }
bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::bf16 || dtype == DType::f16; }
bool is_complex(DType dtype) { return dtype == DType::c64 || dtype == DType::c128; }
DType real_of(DType dtype) { return dtype == DType::c64 ? DType::f32 : dtype == DType::c128 ? DType::f64 : dtype; }

DType complex_of(DType dtype) {
  if (dtype == DType::f32) return DType::c64;
  if (dtype == DType::f64) return DType::c128;
  throw ShapeError(concat("complex numbers have parts in f32 or f64, not in ", name_of(dtype), "; convert it with cast()"));
}

}  // namespace trident
