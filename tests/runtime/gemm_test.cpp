#include "runtime/kernels/gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "runtime/device/threads.h"
#include "runtime/tensor/create.h"
#include "tests/support/random_tensor.h"

namespace trident {
namespace {

template <class T>
std::vector<T> numbers(std::int64_t count, std::uint64_t seed) {
  const auto host = to_host<double>(testing::random_tensor({count}, seed));
  return {host.begin(), host.end()};
}

/// Operands with gaps between their rows.
template <class T>
struct Case {
  cpu::Gemm size;
  std::vector<T> a, b, c;

  Case(std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b, double beta)
      : size{.m = m,
             .n = n,
             .k = k,
             .lda = (transpose_a ? m : k) + 1,
             .ldb = (transpose_b ? k : n) + 2,
             .ldc = n + 3,
             .transpose_a = transpose_a,
             .transpose_b = transpose_b,
             .beta = beta},
        a(numbers<T>((transpose_a ? k : m) * size.lda + 1, 1)),
        b(numbers<T>((transpose_b ? n : k) * size.ldb + 1, 2)),
        c(numbers<T>(m * size.ldc, 3)) {
    if (beta == 0.0) std::fill(c.begin(), c.end(), std::numeric_limits<T>::quiet_NaN());  // what is replaced counts for nothing
  }
  std::vector<T> product() const {
    std::vector<T> result = c;
    cpu::gemm(size, a.data(), b.data(), result.data());
    return result;
  }
  double naive(std::int64_t row, std::int64_t column) const {
    double sum = size.beta == 0.0 ? 0.0 : size.beta * static_cast<double>(c[static_cast<std::size_t>(row * size.ldc + column)]);
    for (std::int64_t i = 0; i < size.k; ++i) {
      const std::int64_t left = size.transpose_a ? i * size.lda + row : row * size.lda + i,
                         right = size.transpose_b ? column * size.ldb + i : i * size.ldb + column;
      sum += static_cast<double>(a[static_cast<std::size_t>(left)]) * static_cast<double>(b[static_cast<std::size_t>(right)]);
    }
    return sum;
  }
};

template <class T>
class GemmOf : public ::testing::Test {};
using NumberTypes = ::testing::Types<float, double>;
TYPED_TEST_SUITE(GemmOf, NumberTypes);

TYPED_TEST(GemmOf, AgreesWithSumsTermByTermAndKeepsWhatLiesBetweenRows) {
  // Beyond what one task, one strip and one piece of the sum hold, and below; with tails of all.
  const std::int64_t sizes[][3] = {{1, 1, 1}, {3, 5, 0}, {7, 17, 9}, {64, 128, 128}, {65, 130, 129}, {131, 33, 300}};
  const double epsilon = std::numeric_limits<TypeParam>::epsilon();
  for (const auto& [m, n, k] : sizes) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const double beta : {0.0, 1.0, 0.5}) {
          const Case<TypeParam> one(m, n, k, transpose_a, transpose_b, beta);
          const std::vector<TypeParam> result = one.product();
          double worst = 0.0;
          for (std::int64_t row = 0; row < m; ++row) {
            for (std::int64_t column = 0; column < n; ++column) {
              const double error =
                  std::abs(static_cast<double>(result[static_cast<std::size_t>(row * one.size.ldc + column)]) - one.naive(row, column));
              worst = std::isnan(error) ? error : std::max(worst, error);
            }
            for (std::int64_t gap = n; gap < one.size.ldc; ++gap) {
              const auto at = static_cast<std::size_t>(row * one.size.ldc + gap);
              EXPECT_EQ(std::memcmp(&result[at], &one.c[at], sizeof(TypeParam)), 0);
            }
          }
          // Normal numbers: a sum of k products is about sqrt(k), rounded at most k times.
          EXPECT_LE(worst, 4.0 * epsilon * static_cast<double>(k + 1)) << m << " x " << n << " x " << k;
        }
      }
    }
  }
}

TEST(Gemm, OfF64IsTheSameBitForBitOnAnyNumberOfThreads) {
  const Case<double> one(150, 290, 257, false, true, 1.0);
  const int before = num_threads();
  set_num_threads(1);
  const std::vector<double> alone = one.product();
  set_num_threads(3);
  EXPECT_EQ(one.product(), alone);
  set_num_threads(before);
}

}  // namespace
}  // namespace trident
