#include "runtime/kernels/mode_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <vector>

#include "runtime/device/allocator.h"
#include "tests/runtime/packed_mode_product.h"

namespace trident {
namespace {

using testing::packed_mode_product;

template <class T>
std::vector<std::complex<T>> numbers(std::int64_t count, double step) {
  std::vector<std::complex<T>> x;
  for (std::int64_t i = 0; i < count; ++i)
    x.emplace_back(static_cast<T>(std::sin(step * static_cast<double>(i))), static_cast<T>(std::cos(2.0 * step * static_cast<double>(i))));
  return x;
}

std::complex<double> conjugate_if(bool yes, std::complex<double> x) { return yes ? std::conj(x) : x; }

/// The largest error of c (m, n, modes) from what it had if that is added to, and a (m, k, modes) times b (k, n, modes).
template <class T>
double error_of(const ModeProduct& size) {
  const auto a = numbers<T>(size.m * size.k * size.modes, 0.7), b = numbers<T>(size.k * size.n * size.modes, 0.3),
             before = numbers<T>(size.m * size.n * size.modes, 0.2);
  const Block memory(before.size() * sizeof(std::complex<T>), {});  // begins a line of the cache
  auto* const c = static_cast<std::complex<T>*>(memory.data());
  std::copy(before.begin(), before.end(), c);
  mode_product(Cpu{}, size, a.data(), b.data(), c);
  double error = 0.0;
  for (std::int64_t row = 0; row < size.m; ++row) {
    for (std::int64_t column = 0; column < size.n; ++column) {
      for (std::int64_t mode = 0; mode < size.modes; ++mode) {
        const auto at = static_cast<std::size_t>(row * size.c_m + column * size.c_n + mode);
        std::complex<double> expected = size.add ? before[at] : std::complex<T>{};
        for (std::int64_t k = 0; k < size.k; ++k) {
          expected += conjugate_if(size.conjugate_a, a[static_cast<std::size_t>(row * size.a_m + k * size.a_k + mode)]) *
                      conjugate_if(size.conjugate_b, b[static_cast<std::size_t>(k * size.b_k + column * size.b_n + mode)]);
        }
        error = std::max(error, std::abs(expected - std::complex<double>(c[row * size.c_m + column * size.c_n + mode])));
      }
    }
  }
  return error;
}

TEST(ModeProduct, IsTheDefinitionForAnySizesAndConjugates) {
  using Sizes = std::array<std::int64_t, 4>;
  for (const auto [m, n, k, modes] :
       {Sizes{1, 1, 1, 1}, {2, 3, 4, 37}, {9, 10, 5, 70}, {4, 7, 33, 19}, {7, 4, 16, 8}, {5, 6, 0, 4}, {3, 0, 2, 5}}) {
    for (const unsigned ways : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U}) {
      const ModeProduct size = packed_mode_product(m, n, k, modes, ways);
      EXPECT_LT(error_of<double>(size), 1e-13) << m << " " << n << " " << k << " " << modes << " " << ways;
      EXPECT_LT(error_of<float>(size), 2e-5) << m << " " << n << " " << k << " " << modes << " " << ways;
    }
  }
}

/// Results that are stored past the cache, or cannot be; and factors that are read a few rows at a time.
TEST(ModeProduct, IsTheDefinitionOfMatricesTooLargeForTheCaches) {
  for (const ModeProduct& size :
       {packed_mode_product(33, 32, 3, 1000, 2), packed_mode_product(33, 32, 3, 1001, 2), packed_mode_product(33, 32, 3, 1000, 4),
        packed_mode_product(2, 33, 33, 1001, 0), packed_mode_product(33, 1, 33, 1001, 4)}) {
    EXPECT_LT(error_of<double>(size), 1e-13) << size.m << " " << size.n << " " << size.modes;
    EXPECT_LT(error_of<float>(size), 2e-5) << size.m << " " << size.n << " " << size.modes;
  }
}

}  // namespace
}  // namespace trident
