// Complex products by three real ones (ThreeProducts): of a pair (re, im) of a, which lies where it lies, and a vector of pairs of b come p
// and q in one multiplication, and r of a vector of pairs' sums in half of one. Vectors run along b's columns.
//
// Where what is summed lies side by side in both, as in gradients of factors, vectors run along that: dots of rows of a and columns of b.
#include <algorithm>
#include <bit>
#include <complex>
#include <span>
#include <utility>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/complex_pairs.h"
#include "runtime/kernels/fetch_ahead.h"
#include "runtime/kernels/lane_sums.h"
#include "runtime/kernels/on_threads.h"
#include "runtime/kernels/strided_product.h"

namespace trident {
namespace {

using cpu::Ahead;
using cpu::kLanes;
using cpu::Start;
using cpu::ThreeProducts;
using cpu::Vector;

#ifdef __AVX512F__
constexpr int kTall = 8;                      // rows of a tile: with 2 vectors of columns, 24 registers of sums
constexpr int kDotRows = 3, kDotColumns = 4;  // with two sums for each, as many
#else
constexpr int kTall = 3;
constexpr int kDotRows = 2, kDotColumns = 2;
#endif
constexpr std::int64_t kWorthThreads = 1 << 18;  // multiplications
constexpr std::int64_t kBlockBytes = 1 << 18;    // of b, which stay in the cache while a's rows pass
constexpr std::int64_t kDepthOfBlock = 192;
constexpr std::int64_t kDotBytes = 320 << 10;  // of a's rows and b's columns that stay in the cache between dots, beside the next ones

template <class T>
constexpr std::int64_t kLeastRun = 4 * kLanes<T>;  // of numbers to be summed for which dots are worth it, but for
constexpr std::int64_t kFewRows = 2;               // rows, for which columns are not worth packing

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

/// A product, and what is the same at each of its steps.
template <class T>
struct Work {
  StridedProduct size;
  Loops adding;
  ThreeProducts<T> three;
  bool dots;                    // or tiles,
  bool packs;                   // of columns of b that are copied before
  std::int64_t depth, columns;  // of a block of b, whose columns are whole tiles

  explicit Work(const StridedProduct& product)
      : size(product),
        adding(product, true),
        three(product.conjugate_a, product.conjugate_b),
        dots(size.a_k == 1 && size.b_k == 1 && size.b_n != 1 && size.k >= (size.m <= kFewRows ? kLanes<T> : kLeastRun<T>)),
        packs(!dots && size.b_n != 1 && size.n > 1),
        depth(std::clamp<std::int64_t>(size.k, 1, kDepthOfBlock)),
        columns(std::max<std::int64_t>(1, kBlockBytes / static_cast<std::int64_t>(2 * sizeof(T)) / depth / kLanes<T>) * kLanes<T>) {}
  /// Numbers of the copy.
  std::size_t panel() const { return packs ? static_cast<std::size_t>(2 * depth * std::min(size.n, columns)) : 0; }
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
/// takes the sums by reference: they would lie in memory. And no branch: what all paths behind it need would be computed before.)
template <int H, int V, bool kWhole, Start kStart, class T>
void tile(const Work<T>& work, const Part<T>& part, std::int64_t last) {
  constexpr int L = kLanes<T>;
  const ThreeProducts<T> three = work.three;
  Vector<T> pairs[H][V], thirds[H];
#pragma GCC unroll 16
  for (int row = 0; row < H; ++row) {
    thirds[row] = Vector<T>{};
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) pairs[row][v] = Vector<T>{};
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
    const Vector<T> right_sums = three.sums_of_b(right[0], right[V - 1]);
#pragma GCC unroll 16
    for (int row = 0; row < H; ++row) {
      const T* left = a + row * a_m;
      const Vector<T> pair = cpu::broadcast_pair(left);
      thirds[row] += (left[0] + left[1]) * right_sums;
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) pairs[row][v] += pair * right[v];
    }
  }
  T* c = part.c;
  const std::int64_t c_m = part.c_m;
#pragma GCC unroll 16
  for (int row = 0; row < H; ++row, c += c_m) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const std::int64_t count = kWhole || v + 1 < V ? L : last;
      Vector<T> sum = three.products(pairs[row][v], v == 0 ? cpu::exchanged_pairs<T>(thirds[row]) : thirds[row]);
      if (kStart == Start::given) sum += cpu::load_some(c + v * L, count);
      cpu::store_some(c + v * L, sum, count);
    }
  }
}

template <int H, int V, Start kStart, class T>
void tile_of_width(const Work<T>& work, const Part<T>& part) {
  const std::int64_t last = part.numbers - (V - 1) * kLanes<T>;
  last == kLanes<T> ? tile<H, V, true, kStart>(work, part, last) : tile<H, V, false, kStart>(work, part, last);
}

template <int H, Start kStart, class T>
void tiles_of_height(const Work<T>& work, const Part<T>& part, std::int64_t height) {
  if constexpr (H > kTall) {
    return;
  } else {
    if (height != H) return tiles_of_height<H + 1, kStart>(work, part, height);
    part.numbers > kLanes<T> ? tile_of_width<H, 2, kStart>(work, part) : tile_of_width<H, 1, kStart>(work, part);
  }
}

/// All of a part, tile by tile; as few rows of tiles as there must be, of about one height.
template <class T>
void all_tiles(const Work<T>& work, const Part<T>& part, Start start) {
  const std::int64_t count = (part.rows + kTall - 1) / kTall, height = count == 0 ? 1 : (part.rows + count - 1) / count;
  for (std::int64_t row = 0; row < part.rows; row += height) {
    Part<T> at = part;
    at.a += row * part.a_m;
    for (std::int64_t column = 0; column < part.numbers; column += 2 * kLanes<T>) {
      at.numbers = std::min<std::int64_t>(2 * kLanes<T>, part.numbers - column);
      at.b = part.b + column;
      at.c = part.c + row * part.c_m + column;
      const std::int64_t rows = std::min(height, part.rows - row);
      start == Start::zero ? tiles_of_height<1, Start::zero>(work, at, rows) : tiles_of_height<1, Start::given>(work, at, rows);
    }
  }
}

/// b (depth, n) whose columns lie apart as rows side by side.
template <class T>
void pack(const StridedProduct& size, std::int64_t depth, std::int64_t n, const T* b, T* panel) {
  const std::int64_t step = 2 * n;
  std::int64_t column = 0;
  if constexpr (sizeof(T) == 4) {  // a complex number is as wide as a double: squares of them are turned in registers
    constexpr std::int64_t kSquare = kLanes<double>;
    for (; size.b_k == 1 && column < n; column += kSquare) {
      const std::int64_t columns = std::min(kSquare, n - column);
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
  for (; column < n; ++column) {
    for (std::int64_t k = 0; k < depth; ++k) {
      const T* from = b + 2 * (k * size.b_k + column * size.b_n);
      panel[k * step + 2 * column] = from[0];
      panel[k * step + 2 * column + 1] = from[1];
    }
  }
}

/// Rows and columns of c.
struct Piece {
  std::int64_t first, end, left, right;
};

/// A piece of c at one step of the loops that do not add up.
template <class T>
void add_up(const Work<T>& work, const Piece& piece, const T* a, const T* b, T* c, T* panel) {
  const StridedProduct& size = work.size;
  const auto [first, end, left, right] = piece;
  Start start = Start::zero;
  for (std::int64_t index = 0; index < work.adding.count(); ++index) {
    const ProductLoop at = work.adding[index];
    for (std::int64_t k = 0; k < size.k; k += work.depth, start = Start::given) {
      const std::int64_t depth = std::min(work.depth, size.k - k);
      for (std::int64_t column = left; column < right; column += work.columns) {
        const std::int64_t columns = std::min(work.columns, right - column);
        const T* from = b + 2 * (at.b + k * size.b_k + column * size.b_n);
        if (work.packs) {
          pack(size, depth, columns, from, panel);
        } else if (end - first > kTall && 2 * depth * columns > work.depth * work.columns) {
          cpu::fetch(from, 2 * size.b_k, depth, 2 * columns);
        }
        all_tiles<T>(work,
                     {.rows = end - first,
                      .depth = depth,
                      .numbers = 2 * columns,
                      .a = a + 2 * (at.a + k * size.a_k + first * size.a_m),
                      .a_m = 2 * size.a_m,
                      .a_k = 2 * size.a_k,
                      .b = work.packs ? panel : from,
                      .b_k = 2 * (work.packs ? columns : size.b_k),
                      .c = c + 2 * (first * size.c_m + column),
                      .c_m = 2 * size.c_m},
                     start);
      }
    }
  }
}

/// Where a run of numbers to be summed begins in a and in b, in elements.
struct Run {
  std::int64_t a, b, count;
};

/// M by N numbers of c from the dots of rows of a and columns of b over the runs; `ahead`: what comes after them.
template <int M, int N, bool kConjugate, class T>
void dots(const Work<T>& work, std::span<const Run> runs, Start start, const T* a, const T* b, T* c, Ahead<T>& ahead) {
  constexpr int L = kLanes<T>, kTogether = std::min<int>(std::bit_ceil(static_cast<unsigned>(M * N)), L);
  constexpr int kSums = (M * N + kTogether - 1) / kTogether * kTogether;
  const StridedProduct& size = work.size;
  const ThreeProducts<T> three = work.three;
  Vector<T> pairs[kSums], thirds[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) pairs[i] = thirds[i] = Vector<T>{};
  for (const Run& run : runs) {
    const T *rows = a + 2 * run.a, *columns = b + 2 * run.b;
    for (std::int64_t left = 2 * run.count; left > 0; left -= 2 * L, rows += 2 * L, columns += 2 * L) {
      const auto second_half = [left](const T* from) { return left > L ? cpu::load_some(from + L, left - L) : Vector<T>{}; };
      Vector<T> first_row[M], second_row[M], row_sums[M];
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        first_row[m] = cpu::load_some(rows + 2 * m * size.a_m, left);
        second_row[m] = second_half(rows + 2 * m * size.a_m);
        row_sums[m] = cpu::sums_of_pairs<T>(first_row[m], second_row[m]);
      }
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        // In registers, behind the branch: products before it are not joined with their sums, and all M and N must round alike.
        const Vector<T> second = cpu::in_register(second_half(columns + 2 * n * size.b_n)),
                        first = cpu::in_register(cpu::load_some(columns + 2 * n * size.b_n, left)),
                        column_sums = kConjugate ? cpu::differences_of_pairs<T>(first, second) : cpu::sums_of_pairs<T>(first, second);
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
          pairs[m * N + n] += first_row[m] * first;
          pairs[m * N + n] += second_row[m] * second;
          thirds[m * N + n] += row_sums[m] * column_sums;
        }
      }
      ahead.ask(), ahead.ask();
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) {
    thirds[i] = three.im(pairs[i], thirds[i]);
    pairs[i] = three.re(pairs[i]);
  }
#pragma GCC unroll 4
  for (int first = 0; first < M * N; first += kTogether) {
    const Vector<T> re = cpu::sums_of_lanes<kTogether, T>(pairs + first), im = cpu::sums_of_lanes<kTogether, T>(thirds + first);
    for (int i = first; i < std::min(M * N, first + kTogether); ++i) {
      T* to = c + 2 * (i / N * size.c_m + i % N);
      to[0] = start == Start::given ? to[0] + re[i - first] : re[i - first];
      to[1] = start == Start::given ? to[1] + im[i - first] : im[i - first];
    }
  }
}

/// As many columns as there are, up to N.
template <int M, int N, class T>
void dots_of_columns(const Work<T>& work, std::int64_t columns, std::span<const Run> runs, Start start, const T* a, const T* b, T* c,
                     Ahead<T>& ahead) {
  if (columns >= N) {
    return work.size.conjugate_a != work.size.conjugate_b ? dots<M, N, true>(work, runs, start, a, b, c, ahead)
                                                          : dots<M, N, false>(work, runs, start, a, b, c, ahead);
  }
  if constexpr (N > 1) dots_of_columns<M, N - 1>(work, columns, runs, start, a, b, c, ahead);
}

/// All columns of M rows, or of those that there are.
template <int M, class T>
void dots_of_rows(const Work<T>& work, std::int64_t rows, std::span<const Run> runs, Start start, const T* a, const T* b, T* c,
                  Ahead<T>& ahead) {
  if (rows < M) {
    if constexpr (M > 1) dots_of_rows<M - 1>(work, rows, runs, start, a, b, c, ahead);
    return;
  }
  for (std::int64_t column = 0; column < work.size.n; column += kDotColumns)
    dots_of_columns<M, kDotColumns>(work, work.size.n - column, runs, start, a, b + 2 * column * work.size.b_n, c + 2 * column, ahead);
}

/// As add_up, where what is summed lies side by side.
template <class T>
void add_up_dots(const Work<T>& work, std::int64_t first, std::int64_t end, const T* a, const T* b, T* c) {
  const StridedProduct& size = work.size;
  const std::int64_t fitting = kDotBytes / static_cast<std::int64_t>(2 * sizeof(T)) / (size.m + size.n);
  const std::int64_t most = std::max<std::int64_t>(1, fitting / kLanes<T>) * kLanes<T>;  // so that runs go on at the beginning of a vector
  std::vector<Run> runs, next;                                                           // the next ones are fetched while these are summed
  std::int64_t held = 0;
  Start start = Start::zero;
  const auto sum_runs = [&] {
    if (!runs.empty()) {
      Ahead<T> ahead;
      for (const Run& run : next) {
        ahead.add(a + 2 * (run.a + first * size.a_m), 2 * size.a_m, end - first, 2 * run.count);
        ahead.add(b + 2 * run.b, 2 * size.b_n, size.n, 2 * run.count);
      }
      for (std::int64_t row = first; row < end; row += kDotRows)
        dots_of_rows<kDotRows>(work, end - row, runs, start, a + 2 * row * size.a_m, b, c + 2 * row * size.c_m, ahead);
      start = Start::given;
    }
    runs = std::exchange(next, {});
    held = 0;
  };
  for (std::int64_t index = 0; index < work.adding.count(); ++index) {
    const ProductLoop at = work.adding[index];
    for (std::int64_t k = 0; k < size.k;) {
      const std::int64_t count = std::min(most - held, size.k - k);
      next.push_back({at.a + k, at.b + k, count});
      k += count, held += count;
      if (held == most) sum_runs();
    }
  }
  sum_runs();
  sum_runs();
}

}  // namespace

template <class T>
void strided_product(Cpu, const StridedProduct& size, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c) {
  const Work<T> work(size);
  const Loops apart(size, false);
  const std::int64_t total = size.m * size.n * size.k * work.adding.count() * apart.count();
  const std::int64_t threads = total > kWorthThreads ? omp_get_max_threads() : 1;
  // Blocks of columns are shared out, so that each is fetched once. Rows too, where there are few other steps; no sum is.
  const std::int64_t columns = work.dots ? size.n : work.columns, across = (size.n + columns - 1) / columns, steps = apart.count() * across;
  const std::int64_t most = work.dots || work.packs ? threads : 4 * threads;  // all columns pass for each part of the rows
  const std::int64_t wanted = steps >= 4 * threads ? 1 : std::clamp<std::int64_t>(size.m / (kTall / 2), 1, most);
  const std::int64_t rows = (size.m + wanted - 1) / wanted, parts = (size.m + rows - 1) / rows;
  share_out_prepared(steps * parts, threads, [&] {
    return [&, panel = Block(work.panel() * sizeof(T), {})](std::int64_t first_task, std::int64_t last_task) {
      for (std::int64_t task = first_task; task < last_task; ++task) {
        const ProductLoop at = apart[task / parts / across];
        const std::int64_t row = task % parts * rows, column = task / parts % across * columns;
        const Piece piece{row, std::min(size.m, row + rows), column, std::min(size.n, column + columns)};
        const T *left = reinterpret_cast<const T*>(a + at.a), *right = reinterpret_cast<const T*>(b + at.b);
        T* to = reinterpret_cast<T*>(c + at.c);
        work.dots ? add_up_dots(work, piece.first, piece.end, left, right, to)
                  : add_up(work, piece, left, right, to, static_cast<T*>(panel.data()));
      }
    };
  });
}

#define TRIDENT_STRIDED_PRODUCT(T) \
  template void strided_product(Cpu, const StridedProduct&, const std::complex<T>*, const std::complex<T>*, std::complex<T>*);
TRIDENT_STRIDED_PRODUCT(float)
TRIDENT_STRIDED_PRODUCT(double)

}  // namespace trident
