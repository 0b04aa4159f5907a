/// Offsets into strided arrays from the number of an element, without divisions.
#pragma once

#include <array>

#include "runtime/kernels/cuda/kernel.h"
#include "runtime/kernels/merged_strides.h"

namespace trident::cuda {

/// Divides numbers below 2^31 by a constant with a multiplication.
/// Source: Granlund and Montgomery 1994, "Division by invariant integers using multiplication".
struct Divisor {
  unsigned divisor = 1, magic = 1, shift = 0;

  Divisor() = default;
  explicit Divisor(std::int64_t by) : divisor(static_cast<unsigned>(by)) {
    while ((std::uint64_t{1} << shift) < divisor) ++shift;
    magic = static_cast<unsigned>(((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - divisor)) / divisor + 1);
  }
  __device__ __forceinline__ unsigned quotient(unsigned n) const { return (__umulhi(n, magic) + n) >> shift; }
};

/// The places in N arrays of element number `index`, counted row-major.
template <int N>
struct StridedIndex {
  int rank;
  int unused = 0;  // in place of padding: the emulation looks at every word of an argument
  Divisor extents[Shape::kMaxRank];
  std::int64_t strides[N][Shape::kMaxRank];

  explicit StridedIndex(const StridedLoop<N>& loop) : rank(loop.shape.rank()) {
    for (int dim = 0; dim < rank; ++dim) {
      extents[dim] = Divisor(loop.shape[dim]);
      for (int array = 0; array < N; ++array) strides[array][dim] = loop.strides[static_cast<std::size_t>(array)][dim];
    }
    for (int dim = rank; dim < Shape::kMaxRank; ++dim) {
      for (int array = 0; array < N; ++array) strides[array][dim] = 0;
    }
  }

  __device__ __forceinline__ void offsets(unsigned index, std::int64_t (&result)[N]) const {
#pragma unroll
    for (int array = 0; array < N; ++array) result[array] = 0;
#pragma unroll
    for (int dim = Shape::kMaxRank - 1; dim > 0; --dim) {
      if (dim >= rank) continue;
      const unsigned rest = extents[dim].quotient(index);
      const unsigned position = index - rest * extents[dim].divisor;
#pragma unroll
      for (int array = 0; array < N; ++array) result[array] += strides[array][dim] * position;
      index = rest;
    }
#pragma unroll
    for (int array = 0; array < N; ++array) result[array] += strides[array][0] * index;
  }
};

#ifdef __CUDACC__
inline std::int64_t longest_loop() { return std::int64_t{1} << 31; }
#else
using emulation::longest_loop;
#endif

/// Calls piece(loop, offsets of its first element in each array) for parts of fewer than 2^31 elements; for none where there are none.
template <std::size_t N, class Piece>
void for_each_piece(const StridedLoop<N>& loop, Piece&& piece, std::array<std::int64_t, N> offsets = {}) {
  const std::int64_t count = numel(loop.shape);
  if (count == 0) return;
  if (count < longest_loop()) return piece(loop, offsets);
  int widest = 0;
  for (int dim = 1; dim < loop.shape.rank(); ++dim) {
    if (loop.shape[dim] > loop.shape[widest]) widest = dim;
  }
  StridedLoop<N> first = loop, second = loop;
  first.shape[widest] = loop.shape[widest] / 2;
  second.shape[widest] = loop.shape[widest] - first.shape[widest];
  for_each_piece(first, piece, offsets);
  for (std::size_t array = 0; array < N; ++array) offsets[array] += first.shape[widest] * loop.strides[array][widest];
  for_each_piece(second, piece, offsets);
}

/// Whether every array can be read in vectors of `width` along the innermost dimension: it is without gaps or, where `repeats` allows it,
/// repeated there, and all other strides and the places of the arrays are multiples. `places`: first elements, in elements.
template <std::size_t N>
bool vectors_along(const StridedLoop<N>& loop, const std::array<std::uintptr_t, N>& places, std::int64_t width, bool repeats) {
  const int inner = loop.shape.rank() - 1;
  if (loop.shape[inner] % width != 0) return false;
  for (std::size_t array = 0; array < N; ++array) {
    const std::int64_t step = loop.strides[array][inner];
    if (step == 0 && repeats) continue;
    if (step != 1 || places[array] % static_cast<std::uintptr_t>(width) != 0) return false;
    for (int dim = 0; dim < inner; ++dim) {
      if (loop.strides[array][dim] % width != 0) return false;
    }
  }
  return true;
}

}  // namespace trident::cuda
