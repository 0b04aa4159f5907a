#include <algorithm>
#include <numbers>
#include <span>

#include "parallel/parameter.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/kernels/on_threads.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr std::int64_t kBlock = 1 << 14;  // reals that a thread draws at a time

/// The reals from `first` on of a full tensor, in which a complex number takes two.
template <class T>
void draw(const Piece& piece, RandomKey key, std::int64_t first, std::span<T> reals) {
  const Init& init = piece.init;
  const bool is_complex = piece.numbers == Numbers::complex;
  const auto index = static_cast<std::uint64_t>(first);
  switch (init.kind) {
    case Init::Kind::constant:
      for (std::size_t i = 0; i < reals.size(); ++i) reals[i] = static_cast<T>(is_complex && i % 2 == 1 ? 0.0 : init.a);
      return;
    case Init::Kind::normal:
      return normals(key, index, is_complex ? init.b / std::numbers::sqrt2 : init.b, reals);
    case Init::Kind::uniform:
      for (std::size_t i = 0; i < reals.size(); ++i) reals[i] = static_cast<T>(init.a + (init.b - init.a) * uniform(key, index + i));
      return;
  }
  throw Error("initialize: unknown kind of initial value");
}

/// The owned part: runs of neighbours in the full tensor, shared out to threads by blocks.
template <class T>
void fill(const Piece& piece, RandomKey key, T* values) {
  const Shape strides = contiguous_strides(piece.full_shape);
  std::int64_t run = 1, runs = 1, offset = 0;
  int outer = piece.full_shape.rank();  // dimensions before those that a run covers
  for (bool whole = true; whole && outer > 0;) {
    const Range& range = piece.owned[static_cast<std::size_t>(--outer)];
    run *= range.size();
    offset += range.first * strides[outer];
    whole = range.size() == piece.full_shape[outer];
  }
  for (int dim = 0; dim < outer; ++dim) runs *= piece.owned[static_cast<std::size_t>(dim)].size();
  const auto start_of = [&](std::int64_t rest) {
    std::int64_t start = offset;
    for (int dim = outer - 1; dim >= 0; --dim) {
      const Range& range = piece.owned[static_cast<std::size_t>(dim)];
      start += (range.first + rest % range.size()) * strides[dim];
      rest /= range.size();
    }
    return start;
  };
  const std::int64_t reals = piece.numbers == Numbers::complex ? 2 : 1, length = run * reals, blocks = (length + kBlock - 1) / kBlock;
  share_out(runs * blocks, runs * length > kBlock ? num_threads() : 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t step = first; step < last; ++step) {
      const std::int64_t index = step / blocks, begin = step % blocks * kBlock, size = std::min(kBlock, length - begin);
      draw(piece, key, start_of(index) * reals + begin, std::span(values + index * length + begin, static_cast<std::size_t>(size)));
    }
  });
}

}  // namespace

void initialize(const NamedPiece& piece, RandomKey key) {
  const RandomKey stream = key.fold(piece.name);
  const Tensor values = piece.value.is_cuda() ? empty(piece.value.shape(), piece.value.dtype()) : piece.value;
  switch (values.dtype()) {
    case DType::f64:
      fill(piece.piece, stream, values.data<double>());
      break;
    case DType::c64:
      fill(piece.piece, stream, reinterpret_cast<float*>(values.data<c64>()));
      break;
    case DType::c128:
      fill(piece.piece, stream, reinterpret_cast<double*>(values.data<c128>()));
      break;
    default:
      fill(piece.piece, stream, values.data<float>());
  }
  if (piece.value.is_cuda()) copy_into(piece.value, values);
}

}  // namespace trident
