#include "parallel/combine.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "runtime/error.h"

namespace trident {
namespace {

template <class T, class Combine>
void combine_blocks(std::span<std::byte* const> parts, std::byte* target, std::int64_t count, Combine combine) {
  // A block at a time, because `target` may be one of the parts.
  constexpr std::int64_t kBlock = 1024;
  constexpr auto kBytes = static_cast<std::int64_t>(sizeof(T));
  std::array<T, kBlock> sum;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t size = std::min(kBlock, count - begin);
    std::memcpy(sum.data(), parts[0] + begin * kBytes, static_cast<std::size_t>(size * kBytes));
    for (const std::byte* part : parts.subspan(1)) {
      const T* numbers = reinterpret_cast<const T*>(part) + begin;
      for (std::int64_t i = 0; i < size; ++i) sum[static_cast<std::size_t>(i)] = combine(sum[static_cast<std::size_t>(i)], numbers[i]);
    }
    std::memcpy(target + begin * kBytes, sum.data(), static_cast<std::size_t>(size * kBytes));
  }
}

template <class T>
void combine_as(std::span<std::byte* const> parts, std::byte* target, std::int64_t bytes, ReduceOp op) {
  const std::int64_t count = bytes / static_cast<std::int64_t>(sizeof(T));
  switch (op) {
    case ReduceOp::sum:
      return combine_blocks<T>(parts, target, count, [](T a, T b) { return static_cast<T>(a + b); });
    case ReduceOp::max:
      return combine_blocks<T>(parts, target, count, [](T a, T b) { return a < b ? b : a; });
    case ReduceOp::min:
      return combine_blocks<T>(parts, target, count, [](T a, T b) { return b < a ? b : a; });
  }
}

}  // namespace

void require_combinable(const char* call, DType dtype, ReduceOp op) {
  const bool number = dtype == DType::f32 || dtype == DType::f64 || dtype == DType::i64;
  if (number || (dtype == DType::boolean && op != ReduceOp::sum) || (is_complex(dtype) && op == ReduceOp::sum)) return;
  throw ShapeError(
      concat(call, ": ", name_of(dtype), op == ReduceOp::sum ? " cannot be summed" : " has no order", "; convert it with cast()"));
}

void combine_in_order(DType dtype, std::span<std::byte* const> parts, std::byte* target, std::int64_t bytes, ReduceOp op) {
  switch (dtype) {
    case DType::f32:
    case DType::c64:
      return combine_as<float>(parts, target, bytes, op);
    case DType::f64:
    case DType::c128:
      return combine_as<double>(parts, target, bytes, op);
    case DType::i64:
      return combine_as<std::int64_t>(parts, target, bytes, op);
    case DType::boolean:
      return combine_as<std::uint8_t>(parts, target, bytes, op);
    default:
      throw ShapeError(concat("reduction of ", name_of(dtype), ": not supported"));
  }
}

}  // namespace trident
