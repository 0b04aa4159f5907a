#include <algorithm>
#include <complex>

#include "runtime/kernels/complex_pairs.h"
#include "runtime/kernels/mode_product.h"
#include "runtime/kernels/on_threads.h"

namespace trident {
namespace {

using cpu::kLanes;
using cpu::Start;
using cpu::Storing;
using cpu::Vector;
using cpu::with_signs;

template <class T>
constexpr int kModes = kLanes<T> / 2;                                    // complex numbers of a vector
constexpr std::int64_t kMostModesOfTask = 2304, kLeastModesOfTask = 64;  // as long runs of memory as fit into the cache
constexpr std::int64_t kTasks = 8;                                       // at least, so that threads share them evenly
constexpr std::int64_t kManyBytes = 8 << 20;                             // of a matrix that does not stay in the caches
constexpr std::int64_t kFewBytes = 2 << 20;                              // of a product that stays in the second level of the cache

/// Where matrices are read from. Memory is asked for what comes next; to ask the cache would take a third of the time again.
enum class Source { cache, memory };

template <class T>
Source source_of(const ModeProduct& size) {
  const std::int64_t numbers = size.m * size.k + size.k * size.n + size.m * size.n;
  return size.modes * numbers * static_cast<std::int64_t>(2 * sizeof(T)) <= kFewBytes ? Source::cache : Source::memory;
}

/// Products that a pass adds up: few where large matrices are read, so that no more runs of memory are than a processor foresees.
template <class T>
std::int64_t depth_of_pass(const ModeProduct& size) {
  if (source_of<T>(size) == Source::cache) return size.k;
  const std::int64_t read = size.modes * size.k * std::max(size.m, size.n) * static_cast<std::int64_t>(2 * sizeof(T));
  return read >= kManyBytes && size.k > std::min(size.m, size.n) ? 2 : 16;
}

/// Past the cache where much is written once, as lines need not be read before then.
template <class T>
Storing storing_of(const ModeProduct& size, const std::complex<T>* c) {
  const std::int64_t written = size.modes * size.m * size.n * static_cast<std::int64_t>(2 * sizeof(T));
  const bool in_line =
      reinterpret_cast<std::uintptr_t>(c) % cpu::kVectorBytes == 0 && size.c_m % kModes<T> == 0 && size.c_n % kModes<T> == 0;
  return written >= kManyBytes && in_line && !size.add && size.k <= depth_of_pass<T>(size) ? Storing::streamed : Storing::cached;
}

/// Where a tile of matrices begins.
template <class T>
struct Corner {
  const T *a, *b;
  T* c;
  Storing storing;  // of whole vectors
};

/// Whether a and b come in alike, as they are or both conjugated, or one of them does: conj(b) a = conj(b conj(a)).
enum class Conjugation { alike, different };

/// M by N numbers of c at `count` modes, a vector or what is left of one: `depth` products, added to what c has or not. `signs`: by which
/// the result is conjugated. Inlined, as what depends on the steps is then computed once for all modes: a fifth of the time.
template <int M, int N, bool kWhole, Start kStart, Conjugation kConjugation, Source kSource, class T>
[[gnu::always_inline]] inline void tile(const ModeProduct& size, std::int64_t depth, Corner<T> at, std::int64_t count,
                                        cpu::Places<T> signs) {
  // Neighbours in memory are the next modes. They go to the second level alone: rows that lie whole pages apart share few lines of the
  // first.
  constexpr std::int64_t kAhead = 512 / sizeof(T);
  constexpr int kSecondLevel = 2;
  constexpr bool kAsks = kWhole && kSource == Source::memory;
  const auto place = [&](int i, int j) { return at.c + 2 * (i * size.c_m + j * size.c_n); };
  Vector<T> sum[M][N];
#pragma GCC unroll 4
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) {
      sum[i][j] = Vector<T>{};
      if (kStart == Start::zero) continue;
      if (kAsks) __builtin_prefetch(place(i, j) + kAhead, 1, kSecondLevel);
      sum[i][j] = with_signs<T>(cpu::load_some(place(i, j), kWhole ? kLanes<T> : 2 * count), signs);
    }
  }
  for (std::int64_t k = 0; k < depth; ++k, at.a += 2 * size.a_k, at.b += 2 * size.b_k) {
    Vector<T> b[N], turned[N];
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) {
      const T* from = at.b + 2 * j * size.b_n;
      if (kAsks) __builtin_prefetch(from + kAhead, 0, kSecondLevel);
      b[j] = cpu::load_some(from, kWhole ? kLanes<T> : 2 * count);
      turned[j] = cpu::exchanged_pairs<T>(b[j]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) {
      const T* from = at.a + 2 * i * size.a_m;
      if (kAsks) __builtin_prefetch(from + kAhead, 0, kSecondLevel);
      const Vector<T> re = cpu::part_of_pairs<0, kWhole>(from, 2 * count), im = cpu::part_of_pairs<1, kWhole>(from, 2 * count);
      // Two of these undo each other's signs, so that no sign takes an operation of its own.
      constexpr bool kAlike = kConjugation == Conjugation::alike;
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) sum[i][j] = cpu::alternating_product<kAlike, T>(im, turned[j], sum[i][j]);
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) sum[i][j] = cpu::alternating_product<kAlike, T>(re, b[j], sum[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) {
      const Vector<T> result = with_signs<T>(sum[i][j], signs);
      if (kAsks && at.storing == Storing::streamed) {
        cpu::stream(place(i, j), result);
      } else {
        cpu::store_some(place(i, j), result, kWhole ? kLanes<T> : 2 * count);
      }
    }
  }
}

template <int M, int N, Start kStart, Conjugation kConjugation, Source kSource, class T>
void tile_of_modes(const ModeProduct& size, std::int64_t depth, Corner<T> at, std::int64_t modes) {
  const cpu::Places<T> signs = cpu::signs_of_pairs<T>(false, size.conjugate_b);
  const auto from = [&](std::int64_t mode) { return Corner<T>{at.a + 2 * mode, at.b + 2 * mode, at.c + 2 * mode, at.storing}; };
  std::int64_t mode = 0;
  for (; mode + kModes<T> <= modes; mode += kModes<T>)
    tile<M, N, true, kStart, kConjugation, kSource>(size, depth, from(mode), kModes<T>, signs);
  if (mode < modes) tile<M, N, false, kStart, kConjugation, kSource>(size, depth, from(mode), modes - mode, signs);
}

/// A few products at a time over all modes of the task: what is large is then read where it lies, front to back.
template <int M, int N, Conjugation kConjugation, Source kSource, class T>
void all_depth_of(const ModeProduct& size, Corner<T> at, std::int64_t modes) {
  bool given = size.add;
  std::int64_t k = 0;
  do {
    const std::int64_t depth = std::min(depth_of_pass<T>(size), size.k - k);
    const Corner<T> from{at.a + 2 * k * size.a_k, at.b + 2 * k * size.b_k, at.c, at.storing};
    given ? tile_of_modes<M, N, Start::given, kConjugation, kSource>(size, depth, from, modes)
          : tile_of_modes<M, N, Start::zero, kConjugation, kSource>(size, depth, from, modes);
    given = true;
    k += depth;
  } while (k < size.k);
}
template <int M, int N, class T>
void all_depth(const ModeProduct& size, Corner<T> at, std::int64_t modes) {
  const bool cache = source_of<T>(size) == Source::cache;
  if (size.conjugate_a == size.conjugate_b) {
    return cache ? all_depth_of<M, N, Conjugation::alike, Source::cache>(size, at, modes)
                 : all_depth_of<M, N, Conjugation::alike, Source::memory>(size, at, modes);
  }
  cache ? all_depth_of<M, N, Conjugation::different, Source::cache>(size, at, modes)
        : all_depth_of<M, N, Conjugation::different, Source::memory>(size, at, modes);
}

template <int M, class T>
void tile_row(const ModeProduct& size, Corner<T> at, std::int64_t columns, std::int64_t modes) {
  if (columns == 4) return all_depth<M, 4>(size, at, modes);
  if (columns >= 2) {
    all_depth<M, 2>(size, at, modes);
    at.b += 4 * size.b_n, at.c += 4 * size.c_n, columns -= 2;
  }
  if (columns == 1) all_depth<M, 1>(size, at, modes);
}

template <class T>
void tile_of_rows(const ModeProduct& size, Corner<T> at, std::int64_t rows, std::int64_t columns, std::int64_t modes) {
  if (rows == 4) return tile_row<4>(size, at, columns, modes);
  if (rows >= 2) {
    tile_row<2>(size, at, columns, modes);
    at.a += 4 * size.a_m, at.c += 4 * size.c_m, rows -= 2;
  }
  if (rows == 1) tile_row<1>(size, at, columns, modes);
}

/// Even spans of whole vectors; what they are depends on the sizes alone.
template <class T>
std::int64_t span_of_task(std::int64_t modes, std::int64_t tiles) {
  const std::int64_t fitting = (modes + kMostModesOfTask - 1) / kMostModesOfTask,
                     wanted = (kTasks + tiles - 1) / std::max<std::int64_t>(1, tiles);
  const std::int64_t spans = std::max<std::int64_t>({1, fitting, wanted});
  return std::max(kLeastModesOfTask, ((modes + spans - 1) / spans + kModes<T> - 1) / kModes<T> * kModes<T>);
}

}  // namespace

template <class T>
void mode_product(Cpu, const ModeProduct& size, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c) {
  constexpr std::int64_t kSide = 4;
  // With a sum of few products the result is most of what passes: fewer rows of it at a time come faster.
  const std::int64_t width = size.k <= kSide ? kSide / 2 : kSide;
  const std::int64_t row_tiles = (size.m + kSide - 1) / kSide, column_tiles = (size.n + width - 1) / width,
                     tiles = row_tiles * column_tiles;
  const std::int64_t span = span_of_task<T>(size.modes, tiles), spans = (size.modes + span - 1) / span;
  // What the many tiles of the longer side read, the few of the other read again while it lies in the cache.
  const bool tall = size.m >= size.n;
  const std::int64_t inner = tall ? column_tiles : row_tiles;
  const bool worth = size.modes * size.m * size.n * size.k > 1 << 14;
  const Storing storing = storing_of(size, c);
  share_out(spans * tiles, worth ? omp_get_max_threads() : 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t task = first; task < last; ++task) {
      const std::int64_t mode = task / tiles * span, place = task % tiles;
      const std::int64_t row = kSide * (tall ? place / inner : place % inner), column = width * (tall ? place % inner : place / inner);
      const Corner<T> at{reinterpret_cast<const T*>(a + row * size.a_m + mode), reinterpret_cast<const T*>(b + column * size.b_n + mode),
                         reinterpret_cast<T*>(c + row * size.c_m + column * size.c_n + mode), storing};
      tile_of_rows(size, at, std::min(kSide, size.m - row), std::min(width, size.n - column), std::min(span, size.modes - mode));
    }
    if (storing == Storing::streamed) cpu::finish_streaming();
  });
}

#define TRIDENT_MODE_PRODUCT(T) \
  template void mode_product(Cpu, const ModeProduct&, const std::complex<T>*, const std::complex<T>*, std::complex<T>*);
TRIDENT_MODE_PRODUCT(float)
TRIDENT_MODE_PRODUCT(double)

}  // namespace trident
