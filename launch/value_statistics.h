/// Smallest, largest, mean and standard deviation of numbers that come in parts.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "runtime/config.h"
#include "runtime/tensor/tensor.h"

namespace trident {

class ValueStatistics {
 public:
  void add(std::span<const double> values);
  /// Real numbers of any type, in parts, so that a large tensor is not copied as a whole.
  void add(const Tensor& values);

  std::int64_t count() const { return count_; }            // of finite numbers
  std::int64_t non_finite() const { return non_finite_; }  // NaN and infinities, which enter nothing else
  double mean() const { return mean_; }
  double deviation() const;
  double minimum() const { return minimum_; }
  double maximum() const { return maximum_; }
  /// {"min", "max", "mean", "std", "non_finite"}: the last if there are any, the others if there are finite numbers.
  ConfigValue to_config() const;

 private:
  std::int64_t count_ = 0, non_finite_ = 0;
  double mean_ = 0.0, squares_ = 0.0;  // sum of squared distances from the mean
  double minimum_ = std::numeric_limits<double>::infinity(), maximum_ = -std::numeric_limits<double>::infinity();
};

}  // namespace trident
