#include "launch/value_statistics.h"

#include <algorithm>
#include <cmath>

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {

void ValueStatistics::add(std::span<const double> values) {
  std::int64_t count = 0;
  double sum = 0.0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    ++count;
    sum += value;
    minimum_ = std::min(minimum_, value);
    maximum_ = std::max(maximum_, value);
  }
  non_finite_ += static_cast<std::int64_t>(values.size()) - count;
  if (count == 0) return;
  const double mean = sum / static_cast<double>(count);
  double squares = 0.0;
  for (const double value : values) {
    if (std::isfinite(value)) squares += (value - mean) * (value - mean);
  }
  moments_.join({static_cast<double>(count), mean, squares});
}

void ValueStatistics::add(const Tensor& values) {
  constexpr std::int64_t kPart = 1 << 20;
  const Tensor flat = view::reshape(packed(values), {values.numel()});
  for (std::int64_t begin = 0; begin < flat.numel(); begin += kPart) {
    const Tensor part = view::slice(flat, 0, begin, std::min(begin + kPart, flat.numel()));
    const Tensor numbers = empty(part.shape(), DType::f64);
    copy_into(numbers, part);
    add(std::span<const double>(numbers.data<double>(), static_cast<std::size_t>(numbers.numel())));
  }
}

double ValueStatistics::deviation() const { return count() == 0 ? 0.0 : std::sqrt(moments_.squares / moments_.count); }

ConfigValue ValueStatistics::to_config() const {
  ConfigValue result = ConfigValue::map();
  if (count() > 0) {
    result.set("min", minimum_);
    result.set("max", maximum_);
    result.set("mean", mean());
    result.set("std", deviation());
  }
  if (non_finite_ > 0) result.set("non_finite", non_finite_);
  return result;
}

}  // namespace trident
