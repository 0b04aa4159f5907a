/// Smallest, largest, mean and standard deviation of numbers that come in parts.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "runtime/config.h"
#include "runtime/tensor/dtype.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// Of numbers that come in parts: joining does not cancel as sums of squares would (Chan, Golub, LeVeque 1979).
struct Moments {
  double count = 0.0, mean = 0.0, squares = 0.0;  // squares: of the distances from the mean, added up

  void join(const Moments& more) {
    if (more.count == 0.0) return;
    const double total = count + more.count, distance = more.mean - mean;
    squares += more.squares + distance * distance * count * more.count / total;
    mean += distance * more.count / total;
    count = total;
  }
};

class ValueStatistics {
 public:
  void add(std::span<const double> values);
  /// Real numbers of any type, in parts, so that a large tensor is not copied as a whole.
  void add(const Tensor& values);

  std::int64_t count() const { return static_cast<std::int64_t>(moments_.count); }  // of finite numbers
  std::int64_t non_finite() const { return non_finite_; }                           // NaN and infinities, which enter nothing else
  double mean() const { return moments_.mean; }
  const Moments& moments() const { return moments_; }
  double deviation() const;
  double minimum() const { return minimum_; }
  double maximum() const { return maximum_; }
  /// {"min", "max", "mean", "std", "non_finite"}: the last if there are any, the others if there are finite numbers.
  ConfigValue to_config() const;

 private:
  Moments moments_;
  std::int64_t non_finite_ = 0;
  double minimum_ = std::numeric_limits<double>::infinity(), maximum_ = -std::numeric_limits<double>::infinity();
};

/// The same of complex numbers.
class ComplexStatistics {
 public:
  void add(std::span<const c128> values);
  void add(const Tensor& values);

  /// {"min", "max": of magnitudes, "mean", "mean_imag", "std": of the distances from the mean, "non_finite"}.
  ConfigValue to_config() const;

 private:
  ValueStatistics magnitude_, real_, imag_;
};

}  // namespace trident
