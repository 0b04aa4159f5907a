#include <numbers>

#include "parallel/parameter.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

template <class T>
T number_at(const Init& init, RandomKey key, std::int64_t global_index);

template <>
double number_at(const Init& init, RandomKey key, std::int64_t global_index) {
  const auto index = static_cast<std::uint64_t>(global_index);
  switch (init.kind) {
    case Init::Kind::constant:
      return init.a;
    case Init::Kind::normal:
      return init.a + init.b * normal(key, index);
    case Init::Kind::uniform:
      return init.a + (init.b - init.a) * uniform(key, index);
  }
  throw Error("initialize: unknown kind of initial value");
}

template <>
c128 number_at(const Init& init, RandomKey key, std::int64_t global_index) {
  if (init.kind == Init::Kind::constant) return init.a;
  Init part = init;
  if (init.kind == Init::Kind::normal) part.b /= std::numbers::sqrt2;
  return {number_at<double>(part, key, 2 * global_index), number_at<double>(part, key, 2 * global_index + 1)};
}

/// The owned part, one row of its last dimension at a time, so that rows are shared out to threads.
template <class Wide, class T>
void fill(const Piece& piece, RandomKey key, T* values) {
  const int last = piece.full_shape.rank() - 1;
  const std::int64_t width = last < 0 ? 1 : piece.owned[static_cast<std::size_t>(last)].size();
  std::int64_t rows = 1;
  for (int dim = 0; dim < last; ++dim) rows *= piece.owned[static_cast<std::size_t>(dim)].size();
  const Shape strides = contiguous_strides(piece.full_shape);
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t rest = row, start = last < 0 ? 0 : piece.owned[static_cast<std::size_t>(last)].first;
    for (int dim = last - 1; dim >= 0; --dim) {
      const Range& range = piece.owned[static_cast<std::size_t>(dim)];
      start += (range.first + rest % range.size()) * strides[dim];
      rest /= range.size();
    }
    for (std::int64_t i = 0; i < width; ++i) values[row * width + i] = static_cast<T>(number_at<Wide>(piece.init, key, start + i));
  }
}

}  // namespace

void initialize(const NamedPiece& piece, RandomKey key) {
  const RandomKey stream = key.fold(piece.name);
  const Tensor values = piece.value.is_cuda() ? empty(piece.value.shape(), piece.value.dtype()) : piece.value;
  switch (values.dtype()) {
    case DType::f64:
      fill<double>(piece.piece, stream, values.data<double>());
      break;
    case DType::c64:
      fill<c128>(piece.piece, stream, values.data<c64>());
      break;
    case DType::c128:
      fill<c128>(piece.piece, stream, values.data<c128>());
      break;
    default:
      fill<double>(piece.piece, stream, values.data<float>());
  }
  if (piece.value.is_cuda()) copy_into(piece.value, values);
}

}  // namespace trident
