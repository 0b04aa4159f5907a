#include <bit>
#include <complex>
#include <cstring>
#include <type_traits>

#include "runtime/kernels/strided_copy.h"
#include "runtime/kernels/strided_loop.h"
#include "runtime/kernels/vector.h"

namespace trident {
namespace {

/// Rows and columns that are exchanged at a time: a line of the cache. The machine foresees no more streams than those of a line's columns.
template <class T>
constexpr std::int64_t kTile = 64 / static_cast<std::int64_t>(sizeof(T));

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<From, bf16>) {
    return convert<To>(std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16));
  } else if constexpr (std::is_same_v<To, bf16>) {
    const auto bits = std::bit_cast<std::uint32_t>(convert<float>(value));
    if ((bits & 0x7fffffffU) > 0x7f800000U) return bf16{static_cast<std::uint16_t>(bits >> 16 | 0x40U)};  // a quiet NaN stays one
    return bf16{static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16)};                  // to nearest, ties to even
  } else if constexpr (std::is_same_v<From, f16>) {
    return convert<To>(static_cast<float>(std::bit_cast<_Float16>(value.bits)));
  } else if constexpr (std::is_same_v<To, f16>) {
    return f16{std::bit_cast<std::uint16_t>(static_cast<_Float16>(convert<float>(value)))};
  } else if constexpr (std::is_same_v<To, c64> || std::is_same_v<To, c128>) {
    return To(static_cast<typename To::value_type>(value.real()), static_cast<typename To::value_type>(value.imag()));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From{};
  } else {
    return static_cast<To>(value);
  }
}

/// The dimension along which the source runs without gaps, where the innermost one jumps and both are long enough to tile; else -1.
int across_of(const StridedLoop<2>& loop) {
  constexpr std::int64_t kShortest = 8;
  const int inner = loop.shape.rank() - 1;
  if (loop.strides[0][inner] != 1 || loop.strides[1][inner] <= 1 || loop.shape[inner] < kShortest) return -1;
  for (int dim = 0; dim < inner; ++dim) {
    if (loop.strides[1][dim] == 1 && loop.shape[dim] >= kShortest) return dim;
  }
  return -1;
}

/// What becomes of the target; copied past the cache where it is large and vectors fill lines, as those need not be read before then.
enum class Into { copy, large_copy, sum };
constexpr std::int64_t kLargeBytes = 4 << 20;

/// Exchanges rows and columns of a tile, squares of them in registers. Every line of both sides is touched once, or twice in a row: their
/// strides are often powers of two, and such lines evict each other.
template <Into kInto, class T>
void transpose_tile(std::int64_t rows, std::int64_t columns, T* to, std::int64_t target_step, const T* from, std::int64_t source_step) {
  using Word = std::conditional_t<sizeof(T) == 4, float, double>;  // a number, or a pair of them; copied bit by bit
  using Part = std::conditional_t<std::is_same_v<T, c64>, float, Word>;
  constexpr std::int64_t L = cpu::kLanes<Word>;
  for (std::int64_t row = 0; row < rows; row += L) {
    for (std::int64_t column = 0; column < columns; column += L) {
      const std::int64_t high = std::min(L, rows - row), wide = std::min(L, columns - column);
      cpu::Vector<Word> square[L];
#pragma GCC unroll 16
      for (std::int64_t i = 0; i < L; ++i) {
        const T* of_column = from + (column + std::min(i, wide - 1)) * source_step + row;
        square[i] = cpu::load_some(reinterpret_cast<const Word*>(of_column), high);
      }
      cpu::transpose<Word>(square);
#pragma GCC unroll 16
      for (std::int64_t i = 0; i < L; ++i) {
        if (i == high) break;
        auto* of_row = reinterpret_cast<Word*>(to + (row + i) * target_step + column);
        if constexpr (kInto == Into::sum) {
          const auto sum =
              reinterpret_cast<cpu::Vector<Part>>(cpu::load_some(of_row, wide)) + reinterpret_cast<cpu::Vector<Part>>(square[i]);
          square[i] = reinterpret_cast<cpu::Vector<Word>>(sum);
        }
        if (kInto == Into::large_copy && wide == L && reinterpret_cast<std::uintptr_t>(of_row) % cpu::kVectorBytes == 0) {
          cpu::stream(of_row, square[i]);
        } else {
          cpu::store_some(of_row, square[i], wide);
        }
      }
    }
  }
}

/// As many bytes as a lane has.
template <class T>
constexpr bool kFillsLanes = sizeof(T) == 4 || sizeof(T) == 8;

template <Into kInto, class T>
void transposed(const StridedLoop<2>& loop, int across, T* target, const T* source) {
  const int inner = loop.shape.rank() - 1;
  const std::int64_t rows = loop.shape[across], columns = loop.shape[inner];
  const std::int64_t target_step = loop.strides[0][across], source_step = loop.strides[1][inner];
  const std::int64_t row_tiles = (rows + kTile<T> - 1) / kTile<T>, column_tiles = (columns + kTile<T> - 1) / kTile<T>;
  const std::int64_t total = numel(loop.shape), tasks = total / (rows * columns) * row_tiles * column_tiles;
  share_out(tasks, total > kGrain ? omp_get_max_threads() : 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t task = first; task < last;) {
      const std::int64_t column = task / row_tiles % column_tiles * kTile<T>;
      std::int64_t rest = task / row_tiles / column_tiles;
      T* to = target + column;
      const T* from = source + column * source_step;
      for (int dim = inner - 1; dim >= 0; --dim) {
        if (dim == across) continue;
        to += rest % loop.shape[dim] * loop.strides[0][dim];
        from += rest % loop.shape[dim] * loop.strides[1][dim];
        rest /= loop.shape[dim];
      }
      const std::int64_t begin = task % row_tiles, end = std::min(row_tiles, begin + last - task);  // along the source
      for (std::int64_t row = begin * kTile<T>; row < std::min(rows, end * kTile<T>); row += kTile<T>) {
        transpose_tile<kInto>(std::min(kTile<T>, rows - row), std::min(kTile<T>, columns - column), to + row * target_step, target_step,
                              from + row, source_step);
      }
      task += end - begin;
    }
    if (kInto == Into::large_copy) cpu::finish_streaming();
  });
}

/// A copy between runs without gaps. Short ones (a row of a patch) are copied by a few instructions, without a call.
template <class T>
void copy_run(T* to, const T* from, std::int64_t length) {
  const std::size_t bytes = static_cast<std::size_t>(length) * sizeof(T);
  if (bytes == 16) {
    std::memcpy(to, from, 16);
  } else if (bytes == 32) {
    std::memcpy(to, from, 32);
  } else {
    std::memcpy(to, from, bytes);
  }
}

}  // namespace

template <class To, class From>
void strided_copy(Cpu, const StridedPair& pair, To* target, const From* source) {
  const StridedLoop<2> loop = merged<2>({pair.shape, {pair.target_strides, pair.source_strides}});
  if constexpr (std::is_same_v<To, From> && kFillsLanes<To>) {
    if (const int across = across_of(loop); across >= 0) {
      const bool large = numel(loop.shape) * static_cast<std::int64_t>(sizeof(To)) >= kLargeBytes;
      return (large ? transposed<Into::large_copy, To> : transposed<Into::copy, To>)(loop, across, target, source);
    }
  }
  for_each_run(loop, [=](auto offsets, std::int64_t length, auto steps) {
    To* to = target + offsets[0];
    const From* from = source + offsets[1];
    const auto [target_step, source_step] = steps;
    if (target_step == 1 && source_step == 0) {
      std::fill_n(to, length, convert<To>(*from));
    } else if (target_step == 1 && source_step == 1) {
      if constexpr (std::is_same_v<To, From>) {
        copy_run(to, from, length);
      } else {
        for (std::int64_t i = 0; i < length; ++i) to[i] = convert<To>(from[i]);
      }
    } else {
      for (std::int64_t i = 0; i < length; ++i) to[i * target_step] = convert<To>(from[i * source_step]);
    }
  });
}

template <class T>
void strided_add(Cpu, const StridedPair& pair, T* target, const T* source) {
  const StridedLoop<2> loop = merged<2>({pair.shape, {pair.target_strides, pair.source_strides}});
  if constexpr (kFillsLanes<T>) {
    if (const int across = across_of(loop); across >= 0) return transposed<Into::sum>(loop, across, target, source);
  }
  for_each_run(loop, [=](auto offsets, std::int64_t length, auto steps) {
    T* to = target + offsets[0];
    const T* from = source + offsets[1];
    const auto [target_step, source_step] = steps;
    if (target_step == 1 && source_step == 1) {
      for (std::int64_t i = 0; i < length; ++i) to[i] += from[i];
    } else {
      for (std::int64_t i = 0; i < length; ++i) to[i * target_step] += from[i * source_step];
    }
  });
}

template <class T>
void fill(Cpu, std::int64_t count, double value, T* y) {
  const T number = convert<T>(value);
  share_out(count, count > kGrain ? omp_get_max_threads() : 1,
            [&](std::int64_t first, std::int64_t last) { std::fill(y + first, y + last, number); });
}

#define TRIDENT_COPY(To, From) template void strided_copy<To, From>(Cpu, const StridedPair&, To*, const From*);
#define TRIDENT_COPY_TO(To)      \
  TRIDENT_COPY(To, float)        \
  TRIDENT_COPY(To, double)       \
  TRIDENT_COPY(To, bf16)         \
  TRIDENT_COPY(To, f16)          \
  TRIDENT_COPY(To, std::int64_t) \
  TRIDENT_COPY(To, std::int32_t) \
  TRIDENT_COPY(To, bool)
TRIDENT_COPY_TO(float)
TRIDENT_COPY_TO(double)
TRIDENT_COPY_TO(bf16)
TRIDENT_COPY_TO(f16)
TRIDENT_COPY_TO(std::int64_t)
TRIDENT_COPY_TO(std::int32_t)
TRIDENT_COPY_TO(bool)
TRIDENT_COPY(c64, c64)
TRIDENT_COPY(c64, c128)
TRIDENT_COPY(c128, c64)
TRIDENT_COPY(c128, c128)

template void fill<float>(Cpu, std::int64_t, double, float*);
template void fill<double>(Cpu, std::int64_t, double, double*);
template void fill<bf16>(Cpu, std::int64_t, double, bf16*);
template void fill<f16>(Cpu, std::int64_t, double, f16*);

template void strided_add<float>(Cpu, const StridedPair&, float*, const float*);
template void strided_add<double>(Cpu, const StridedPair&, double*, const double*);
template void strided_add<c64>(Cpu, const StridedPair&, c64*, const c64*);
template void strided_add<c128>(Cpu, const StridedPair&, c128*, const c128*);

}  // namespace trident
