#include <algorithm>

#include "runtime/kernels/gemm.h"
#include "runtime/kernels/strip_product.h"

namespace trident::cpu {
namespace {

// Of the result, one task's: packing (kRows + kColumns) k numbers for kRows kColumns k products is a small part of them.
constexpr std::int64_t kRows = 64, kColumns = 128;
constexpr std::int64_t kDepth = 128;  // at a time: a strip of b stays in the first level of the cache, rows of a in the second
constexpr std::int64_t kWidth = kStrip<double>;
constexpr std::int64_t kWorthThreads = 1 << 18;  // multiplications

/// A matrix as stored, and where op() of it has a number.
struct Operand {
  const double* data;
  std::int64_t row_step, column_step;

  Operand(const double* data, std::int64_t ld, bool transposed)
      : data(data), row_step(transposed ? 1 : ld), column_step(transposed ? ld : 1) {}
  const double* at(std::int64_t row, std::int64_t column) const { return data + row * row_step + column * column_step; }
};

/// Up to kWidth columns of op(b) as (depth, kWidth), with zeros behind them.
void pack_strip(const Operand& b, std::int64_t first, std::int64_t depth, std::int64_t column, std::int64_t columns, double* to) {
  for (std::int64_t row = first; row < first + depth; ++row, to += kWidth) {
    const double* from = b.at(row, column);
    for (std::int64_t i = 0; i < columns; ++i) to[i] = from[i * b.column_step];
    std::fill(to + columns, to + kWidth, 0.0);
  }
}

/// Memory of one thread.
struct Workspace {
  Block block;
  double* rows;   // of op(a), tile by tile
  double* strip;  // of op(b)
  double* edge;   // what a strip of fewer columns than kWidth gives
  double *zeros, *beta;

  explicit Workspace(double factor)
      : block(numbers<double>(kRows * kDepth + kDepth * kWidth + kRows * kWidth + 2 * kRows)),
        rows(static_cast<double*>(block.data())),
        strip(rows + kRows * kDepth),
        edge(strip + kDepth * kWidth),
        zeros(edge + kRows * kWidth),
        beta(zeros + kRows) {
    std::fill_n(zeros, kRows, 0.0);
    std::fill_n(beta, kRows, factor);
  }
};

void copy_rows(std::int64_t rows, std::int64_t columns, const double* from, std::int64_t from_step, double* to, std::int64_t to_step) {
  for (std::int64_t row = 0; row < rows; ++row) std::copy_n(from + row * from_step, columns, to + row * to_step);
}

/// The block of c from (row, column) on. Its sums run in the order of k, whoever computes it.
void multiply_block(const Gemm& size, const Operand& a, const Operand& b, std::int64_t row, std::int64_t column, double* c,
                    const Workspace& memory) {
  const std::int64_t rows = std::min(kRows, size.m - row), end = std::min(column + kColumns, size.n);
  std::int64_t first = 0;
  do {  // once for an empty sum too, which is zero
    const std::int64_t depth = std::min(kDepth, size.k - first);
    const Tiled<const double> left = tiled(rows, depth, a.at(row, first), a.row_step, a.column_step, memory.rows);
    const bool adds = first > 0 || size.beta != 0.0;
    const double* factor = first > 0 ? nullptr : memory.beta;
    for (std::int64_t strip = column; strip < end; strip += kWidth) {
      const std::int64_t columns = std::min(kWidth, end - strip);
      const bool whole = columns == kWidth;
      pack_strip(b, first, depth, strip, columns, memory.strip);
      double* to = c + row * size.ldc + strip;
      if (adds && !whole) copy_rows(rows, columns, to, size.ldc, memory.edge, kWidth);
      const Rows<double> target = whole ? Rows<double>{to, size.ldc} : Rows<double>{memory.edge, kWidth};
      const auto tile = [&](std::int64_t i) { return Rows<double>{target.data + i * target.step, target.step}; };
      strip_product(left, StripStart<double>{memory.zeros, {adds ? target.data : nullptr, target.step}, factor}, 2,
                    Rows<const double>{memory.strip, kWidth}, Storing::cached, tile, [](auto...) {});
      if (!whole) copy_rows(rows, columns, memory.edge, kWidth, to, size.ldc);
    }
  } while ((first += kDepth) < size.k);
}

}  // namespace

void gemm(const Gemm& size, const double* a, const double* b, double* c) {
  const Operand left(a, size.lda, size.transpose_a), right(b, size.ldb, size.transpose_b);
  const std::int64_t across = (size.n + kColumns - 1) / kColumns, blocks = (size.m + kRows - 1) / kRows * across;
  const bool worth = !omp_in_parallel() && size.m * size.n * size.k > kWorthThreads;
  share_out_prepared(blocks, worth ? std::min<std::int64_t>(omp_get_max_threads(), blocks) : 1, [&] {
    return [&, memory = Workspace(size.beta)](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) multiply_block(size, left, right, i / across * kRows, i % across * kColumns, c, memory);
    };
  });
}

}  // namespace trident::cpu
