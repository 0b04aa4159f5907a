#include "runtime/kernels/strided_product.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <vector>

#include "runtime/tensor/random.h"

namespace trident {
namespace {

/// The last element of an operand and one more: `steps` of all its dimensions.
std::size_t extent(const StridedProduct& size, std::int64_t rows, std::int64_t row_step, std::int64_t columns, std::int64_t column_step,
                   std::int64_t ProductLoop::*step) {
  std::int64_t last = (rows - 1) * row_step + (columns - 1) * column_step;
  for (const ProductLoop& loop : size.loops) last += (loop.extent - 1) * loop.*step;
  return static_cast<std::size_t>(last + 1);
}

template <class T>
struct Operands {
  std::vector<std::complex<T>> a, b, c;
  explicit Operands(const StridedProduct& size)
      : a(extent(size, size.m, size.a_m, size.k, size.a_k, &ProductLoop::a)),
        b(extent(size, size.k, size.b_k, size.n, size.b_n, &ProductLoop::b)),
        c(extent(size, size.m, size.c_m, size.n, 1, &ProductLoop::c), std::complex<T>(T(77), T(-77))) {
    std::uint64_t number = 0;
    const auto next = [&] { return static_cast<T>(normal(RandomKey(5), number++)); };
    for (auto* x : {&a, &b}) {
      for (auto& z : *x) z = {next(), next()};
    }
  }
};

/// The definition, in f64.
template <class T>
std::vector<std::complex<double>> by_definition(const StridedProduct& size, const Operands<T>& in) {
  std::vector<std::complex<double>> c(in.c.size(), {77.0, -77.0});
  std::vector<bool> written(in.c.size(), false);
  std::int64_t steps = 1;
  for (const ProductLoop& loop : size.loops) steps *= loop.extent;
  for (std::int64_t step = 0; step < steps; ++step) {
    ProductLoop at;
    std::int64_t rest = step;
    for (const ProductLoop& loop : size.loops) {
      const std::int64_t place = rest % loop.extent;
      rest /= loop.extent;
      at.a += place * loop.a, at.b += place * loop.b, at.c += place * loop.c;
    }
    for (std::int64_t m = 0; m < size.m; ++m) {
      for (std::int64_t n = 0; n < size.n; ++n) {
        std::complex<double> sum = 0.0;
        for (std::int64_t k = 0; k < size.k; ++k) {
          const std::complex<double> a(in.a[static_cast<std::size_t>(at.a + m * size.a_m + k * size.a_k)]),
              b(in.b[static_cast<std::size_t>(at.b + k * size.b_k + n * size.b_n)]);
          sum += (size.conjugate_a ? std::conj(a) : a) * (size.conjugate_b ? std::conj(b) : b);
        }
        const auto place = static_cast<std::size_t>(at.c + m * size.c_m + n);
        c[place] = written[place] ? c[place] + sum : sum;
        written[place] = true;
      }
    }
  }
  return c;
}

template <class T>
void expect_definition(const StridedProduct& size, double tolerance) {
  Operands<T> in(size);
  const std::vector<std::complex<double>> expected = by_definition(size, in);
  strided_product(Cpu{}, size, in.a.data(), in.b.data(), in.c.data());
  double worst = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(std::complex<double>(in.c[i]) - expected[i]));
  double terms = static_cast<double>(size.k);
  for (const ProductLoop& loop : size.loops) terms *= loop.c == 0 ? static_cast<double>(loop.extent) : 1.0;
  EXPECT_LE(worst, tolerance * std::sqrt(terms))
      << size.m << " x " << size.n << " x " << size.k << ", steps of b " << size.b_k << " and " << size.b_n
      << (size.conjugate_a ? ", conjugate a" : "") << (size.conjugate_b ? ", conjugate b" : "");
}

void expect_definition_in_both(StridedProduct size) {
  for (const int conjugates : {0, 1, 2, 3}) {
    size.conjugate_a = (conjugates & 1) != 0, size.conjugate_b = (conjugates & 2) != 0;
    expect_definition<float>(size, 8e-6);
    expect_definition<double>(size, 3e-14);
  }
}

/// Rows of a and b side by side: columns of b lie side by side in memory.
StridedProduct by_rows(std::int64_t m, std::int64_t n, std::int64_t k) {
  return {.m = m, .n = n, .k = k, .a_m = k, .a_k = 1, .b_k = n, .b_n = 1, .c_m = n};
}
/// What is summed lies side by side in b, and perhaps in a.
StridedProduct by_sums(std::int64_t m, std::int64_t n, std::int64_t k, bool in_a) {
  return {.m = m, .n = n, .k = k, .a_m = in_a ? k : 1, .a_k = in_a ? 1 : m, .b_k = 1, .b_n = k, .c_m = n};
}

TEST(StridedProduct, IsTheDefinitionForEveryHeightAndWidthOfATile) {
  for (std::int64_t m = 1; m <= 10; ++m) {
    for (const std::int64_t n : {1, 2, 4, 7, 8, 9, 15, 16, 17, 33}) expect_definition_in_both(by_rows(m, n, 5));
  }
}

TEST(StridedProduct, IsTheDefinitionWhereColumnsOfBLieApart) {
  for (const std::int64_t n : {1, 3, 8, 13, 17}) expect_definition_in_both(by_sums(9, n, 13, false));
}

TEST(StridedProduct, IsTheDefinitionForDotsOfEveryNumberOfRowsAndColumns) {
  for (std::int64_t m = 1; m <= 4; ++m) {
    for (std::int64_t n = 2; n <= 5; ++n) {
      for (const std::int64_t k : {64, 72, 83}) expect_definition_in_both(by_sums(m, n, k, true));
    }
  }
}

TEST(StridedProduct, IsTheDefinitionForSumsOfSeveralBlocks) {
  expect_definition_in_both(by_rows(11, 21, 400));
  expect_definition_in_both(by_sums(7, 9, 400, false));
  expect_definition_in_both(by_sums(35, 40, 300, true));  // too many rows and columns for dots
  expect_definition_in_both(by_sums(3, 9, 9000, true));
}

TEST(StridedProduct, IsTheDefinitionForSeveralBlocksOfColumns) {
  expect_definition_in_both(by_rows(9, 2500, 20));
  expect_definition_in_both(by_sums(9, 2500, 20, false));
  expect_definition_in_both(by_sums(2, 2100, 208, false));  // the last block is narrow, but not wider
}

TEST(StridedProduct, IsTheDefinitionForSeveralBlocksOfRows) { expect_definition_in_both(by_rows(300, 19, 140)); }

TEST(StridedProduct, IsTheDefinitionWhereNothingLiesSideBySide) {
  expect_definition_in_both({.m = 5, .n = 19, .k = 11, .a_m = 36, .a_k = 3, .b_k = 40, .b_n = 2, .c_m = 19});
}

TEST(StridedProduct, IsTheDefinitionForShortSumsThatGiveMuch) {
  StridedProduct size = by_rows(24, 30, 2);
  size.loops[0] = {1500, 48, 60, 720};
  expect_definition_in_both(size);
  size = by_rows(24, 30, 2);
  size.c_m = 32, size.loops[0] = {1500, 48, 60, 768};  // rows that begin with lines
  expect_definition_in_both(size);
}

TEST(StridedProduct, LeavesWhatLiesBetweenRowsAlone) {
  StridedProduct size = by_rows(5, 11, 3);
  size.a_m = 7, size.b_k = 19, size.c_m = 14;
  expect_definition_in_both(size);
}

TEST(StridedProduct, GoesThroughLoopsAndAddsUpThoseWithoutStepOfC) {
  StridedProduct tiles = by_rows(4, 18, 6);
  tiles.loops[0] = {3, 24, 0, 72}, tiles.loops[2] = {2, 72, 108, 0}, tiles.loops[5] = {2, 144, 216, 0};
  expect_definition_in_both(tiles);
  StridedProduct dots = by_sums(4, 6, 80, true);
  dots.loops[1] = {2, 0, 480, 24}, dots.loops[3] = {3, 320, 960, 0};
  expect_definition_in_both(dots);
}

TEST(StridedProduct, IsTheSameBitForBitWithAnyNumberOfThreads) {
  for (const StridedProduct& size :
       {by_rows(70, 90, 80), by_sums(70, 90, 80, false), by_sums(40, 50, 2000, true), by_sums(20, 50, 2000, true)}) {
    std::vector<std::vector<std::complex<float>>> results;
    for (const int threads : {1, 2, 3}) {
      Operands<float> in(size);
      const int before = omp_get_max_threads();
      omp_set_num_threads(threads);
      strided_product(Cpu{}, size, in.a.data(), in.b.data(), in.c.data());
      omp_set_num_threads(before);
      results.push_back(in.c);
    }
    for (const auto& result : results) {
      EXPECT_EQ(std::memcmp(result.data(), results[0].data(), result.size() * sizeof(result[0])), 0) << size.k;
    }
  }
}

}  // namespace
}  // namespace trident
