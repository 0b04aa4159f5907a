/// Registers of numbers, and the small matrix product on them that kernels of fixed-size tiles are made of.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __AVX__
#include <immintrin.h>
#endif

namespace trident::cpu {

#ifdef __AVX512F__
inline constexpr int kVectorBytes = 64;
inline constexpr int kTileRows = 8;
#else
inline constexpr int kVectorBytes = 32;  // x86-64-v3
inline constexpr int kTileRows = 4;      // 16 registers hold a tile of 4 rows by 2 vectors and its operands
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
inline Vector<T> load(const T* from) {
  Vector<T> value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
inline void store(T* to, Vector<T> value) {
  std::memcpy(to, &value, sizeof value);
}
template <class T>
inline Vector<T> broadcast(T value) {
  return Vector<T>{} + value;
}

/// x, which the compiler then reads once: left to itself it may read a factor of several products from memory for each of them.
template <class V>
inline V in_register(V x) {
  asm("" : "+v"(x));
  return x;
}

/// a > b ? a : b, which the compiler would compute by a comparison and a choice.
template <class T>
inline Vector<T> maximum(Vector<T> a, Vector<T> b) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {
    return _mm512_maskz_max_ps(0xFFFF, a, b);  // _mm512_max_ps is warned of by GCC 12
  } else {
    return _mm512_maskz_max_pd(0xFF, a, b);
  }
#else
  if constexpr (sizeof(T) == 4) {
    return _mm256_max_ps(a, b);
  } else {
    return _mm256_max_pd(a, b);
  }
#endif
}

template <class T>
inline Vector<T> square_root(Vector<T> x) {
  for (int lane = 0; lane < kLanes<T>; ++lane) x[lane] = std::sqrt(x[lane]);
  return x;
}

/// Integers of T's size, one per lane.
template <class T>
struct PlacesOf {
  using Number = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef Number type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Places = typename PlacesOf<T>::type;

/// Combines all lanes, halves with halves, by combine(vector, vector). A recursion: loops over halves are not always unrolled, and places
/// of lanes that are computed while running cost more than what is combined.
template <class T, int kHalf = kLanes<T> / 2, class Combine>
inline T across_lanes(Vector<T> x, Combine&& combine) {
  if constexpr (kHalf == 0) {
    return x[0];
  } else {
    Places<T> exchanged;
    for (int lane = 0; lane < kLanes<T>; ++lane) exchanged[lane] = lane ^ kHalf;
    return across_lanes<T, kHalf / 2>(combine(x, __builtin_shuffle(x, exchanged)), combine);
  }
}
template <class T>
inline T sum_of_lanes(Vector<T> x) {
  return across_lanes<T>(x, [](Vector<T> a, Vector<T> b) { return a + b; });
}
template <class T>
inline T largest_lane(Vector<T> x) {
  return across_lanes<T>(x, maximum<T>);
}

/// p times 2^n, for n that was added to 1.5 * 2^23 to give `shifted`: its low bits go to p's exponent. Any number where that overflows.
inline Vector<float> times_power_of_two(Vector<float> p, const Vector<float>& shifted) {
  using Bits [[gnu::vector_size(sizeof(Vector<float>))]] = std::uint32_t;
  Bits exponent, bits;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  std::memcpy(&bits, &p, sizeof bits);
  bits += exponent << 23;
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

/// e^x for x <= 0, within 2 ulp; 0 below -44, where it is less than 1e-19. A probability so far below a row's largest is lost when the row
/// is added up in f32, but its products with gradients would be subnormal, which some processors multiply fifty times slower.
inline Vector<float> exp_nonpositive(Vector<float> x) {
  const Vector<float> round = broadcast(12582912.0F);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Vector<float> shifted = x * 1.44269504F + round, n = shifted - round;
  const Vector<float> r = x - n * 0.693145752F + n * -1.42860682e-6F;  // x - n ln 2, with ln 2 in two parts
  Vector<float> p = r * 0x1.6a1a0cp-10F + 0x1.123fc6p-7F;              // (e^r - 1 - r) / r^2
  p = r * p + 0x1.555916p-5F;
  p = r * p + 0x1.55548ap-3F;
  p = r * p + 0x1.fffffcp-2F;
  p = r * p + 1.0F;
  p = r * p + 1.0F;
  return x < -44.0F ? Vector<float>{} : times_power_of_two(p, shifted);
}
inline Vector<double> exp_nonpositive(Vector<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}

/// The first `count` numbers, and zeros behind them.
template <class T>
inline Vector<T> load_some(const T* from, std::int64_t count) {
  if (count >= kLanes<T>) return load(from);
#ifdef __AVX512F__
  const auto mask = (1U << count) - 1;
  if constexpr (sizeof(T) == 4) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
  } else {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), from);
  }
#else
  T lanes[kLanes<T>] = {};
  for (std::int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return load(lanes);
#endif
}
/// The first `count` numbers of x alone.
template <class T>
inline void store_some(T* to, Vector<T> x, std::int64_t count) {
  if (count >= kLanes<T>) return store(to, x);
#ifdef __AVX512F__
  const auto mask = (1U << count) - 1;
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), x);
  } else {
    _mm512_mask_storeu_pd(to, static_cast<__mmask8>(mask), x);
  }
#else
  for (std::int64_t i = 0; i < count; ++i) to[i] = x[static_cast<int>(i)];
#endif
}

/// Stores past the caches, for what is not read soon; `to` begins a vector. Other threads see it after finish_streaming().
template <class T>
inline void stream(T* to, Vector<T> value) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {
    _mm512_stream_ps(to, value);
  } else {
    _mm512_stream_pd(to, value);
  }
#else
  if constexpr (sizeof(T) == 4) {
    _mm256_stream_ps(to, value);
  } else {
    _mm256_stream_pd(to, value);
  }
#endif
}
inline void finish_streaming() { _mm_sfence(); }

/// How a tile's numbers are stored.
enum class Storing { cached, streamed };

/// x[i] lane j <-> x[j] lane i, by exchanging ever smaller blocks.
template <class T, int kHalf = kLanes<T> / 2>
[[gnu::always_inline]] inline void transpose(Vector<T> (&x)[kLanes<T>]) {
  if constexpr (kHalf > 0) {
    constexpr int L = kLanes<T>;
    Places<T> first, second;
    for (int lane = 0; lane < L; ++lane) {
      first[lane] = (lane & kHalf) == 0 ? lane : L + lane - kHalf;
      second[lane] = (lane & kHalf) == 0 ? lane + kHalf : L + lane;
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
      if ((i & kHalf) != 0) continue;
      const Vector<T> a = x[i], b = x[i + kHalf];
      x[i] = __builtin_shuffle(a, b, first);
      x[i + kHalf] = __builtin_shuffle(a, b, second);
    }
    transpose<T, kHalf / 2>(x);
  }
}

/// A matrix that a product reads one number at a time: rows lie `step` apart, or columns do.
enum class Layout { rows, columns };
template <class T, Layout kLayout>
struct Scalars {
  const T* data;
  std::int64_t step;
  /// The matrix from `row` on.
  Scalars from(std::int64_t row) const { return {data + (kLayout == Layout::rows ? row * step : row), step}; }
};
/// A matrix read or written by whole vectors: rows of `step` numbers.
template <class T>
struct Rows {
  T* data;
  std::int64_t step;
};

/// A distance between rows that products know when they are compiled: with distances that vary, addresses take more registers than there
/// are. No multiple of 256 numbers, so that a column of a matrix does not fall into one set of the cache.
inline constexpr std::int64_t kRowStep = 272;

/// What a product is added to.
enum class Start { zero, given };

/// c (kRows, V vectors) = start + a b; `depth` is the extent that is summed over. kStep: a's step, or 0 if it is not known when compiled.
/// Loops are unrolled by hand: GCC 12 else keeps sums in memory before and after them.
template <int kRows, int V, Start kStart, std::int64_t kStep, class T, Layout kLayout>
inline void product_tile(std::int64_t depth, Scalars<T, kLayout> a, Rows<const T> b, Rows<const T> start, Rows<T> c) {
  constexpr int L = kLanes<T>;
  const std::int64_t step = kStep > 0 ? kStep : a.step;
  Vector<T> sum[kRows][V];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[row][v] = kStart == Start::given ? load(start.data + row * start.step + v * L) : Vector<T>{};
  }
  for (std::int64_t i = 0; i < depth; ++i) {
    Vector<T> right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) right[v] = load(b.data + i * b.step + v * L);
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      const T left = kLayout == Layout::rows ? a.data[row * step + i] : a.data[i * step + row];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[row][v] += left * right[v];
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) store(c.data + row * c.step + v * L, sum[row][v]);
  }
}

/// Columns of V vectors of c, in as tall tiles as registers hold.
template <int V, Start kStart, std::int64_t kStep, class T, Layout kLayout>
inline void product_column(std::int64_t rows, std::int64_t depth, Scalars<T, kLayout> a, Rows<const T> b, Rows<const T> start, Rows<T> c) {
  constexpr int kTall = V == 1 ? 2 * kTileRows : kTileRows;
  std::int64_t row = 0;
  const auto at = [&](auto matrix) {
    matrix.data += row * matrix.step;
    return matrix;
  };
  for (; row + kTall <= rows; row += kTall) product_tile<kTall, V, kStart, kStep>(depth, a.from(row), b, at(start), at(c));
  for (; row < rows; row += kTileRows) product_tile<kTileRows, V, kStart, kStep>(depth, a.from(row), b, at(start), at(c));
}

template <Start kStart, std::int64_t kStep, class T, Layout kLayout>
inline void product_of_tiles(std::int64_t rows, std::int64_t width, std::int64_t depth, Scalars<T, kLayout> a, Rows<const T> b,
                             Rows<const T> start, Rows<T> c) {
  constexpr int L = kLanes<T>;
  std::int64_t column = 0;
  const auto at = [&](auto matrix) {
    matrix.data += column;
    return matrix;
  };
  for (; column + 2 * L <= width; column += 2 * L) product_column<2, kStart, kStep>(rows, depth, a, at(b), at(start), at(c));
  for (; column < width; column += L) product_column<1, kStart, kStep>(rows, depth, a, at(b), at(start), at(c));
}

template <Start kStart, class T, Layout kLayout>
inline void product_by_step(std::int64_t rows, std::int64_t width, std::int64_t depth, Scalars<T, kLayout> a, Rows<const T> b,
                            Rows<const T> start, Rows<T> c) {
  if (a.step == kRowStep) return product_of_tiles<kStart, kRowStep>(rows, width, depth, a, b, start, c);
  if (a.step == 16) return product_of_tiles<kStart, 16>(rows, width, depth, a, b, start, c);
  if (a.step == 32) return product_of_tiles<kStart, 32>(rows, width, depth, a, b, start, c);
  product_of_tiles<kStart, 0>(rows, width, depth, a, b, start, c);
}

/// c (rows, width) = a b; rows is a multiple of kTileRows and width of kLanes.
template <class T, Layout kLayout>
inline void small_product(std::int64_t rows, std::int64_t width, std::int64_t depth, Scalars<T, kLayout> a, Rows<const T> b, Rows<T> c) {
  product_by_step<Start::zero>(rows, width, depth, a, b, {c.data, c.step}, c);
}
/// c = start + a b.
template <class T, Layout kLayout>
inline void small_product_from(Rows<const T> start, std::int64_t rows, std::int64_t width, std::int64_t depth, Scalars<T, kLayout> a,
                               Rows<const T> b, Rows<T> c) {
  product_by_step<Start::given>(rows, width, depth, a, b, start, c);
}

}  // namespace trident::cpu
