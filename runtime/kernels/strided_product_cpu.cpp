// Blocks of both operands are packed (packed_product.h): some rows of a, which stay in the second level of the cache, and of b two vectors
// of columns, which stay in the first while all these rows pass.
//
// Where what is summed lies side by side in both, as in gradients of small factors, vectors run along that (complex_dots.h).
#include <algorithm>
#include <complex>
#include <utility>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/complex_dots.h"
#include "runtime/kernels/on_threads.h"
#include "runtime/kernels/packed_product.h"
#include "runtime/kernels/strided_product.h"

namespace trident {
namespace {

using cpu::kPackedStep;
using cpu::kPairs;
using cpu::Start;
using cpu::Storing;

constexpr std::int64_t kWorthThreads = 1 << 18;                                 // multiplications
constexpr std::int64_t kMostRows = 128, kMostColumns = 1024, kMostDepth = 128;  // of a block
constexpr std::int64_t kManyBytes = 4 << 20;                                    // of c, which is stored past the cache
constexpr std::int64_t kShortSum = 4;                                           // after which gathering costs less than it saves
constexpr std::int64_t kDotBytes = 320 << 10;  // of a's rows and b's columns that stay in the cache between dots, beside the next ones
constexpr std::int64_t kStepBytes = 64 << 10;  // of b, which stay in the cache from one step to the next
constexpr std::int64_t kFewSides = 32;         // rows or columns, for which dots cost less than to pack

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

/// How c is stored: past the cache, where much is written once, as lines need not be read before then. Gathered: a step's numbers are put
/// together first, since rows begin amid lines.
enum class Output { cached, streamed, gathered };

/// `whole`: all of a step is computed at once, and but once.
template <class T>
Output output_of(const StridedProduct& size, std::int64_t steps, bool whole) {
  const std::int64_t numbers = size.m * size.n;
  if (size.k > kMostDepth || numbers * steps * static_cast<std::int64_t>(2 * sizeof(T)) < kManyBytes) return Output::cached;
  if (size.c_m % kPairs<T> == 0) return Output::streamed;
  return whole && size.k <= kShortSum && size.c_m == size.n && numbers % kPairs<T> == 0 ? Output::gathered : Output::cached;
}

/// Packed blocks of a and b, and c where it is gathered.
template <class T>
struct Panels {
  T *a, *b, *c;
  Storing storing = Storing::cached;  // of c's whole vectors
  const T* whole = nullptr;           // where all that a panel holds of a was packed from, if it is all that is summed
};

/// Rows and columns of c.
struct Piece {
  std::int64_t first, end, left, right;
};

/// So many rows of a, for tiles of `height`.
template <class T>
void pack_rows(const StridedProduct& size, std::int64_t rows, std::int64_t height, std::int64_t depth, const T* a, T* panel) {
  for (std::int64_t row = 0; row < rows; row += height, a += 2 * height * size.a_m, panel += depth * kPackedStep<1, T>)
    cpu::pack<1>({a, 2 * size.a_k, 2 * size.a_m, size.conjugate_a}, depth, std::min(height, rows - row), panel);
}

/// c = start + a b for so many rows, tile by tile, and columns that fill at most V vectors. What is packed `next`, of the same steps, is
/// fetched meanwhile.
template <int V, class T>
void all_tiles(std::int64_t rows, std::int64_t height, std::int64_t depth, std::int64_t columns, const cpu::Unpacked<T>& b, const T* next,
               Start start, const Panels<T>& panels, cpu::Rows<T> c) {
  cpu::pack<V>(b, depth, columns, panels.b);
  const bool by_depth = b.column_step == 2;
  const std::int64_t lines = by_depth ? depth : columns, numbers = 2 * (by_depth ? columns : depth),
                     step = by_depth ? b.depth_step : b.column_step;
  for (std::int64_t row = 0; row < rows; row += height) {
    const std::int64_t first = lines * row / rows, last = lines * std::min(rows, row + height) / rows;
    cpu::fetch(next + first * step, step, last - first, numbers);
    cpu::packed_tile_of_height<1, V>(std::min(height, rows - row), depth, panels.a + row / height * depth * kPackedStep<1, T>, panels.b,
                                     2 * columns, start, cpu::Rows<T>{c.data + row * c.step, c.step}, panels.storing);
  }
}

/// A piece of c at one step of the loops that do not add up; `next`: b at the next one.
template <class T>
void add_up(const StridedProduct& size, const Loops& adding, const Piece& piece, const T* a, const T* b, const T* next, T* c,
            Panels<T>& panels) {
  constexpr std::int64_t kTall = kPairs<T>;
  const std::int64_t rows = piece.end - piece.first, tiles = (rows + kTall - 1) / kTall, height = (rows + tiles - 1) / tiles;
  // A small b is fetched a whole step before: what is needed next would come too late.
  const std::int64_t bytes = size.k * (piece.right - piece.left) * static_cast<std::int64_t>(2 * sizeof(T));
  const bool by_step = adding.count() == 1 && size.k <= kMostDepth && bytes <= kStepBytes;
  Start start = Start::zero;
  for (std::int64_t index = 0; index < adding.count(); ++index) {
    const ProductLoop at = adding[index];
    for (std::int64_t k = 0; k < size.k; k += kMostDepth, start = Start::given) {
      const std::int64_t depth = std::min(kMostDepth, size.k - k);
      const T* left = a + 2 * (at.a + k * size.a_k + piece.first * size.a_m);
      if (left != panels.whole) pack_rows(size, rows, height, depth, left, panels.a);
      panels.whole = depth == size.k ? left : nullptr;  // factors are the same at many steps
      const auto place = [&](std::int64_t depth_index, std::int64_t column) { return 2 * (depth_index * size.b_k + column * size.b_n); };
      const T* after = k + depth < size.k ? b + 2 * at.b + place(k + depth, piece.left) : next + place(0, piece.left);
      for (std::int64_t column = piece.left; column < piece.right; column += 2 * kPairs<T>) {
        const std::int64_t columns = std::min<std::int64_t>(2 * kPairs<T>, piece.right - column);
        const T* from = b + 2 * at.b + place(k, column);
        const T* following = column + columns < piece.right ? from + place(0, columns) : after;
        const auto tiles_of = columns > kPairs<T> ? all_tiles<2, T> : all_tiles<1, T>;
        tiles_of(rows, height, depth, columns, {from, 2 * size.b_k, 2 * size.b_n, size.conjugate_b},
                 by_step ? next + place(0, column) : following, start, panels, {c + 2 * (piece.first * size.c_m + column), 2 * size.c_m});
      }
    }
  }
}

/// Whether numbers are summed as dots.
template <class T>
bool sums_dots(const StridedProduct& size) {
  const std::int64_t least = size.m <= cpu::kFewRows ? cpu::kLanes<T> : 4 * cpu::kLanes<T>;
  return size.a_k == 1 && size.b_k == 1 && size.b_n != 1 && size.k >= least && std::min(size.m, size.n) <= kFewSides;
}

/// As add_up, for all columns of some rows.
template <class T>
void add_up_dots(const StridedProduct& size, const Loops& adding, std::int64_t first, std::int64_t end, const T* a, const T* b, T* c) {
  const std::int64_t fitting = kDotBytes / static_cast<std::int64_t>(2 * sizeof(T)) / (size.m + size.n);
  const std::int64_t most =
      std::max<std::int64_t>(1, fitting / cpu::kLanes<T>) * cpu::kLanes<T>;  // so that runs go on at the beginning of a vector
  cpu::Dots<T> work{.a = {a + 2 * first * size.a_m, 2 * size.a_m},
                    .b = {b, 2 * size.b_n},
                    .conjugate_a = size.conjugate_a,
                    .conjugate_b = size.conjugate_b,
                    .c = {c + 2 * first * size.c_m, 2 * size.c_m},
                    .start = Start::zero};
  std::vector<cpu::DotRun> runs, next;  // the next ones are fetched while these are summed
  std::int64_t held = 0;
  const auto sum_runs = [&] {
    if (!runs.empty()) {
      cpu::Ahead<T> ahead;
      for (const cpu::DotRun& run : next) {
        ahead.add(work.a.data + run.a, work.a.step, end - first, run.numbers);
        ahead.add(work.b.data + run.b, work.b.step, size.n, run.numbers);
      }
      cpu::all_dots(work, end - first, size.n, runs, ahead);
      work.start = Start::given;
    }
    runs = std::exchange(next, {});
    held = 0;
  };
  for (std::int64_t index = 0; index < adding.count(); ++index) {
    const ProductLoop at = adding[index];
    for (std::int64_t k = 0; k < size.k;) {
      const std::int64_t count = std::min(most - held, size.k - k);
      next.push_back({2 * (at.a + k), 2 * (at.b + k), 2 * count});
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
  const Loops apart(size, false), adding(size, true);
  const std::int64_t of_step = size.m * size.n, total = of_step * size.k * adding.count() * apart.count();
  const std::int64_t threads = total > kWorthThreads ? omp_get_max_threads() : 1;
  const bool dots = sums_dots<T>(size);
  // Where there are few steps, their rows are shared out; no sum is.
  const std::int64_t wide = dots ? size.n : kMostColumns, across = (size.n + wide - 1) / wide, steps = apart.count() * across;
  const std::int64_t wanted = steps >= 4 * threads ? 1 : std::clamp<std::int64_t>(size.m / (kPairs<T> / 2), 1, threads);
  const std::int64_t rows = std::min(kMostRows, (size.m + wanted - 1) / wanted), parts = (size.m + rows - 1) / rows;
  const Output output = dots || adding.count() > 1 ? Output::cached : output_of<T>(size, apart.count(), steps * parts == apart.count());
  const std::int64_t depth = std::min(kMostDepth, size.k), of_a = (rows + kPairs<T> - 1) / kPairs<T> * depth * kPackedStep<1, T>,
                     of_b = depth * kPackedStep<2, T>, of_c = output == Output::gathered ? 2 * of_step : 0;
  share_out_prepared(steps * parts, threads, [&] {
    return
        [&, memory = Block(static_cast<std::size_t>(of_a + of_b + of_c) * sizeof(T), {})](std::int64_t first_task, std::int64_t last_task) {
          T* const start = static_cast<T*>(memory.data());
          Panels<T> panels{start, start + of_a, start + of_a + of_b};
          for (std::int64_t task = first_task; task < last_task; ++task) {
            const ProductLoop at = apart[task / parts / across];
            const std::int64_t row = task % parts * rows, column = task / parts % across * wide;
            const Piece piece{row, std::min(size.m, row + rows), column, std::min(size.n, column + wide)};
            const T *left = reinterpret_cast<const T*>(a + at.a), *right = reinterpret_cast<const T*>(b + at.b),
                    *next = reinterpret_cast<const T*>(b + apart[(task + 1) / parts / across % apart.count()].b);
            T* to = reinterpret_cast<T*>(c + at.c);
            const bool in_line = reinterpret_cast<std::uintptr_t>(to) % cpu::kVectorBytes == 0;
            const bool gathers = in_line && output == Output::gathered;
            panels.storing = in_line && output == Output::streamed ? Storing::streamed : Storing::cached;
            dots ? add_up_dots(size, adding, piece.first, piece.end, left, right, to)
                 : add_up(size, adding, piece, left, right, next, gathers ? panels.c : to, panels);
            for (std::int64_t i = 0; gathers && i < 2 * of_step; i += cpu::kLanes<T>) cpu::stream(to + i, cpu::load(panels.c + i));
          }
          if (output != Output::cached) cpu::finish_streaming();
        };
  });
}

#define TRIDENT_STRIDED_PRODUCT(T) \
  template void strided_product(Cpu, const StridedProduct&, const std::complex<T>*, const std::complex<T>*, std::complex<T>*);
TRIDENT_STRIDED_PRODUCT(float)
TRIDENT_STRIDED_PRODUCT(double)

}  // namespace trident
