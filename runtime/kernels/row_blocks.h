/// Rows of a matrix cut into blocks that stay in a core's cache, shared by the threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "runtime/device/allocator.h"
#include "runtime/kernels/into.h"

namespace trident::cpu {

struct RowBlocks {
  std::int64_t rows = 0;
  std::int64_t bytes_per_row = 0;  // what the work on a row touches

  /// Rows of one block: at most kCacheBytes, and as many blocks of one size for every thread as for the others; but at least kFewestRows
  /// (below, a product spends its time on packing).
  std::int64_t rows_per_block() const {
    const auto divided_up = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
    const std::int64_t threads = omp_get_max_threads();
    const std::int64_t fitting = std::max(kFewestRows, kCacheBytes / std::max<std::int64_t>(bytes_per_row, 1));
    const std::int64_t rounds = std::max<std::int64_t>(1, divided_up(rows, fitting * threads));
    return std::max(kFewestRows, divided_up(rows, rounds * threads));
  }
  std::int64_t count() const { return (rows + rows_per_block() - 1) / rows_per_block(); }
  /// Whether every thread gets blocks of its own; else the threads share the products of one block of all rows.
  bool fill_threads() const { return omp_get_max_threads() == 1 || count() >= omp_get_max_threads(); }

  static constexpr std::int64_t kCacheBytes = 1 << 19;  // half of a 1 MB second-level cache
  static constexpr std::int64_t kFewestRows = 64;
};

/// Calls work(first row, rows, thread) for all blocks: in parallel, each on one thread, or once for all rows outside a parallel region.
template <class Work>
void for_each_row_block(const RowBlocks& blocks, Work&& work) {
  if (!blocks.fill_threads()) return work(std::int64_t{0}, blocks.rows, 0);
  const std::int64_t step = blocks.rows_per_block(), count = blocks.count();
#pragma omp parallel for schedule(static)
  for (std::int64_t block = 0; block < count; ++block) {
    work(block * step, std::min(step, blocks.rows - block * step), omp_get_thread_num());
  }
}

/// sums (width,) = or += the sums over the rows of x (rows, width), in an order that depends on the shape alone.
template <class T>
void column_sums(std::int64_t rows, std::int64_t width, const T* x, Into<T> sums) {
  constexpr std::int64_t kRows = 256;  // of one partial sum
  const std::int64_t parts = (rows + kRows - 1) / kRows;
  if (sums.sum == Sum::replaces) std::fill_n(sums.to, width, T(0));
  if (parts == 0) return;
  const Block scratch(static_cast<std::size_t>(parts * width) * sizeof(T), {});
  T* partial = static_cast<T*>(scratch.data());
#pragma omp parallel for schedule(static) if (parts > 1 && !omp_in_parallel())
  for (std::int64_t part = 0; part < parts; ++part) {
    T* sum = partial + part * width;
    std::fill_n(sum, width, T(0));
    for (std::int64_t row = part * kRows; row < std::min(rows, (part + 1) * kRows); ++row) {
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) sum[i] += x[row * width + i];
    }
  }
  for (std::int64_t part = 0; part < parts; ++part) {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) sums.to[i] += partial[part * width + i];
  }
}

}  // namespace trident::cpu
