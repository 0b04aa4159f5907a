/// Copies of bits between strided arrays: one kernel for each size of a number, whatever its type. Where rows and columns change places, in
/// tiles through shared memory. Included by strided_copy_cuda.cu alone.
#pragma once

#include "runtime/kernels/cuda/strided_index.h"

namespace trident::cuda::copies {

inline constexpr int kThreads = 256;

struct alignas(16) Bits128 {
  std::uint64_t low, high;
};
template <std::size_t Bytes>
struct WordOf;
template <>
struct WordOf<1> {
  using Type = std::uint8_t;
};
template <>
struct WordOf<2> {
  using Type = std::uint16_t;
};
template <>
struct WordOf<4> {
  using Type = std::uint32_t;
};
template <>
struct WordOf<8> {
  using Type = std::uint64_t;
};
template <>
struct WordOf<16> {
  using Type = Bits128;
};

template <class Word>
__global__ void __launch_bounds__(kThreads) copy_kernel(unsigned count, StridedIndex<2> index, Word* target, const Word* source) {
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    std::int64_t at[2];
    index.offsets(static_cast<unsigned>(i), at);
    target[at[0]] = source[at[1]];
  }
}

/// Words of this size exchange rows and columns in tiles of 64 bytes or more a side, through shared memory.
template <class Word>
inline constexpr int kTile = sizeof(Word) == 2 ? 64 : 32;
inline constexpr int kTileRows = 8;  // threads of a block in y; 32 in x

struct Transposition {
  std::int64_t rows, columns;             // the target's innermost dimension is that of columns, the source's that of rows
  std::int64_t target_step, source_step;  // of a row in the target, of a column in the source
  unsigned column_tiles, row_tiles;
};

/// blockIdx.x: tile; blockIdx.y (striding): the other dimensions.
template <class Word>
__global__ void __launch_bounds__(32 * kTileRows)
    transpose_kernel(Transposition t, unsigned others, StridedIndex<2> index, Word* target, const Word* source) {
  constexpr int kSide = kTile<Word>;
  __shared__ Word tile[kSide][kSide + 4 / (sizeof(Word) < 4 ? sizeof(Word) : 4)];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x % t.column_tiles) * kSide;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x / t.column_tiles) * kSide;
  for (unsigned other = blockIdx.y; other < others; other += gridDim.y) {
    std::int64_t at[2];
    index.offsets(other, at);
    const Word* from = source + at[1];
    Word* to = target + at[0];
    __syncthreads();
    for (int k = static_cast<int>(threadIdx.y); k < kSide; k += kTileRows) {
      for (int i = static_cast<int>(threadIdx.x); i < kSide; i += kWarp) {
        if (row + i < t.rows && column + k < t.columns) tile[k][i] = from[(column + k) * t.source_step + row + i];
      }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.y); i < kSide; i += kTileRows) {
      for (int k = static_cast<int>(threadIdx.x); k < kSide; k += kWarp) {
        if (row + i < t.rows && column + k < t.columns) to[(row + i) * t.target_step + column + k] = tile[k][i];
      }
    }
  }
}

/// The dimension along which the source runs without gaps, where the innermost one jumps and both are long enough to tile; else -1.
inline int across_of(const StridedLoop<2>& loop) {
  constexpr std::int64_t kShortest = 8;
  const int inner = loop.shape.rank() - 1;
  if (loop.strides[0][inner] != 1 || loop.strides[1][inner] <= 1 || loop.shape[inner] < kShortest) return -1;
  for (int dim = 0; dim < inner; ++dim) {
    if (loop.strides[1][dim] == 1 && loop.shape[dim] >= kShortest) return dim;
  }
  return -1;
}

inline StridedLoop<2> without(const StridedLoop<2>& loop, int first, int second) {
  StridedLoop<2> rest;
  for (int dim = 0; dim < loop.shape.rank(); ++dim) {
    if (dim == first || dim == second) continue;
    rest.shape.push_back(loop.shape[dim]);
    for (std::size_t array = 0; array < 2; ++array) rest.strides[array].push_back(loop.strides[array][dim]);
  }
  return merged<2>(rest);
}

template <class Word>
void transpose(Cuda device, const StridedLoop<2>& loop, int across, Word* target, const Word* source) {
  constexpr std::int64_t kSide = kTile<Word>;
  constexpr unsigned kMostInY = 0xFFFF;
  const int inner = loop.shape.rank() - 1;
  const std::int64_t rows = loop.shape[across], columns = loop.shape[inner];
  const auto column_tiles = static_cast<unsigned>(divided_up(columns, kSide)), row_tiles = static_cast<unsigned>(divided_up(rows, kSide));
  const StridedLoop<2> others = without(loop, across, inner);
  const auto count = static_cast<unsigned>(numel(others.shape));
  const Transposition t{rows, columns, loop.strides[0][across], loop.strides[1][inner], column_tiles, row_tiles};
  launch_kernel(transpose_kernel<Word>, dim3(column_tiles * row_tiles, std::min(count, kMostInY)), dim3(kWarp, kTileRows), 0, device, t,
                count, StridedIndex<2>(others), target, source);
}

template <class Word>
void copy_words(Cuda device, const StridedLoop<2>& whole, Word* target, const Word* source) {
  for_each_piece(whole, [&](const StridedLoop<2>& loop, std::array<std::int64_t, 2> offsets) {
    Word* to = target + offsets[0];
    const Word* from = source + offsets[1];
    if constexpr (sizeof(Word) > 1) {
      if (const int across = across_of(loop); across >= 0) return transpose(device, loop, across, to, from);
    }
    const std::int64_t count = numel(loop.shape);
    launch_kernel(copy_kernel<Word>, strided_grid(count, kThreads), kThreads, 0, device, static_cast<unsigned>(count),
                  StridedIndex<2>(loop), to, from);
  });
}

/// `loop` in words of `width` elements, for which vectors_along holds.
inline StridedLoop<2> in_words(StridedLoop<2> loop, std::int64_t width) {
  const int inner = loop.shape.rank() - 1;
  loop.shape[inner] /= width;
  for (Shape& strides : loop.strides) {
    for (int dim = 0; dim < inner; ++dim) strides[dim] /= width;
  }
  return merged<2>(loop);
}

template <std::size_t Bytes>
void copy_bits(Cuda device, const StridedLoop<2>& loop, void* target, const void* source) {
  using Word = typename WordOf<Bytes>::Type;
  if constexpr (Bytes < 16) {
    const std::array places{reinterpret_cast<std::uintptr_t>(target) / Bytes, reinterpret_cast<std::uintptr_t>(source) / Bytes};
    constexpr auto kWidth = static_cast<std::int64_t>(16 / Bytes);
    if (vectors_along<2>(loop, places, kWidth, false)) return copy_bits<16>(device, in_words(loop, kWidth), target, source);
  }
  copy_words(device, loop, static_cast<Word*>(target), static_cast<const Word*>(source));
}

}  // namespace trident::cuda::copies
