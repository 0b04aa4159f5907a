// With numbers as pairs (re, im), a b = re(a) b + im(a) i b: two sums, of re(a) b and of im(a) b, need no exchange of lanes until the last
// step, when the second is multiplied by i. Vectors run along b's columns; a is read one number at a time, wherever it lies.
//
// Where what is summed lies side by side in both, as in gradients of factors, vectors run along that: dots of rows of a and columns of b.
#include <omp.h>

#include <algorithm>
#include <bit>
#include <complex>
#include <span>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/complex_pairs.h"
#include "runtime/kernels/lane_sums.h"
#include "runtime/kernels/strided_product.h"

namespace trident {
namespace {

using cpu::kLanes;
using cpu::Start;
using cpu::Vector;

#ifdef __AVX512F__
constexpr int kTall = 6;  // rows of a tile: with 2 vectors of columns, 24 registers of sums
#else
constexpr int kTall = 3;
#endif
constexpr std::int64_t kRowsOfBlock = 8 * kTall, kDepthOfBlock = 192;  // of a: what stays in the cache while b's columns pass
constexpr std::int64_t kWorthThreads = 1 << 18;                        // multiplications
constexpr std::int64_t kDotBytes = 1 << 19;                            // of a's rows and b's columns that stay in the cache between dots
constexpr int kDotRows = kTall / 2, kDotColumns = kTall == 6 ? 4 : 1;  // of a tile: with two sums for each, 24 registers or 2

template <class T>
constexpr std::int64_t kLeastRun = 4 * kLanes<T>;  // of numbers to be summed for which dots are worth it, but for
constexpr std::int64_t kFewRows = 2;               // rows, for which columns are not worth packing

/// Signs of (re, im) by which conjugates come in: conj(a) b has -im(a); a conj(b) = conj(conj(a) b).
template <class T>
struct Signs {
  Vector<T> straight, turned;
  Signs(bool conjugate_a, bool conjugate_b) {
    const T outer = conjugate_b ? T(-1) : T(1), inner = conjugate_a != conjugate_b ? T(-1) : T(1);
    for (int lane = 0; lane < kLanes<T>; ++lane) {
      straight[lane] = (lane & 1) == 0 ? T(1) : outer;
      turned[lane] = (lane & 1) == 0 ? -inner : inner * outer;
    }
  }
};

/// A part of the product: numbers instead of complex elements, `numbers` of c's columns.
template <class T>
struct Part {
  std::int64_t rows, depth, numbers;
  const T* a;
  std::int64_t a_m, a_k;
  const T* b;
  std::int64_t b_k;
  T* c;
  std::int64_t c_m;
};

/// H rows and V vectors of columns, of which the last holds `last` numbers, a whole vector or what is left of one. (No function in here
/// takes the sums by reference: they would lie in memory.)
template <int H, int V, Start kStart, bool kWhole, class T>
void tile(const Part<T>& part, const Signs<T>& signs, std::int64_t last) {
  constexpr int L = kLanes<T>;
  Vector<T> straight[H][V], turned[H][V];
#pragma GCC unroll 8
  for (int row = 0; row < H; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) straight[row][v] = turned[row][v] = Vector<T>{};
  }
  const T *a = part.a, *b = part.b;
  const std::int64_t a_m = part.a_m, a_k = part.a_k, b_k = part.b_k;
  for (std::int64_t k = part.depth; k > 0; --k, a += a_k, b += b_k) {
    Vector<T> right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      right[v] = kWhole || v + 1 < V ? cpu::load(b + v * L) : cpu::load_some(b + v * L, last);
      if (kWhole) __builtin_prefetch(b + (v + V) * L);  // of the next columns, which other tiles of these rows will find in the cache
    }
#pragma GCC unroll 8
    for (int row = 0; row < H; ++row) {
      const T re = a[row * a_m], im = a[row * a_m + 1];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        straight[row][v] += re * right[v];
        turned[row][v] += im * right[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < H; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      T* to = part.c + row * part.c_m + v * L;
      const std::int64_t count = v + 1 == V ? last : L;
      Vector<T> result = signs.straight * straight[row][v] + signs.turned * cpu::exchanged_pairs<T>(turned[row][v]);
      if (kStart == Start::given) result += cpu::load_some(to, count);
      cpu::store_some(to, result, count);
    }
  }
}

template <int H, int V, Start kStart, class T>
void tile_of_width(const Part<T>& part, const Signs<T>& signs) {
  const std::int64_t last = part.numbers - (V - 1) * kLanes<T>;
  last == kLanes<T> ? tile<H, V, kStart, true>(part, signs, kLanes<T>) : tile<H, V, kStart, false>(part, signs, last);
}

template <int H, Start kStart, class T>
void tiles_of_height(const Part<T>& part, std::int64_t height, const Signs<T>& signs) {
  if constexpr (H > kTall) {
    return;
  } else {
    if (height != H) return tiles_of_height<H + 1, kStart>(part, height, signs);
    part.numbers > kLanes<T> ? tile_of_width<H, 2, kStart>(part, signs) : tile_of_width<H, 1, kStart>(part, signs);
  }
}

/// All of a part, tile by tile; as few rows of tiles as there must be, of about one height.
template <class T>
void all_tiles(const Part<T>& part, Start start, const Signs<T>& signs) {
  const std::int64_t count = (part.rows + kTall - 1) / kTall, height = count == 0 ? 1 : (part.rows + count - 1) / count;
  for (std::int64_t column = 0; column < part.numbers; column += 2 * kLanes<T>) {
    Part<T> at = part;
    at.numbers = std::min<std::int64_t>(2 * kLanes<T>, part.numbers - column);
    at.b += column;
    for (std::int64_t row = 0; row < part.rows; row += height) {
      at.a = part.a + row * part.a_m;
      at.c = part.c + row * part.c_m + column;
      const std::int64_t rows = std::min(height, part.rows - row);
      start == Start::zero ? tiles_of_height<1, Start::zero>(at, rows, signs) : tiles_of_height<1, Start::given>(at, rows, signs);
    }
  }
}

/// b (depth, n) whose columns lie apart as rows of `step` numbers.
template <class T>
void pack(const StridedProduct& size, std::int64_t depth, const T* b, std::int64_t step, T* panel) {
  std::int64_t column = 0;
  if constexpr (sizeof(T) == 4) {  // a complex number is as wide as a double: squares of them are turned in registers
    constexpr std::int64_t kSquare = kLanes<double>;
    for (; size.b_k == 1 && column < size.n; column += kSquare) {
      const std::int64_t columns = std::min(kSquare, size.n - column);
      for (std::int64_t k = 0; k < depth; k += kSquare) {
        Vector<double> square[kSquare];
        const std::int64_t count = std::min(kSquare, depth - k);
#pragma GCC unroll 8
        for (std::int64_t i = 0; i < kSquare; ++i) {
          square[i] = cpu::load_some(reinterpret_cast<const double*>(b + 2 * ((column + std::min(i, columns - 1)) * size.b_n + k)), count);
        }
        cpu::transpose<double>(square);
#pragma GCC unroll 8
        for (std::int64_t i = 0; i < kSquare; ++i) {
          if (i < count) cpu::store_some(reinterpret_cast<double*>(panel + (k + i) * step + 2 * column), square[i], columns);
        }
      }
    }
  }
  for (; column < size.n; ++column) {
    for (std::int64_t k = 0; k < depth; ++k) {
      const T* from = b + 2 * (k * size.b_k + column * size.b_n);
      panel[k * step + 2 * column] = from[0];
      panel[k * step + 2 * column + 1] = from[1];
    }
  }
}

/// The loops that add up, or the others, as one counter.
class Loops {
 public:
  Loops(const StridedProduct& size, bool adding) {
    for (const ProductLoop& loop : size.loops) {
      if (loop.extent == 1 || (loop.c == 0) != adding) continue;
      loops_[static_cast<std::size_t>(depth_++)] = loop;
      count_ *= loop.extent;
    }
  }
  std::int64_t count() const { return count_; }
  /// Where the three matrices are at a step: `extent` is of no meaning.
  ProductLoop operator[](std::int64_t index) const {
    ProductLoop at;
    for (int i = depth_ - 1; i >= 0; --i) {
      const ProductLoop& loop = loops_[static_cast<std::size_t>(i)];
      const std::int64_t place = index % loop.extent;
      index /= loop.extent;
      at.a += place * loop.a, at.b += place * loop.b, at.c += place * loop.c;
    }
    return at;
  }

 private:
  std::array<ProductLoop, StridedProduct::kMostLoops> loops_{};
  int depth_ = 0;
  std::int64_t count_ = 1;
};

/// Rows [first, end) of c at one step of the loops that do not add up.
template <class T>
void add_up(const StridedProduct& size, const Loops& adding, std::int64_t first, std::int64_t end, const T* a, const T* b, T* c, T* panel) {
  const Signs<T> signs(size.conjugate_a, size.conjugate_b);
  const bool packs = size.b_n != 1 && size.n > 1;
  const std::int64_t step = packs ? 2 * size.n : 2 * size.b_k;
  Start start = Start::zero;
  for (std::int64_t index = 0; index < adding.count(); ++index) {
    const ProductLoop at = adding[index];
    for (std::int64_t k = 0; k < size.k; k += kDepthOfBlock, start = Start::given) {
      const std::int64_t depth = std::min(kDepthOfBlock, size.k - k);
      const T* right = b + 2 * (at.b + k * size.b_k);
      if (packs) pack(size, depth, right, step, panel);
      for (std::int64_t row = first; row < end; row += kRowsOfBlock) {
        all_tiles<T>({.rows = std::min(kRowsOfBlock, end - row),
                      .depth = depth,
                      .numbers = 2 * size.n,
                      .a = a + 2 * (at.a + k * size.a_k + row * size.a_m),
                      .a_m = 2 * size.a_m,
                      .a_k = 2 * size.a_k,
                      .b = packs ? panel : right,
                      .b_k = step,
                      .c = c + 2 * row * size.c_m,
                      .c_m = 2 * size.c_m},
                     start, signs);
      }
    }
  }
}

/// Where a run of numbers to be summed begins in a and in b, in elements.
struct Run {
  std::int64_t a, b, count;
};

/// M by N numbers of c from the dots of rows of a and columns of b over the runs.
template <int M, int N, class T>
void dots(const StridedProduct& size, std::span<const Run> runs, Start start, const T* a, const T* b, T* c) {
  constexpr int L = kLanes<T>, kTogether = std::min<int>(std::bit_ceil(static_cast<unsigned>(M * N)), L);
  constexpr int kSums = (M * N + kTogether - 1) / kTogether * kTogether;
  Vector<T> straight[kSums], turned[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) straight[i] = turned[i] = Vector<T>{};
  for (const Run& run : runs) {
    const T *rows = a + 2 * run.a, *columns = b + 2 * run.b;
    for (std::int64_t left = 2 * run.count; left > 0; left -= L, rows += L, columns += L) {
      Vector<T> row[M];
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) row[m] = cpu::load_some(rows + 2 * m * size.a_m, left);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const Vector<T> column = cpu::load_some(columns + 2 * n * size.b_n, left), exchanged = cpu::exchanged_pairs<T>(column);
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
          straight[m * N + n] += row[m] * column;
          turned[m * N + n] += row[m] * exchanged;
        }
      }
    }
  }
  // Pairs hold (re re, im im) and (re im, im re).
  Vector<T> of_real, of_imaginary;
  for (int lane = 0; lane < L; ++lane) {
    of_real[lane] = (lane & 1) == 0 || size.conjugate_a != size.conjugate_b ? T(1) : T(-1);
    of_imaginary[lane] = ((lane & 1) == 0 ? size.conjugate_b : size.conjugate_a) ? T(-1) : T(1);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M * N; ++i) straight[i] *= of_real, turned[i] *= of_imaginary;
#pragma GCC unroll 4
  for (int first = 0; first < M * N; first += kTogether) {
    const Vector<T> re = cpu::sums_of_lanes<kTogether, T>(straight + first), im = cpu::sums_of_lanes<kTogether, T>(turned + first);
    for (int i = first; i < std::min(M * N, first + kTogether); ++i) {
      T* to = c + 2 * (i / N * size.c_m + i % N);
      to[0] = start == Start::given ? to[0] + re[i - first] : re[i - first];
      to[1] = start == Start::given ? to[1] + im[i - first] : im[i - first];
    }
  }
}

/// All columns of M rows.
template <int M, class T>
void rows_of_dots(const StridedProduct& size, std::span<const Run> runs, Start start, const T* a, const T* b, T* c) {
  std::int64_t column = 0;
  for (; column + kDotColumns <= size.n; column += kDotColumns)
    dots<M, kDotColumns>(size, runs, start, a, b + 2 * column * size.b_n, c + 2 * column);
  for (; column < size.n; ++column) dots<M, 1>(size, runs, start, a, b + 2 * column * size.b_n, c + 2 * column);
}

/// As add_up, where what is summed lies side by side.
template <class T>
void add_up_dots(const StridedProduct& size, const Loops& adding, std::int64_t first, std::int64_t end, const T* a, const T* b, T* c) {
  const std::int64_t most =
      std::max<std::int64_t>(kLanes<T>, kDotBytes / static_cast<std::int64_t>(2 * sizeof(T)) / (end - first + size.n));
  std::vector<Run> runs;
  std::int64_t held = 0;
  Start start = Start::zero;
  const auto finish = [&] {
    std::int64_t row = first;
    for (; row + kDotRows <= end; row += kDotRows)
      rows_of_dots<kDotRows>(size, runs, start, a + 2 * row * size.a_m, b, c + 2 * row * size.c_m);
    for (; row + 2 <= end; row += 2) rows_of_dots<2>(size, runs, start, a + 2 * row * size.a_m, b, c + 2 * row * size.c_m);
    if (row < end) rows_of_dots<1>(size, runs, start, a + 2 * row * size.a_m, b, c + 2 * row * size.c_m);
    runs.clear();
    held = 0;
    start = Start::given;
  };
  for (std::int64_t index = 0; index < adding.count(); ++index) {
    const ProductLoop at = adding[index];
    for (std::int64_t k = 0; k < size.k;) {
      const std::int64_t count = std::min(most - held, size.k - k);
      runs.push_back({at.a + k, at.b + k, count});
      k += count, held += count;
      if (held == most) finish();
    }
  }
  if (held > 0) finish();
}

}  // namespace

template <class T>
void strided_product(Cpu, const StridedProduct& size, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c) {
  const Loops adding(size, true), apart(size, false);
  const std::int64_t total = size.m * size.n * size.k * adding.count() * apart.count();
  const std::int64_t threads = total > kWorthThreads ? omp_get_max_threads() : 1;
  // Rows are divided where there are few other steps to share out; no sum is.
  const std::int64_t wanted = apart.count() >= 4 * threads ? 1 : threads;
  const std::int64_t rows = std::max<std::int64_t>(kTall, ((size.m + wanted - 1) / wanted + kTall - 1) / kTall * kTall),
                     parts = (size.m + rows - 1) / rows;
#pragma omp parallel num_threads(static_cast <int>(threads)) if (threads > 1)
  {
    const bool runs = size.a_k == 1 && size.b_k == 1 && size.b_n != 1 && size.k >= (size.m <= kFewRows ? kLanes<T> : kLeastRun<T>);
    const Block panel(size.b_n == 1 ? 0 : static_cast<std::size_t>(2 * std::min(kDepthOfBlock, size.k) * size.n) * sizeof(T), {});
#pragma omp for schedule(static)
    for (std::int64_t task = 0; task < apart.count() * parts; ++task) {
      const ProductLoop at = apart[task / parts];
      const std::int64_t first = task % parts * rows;
      const std::int64_t end = std::min(size.m, first + rows);
      const T *left = reinterpret_cast<const T*>(a + at.a), *right = reinterpret_cast<const T*>(b + at.b);
      T* to = reinterpret_cast<T*>(c + at.c);
      runs ? add_up_dots(size, adding, first, end, left, right, to)
           : add_up(size, adding, first, end, left, right, to, static_cast<T*>(panel.data()));
    }
  }
}

#define TRIDENT_STRIDED_PRODUCT(T) \
  template void strided_product(Cpu, const StridedProduct&, const std::complex<T>*, const std::complex<T>*, std::complex<T>*);
TRIDENT_STRIDED_PRODUCT(float)
TRIDENT_STRIDED_PRODUCT(double)

}  // namespace trident
