/// One property for every exchange A between ranks: <A x, y> = <x, A' y>, summed over ranks, where A' is its backward.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "runtime/autograd/tape.h"
#include "runtime/ops/complex.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/random_tensor.h"
#include "tests/support/test_world.h"

namespace trident::testing {

/// Complex numbers count as pairs of reals.
inline double dot(const Tensor& a, const Tensor& b) {
  if (!is_complex(a.dtype())) {
    const auto x = to_host<double>(a), y = to_host<double>(b);
    return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  }
  const auto x = to_host<c128>(a), y = to_host<c128>(b);
  const auto product = [](c128 p, c128 q) { return p.real() * q.real() + p.imag() * q.imag(); };
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0, std::plus<>(), product);
}

/// f64 or c128 numbers that differ from rank to rank.
inline Tensor random_on_rank(const Shape& shape, DType dtype, std::uint64_t seed) {
  const std::uint64_t own = 100 * seed + static_cast<std::uint64_t>(world()->rank());
  const Tensor real = random_tensor(shape, own);
  return is_complex(dtype) ? complex(real, random_tensor(shape, own + 50)) : real;
}

/// `exchange` is linear, and takes this rank's x of `shape`. Collective.
inline void expect_adjoint(const std::function<Tensor(const Tensor&)>& exchange, const Shape& shape, DType dtype = DType::f64) {
  const Tensor x = leaf(random_on_rank(shape, dtype, 1));
  const Tensor y = exchange(x);
  const Tensor dy = random_on_rank(y.shape(), y.dtype(), 2);
  const Tensor dx = gradients(y, dy, {x})[0];
  ASSERT_TRUE(dx.defined());
  EXPECT_EQ(dx.shape(), x.shape());
  const Tensor sums = from_values<double>({5}, std::vector{dot(y, dy), dot(x, dx), dot(y, y), dot(dy, dy), dot(x, x)});
  world()->all_reduce(sums, ReduceOp::sum);
  const std::vector<double> over_ranks = to_host<double>(sums);
  EXPECT_NEAR(over_ranks[1], over_ranks[0], 1e-13 * std::sqrt(over_ranks[2] * over_ranks[3]));
  EXPECT_EQ(over_ranks[0] == 0.0, over_ranks[4] == 0.0);  // of random numbers only nothing at all is orthogonal to others
}

}  // namespace trident::testing
