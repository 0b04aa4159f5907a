#include "launch/value_statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

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

namespace {

/// Adds a tensor in parts, so that a large one is not copied as a whole.
template <class Number, class Statistics>
void add_in_parts(const Tensor& values, DType dtype, Statistics& statistics) {
  constexpr std::int64_t kPart = 1 << 20;
  const Tensor flat = view::reshape(packed(values), {values.numel()});
  for (std::int64_t begin = 0; begin < flat.numel(); begin += kPart) {
    const Tensor part = view::slice(flat, 0, begin, std::min(begin + kPart, flat.numel()));
    const Tensor numbers = empty(part.shape(), dtype);
    copy_into(numbers, part);
    statistics.add(std::span<const Number>(numbers.data<Number>(), static_cast<std::size_t>(numbers.numel())));
  }
}

}  // namespace

void ValueStatistics::add(const Tensor& values) { add_in_parts<double>(values, DType::f64, *this); }

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

void ComplexStatistics::add(std::span<const c128> values) {
  std::vector<double> magnitudes, reals, imags;
  for (const c128 value : values) {
    magnitudes.push_back(std::abs(value));
    if (!std::isfinite(magnitudes.back())) continue;  // counted with the magnitudes
    reals.push_back(value.real());
    imags.push_back(value.imag());
  }
  magnitude_.add(magnitudes);
  real_.add(reals);
  imag_.add(imags);
}

void ComplexStatistics::add(const Tensor& values) { add_in_parts<c128>(values, DType::c128, *this); }

ConfigValue ComplexStatistics::to_config() const {
  ConfigValue result = magnitude_.to_config();
  if (result.find("mean") == nullptr) return result;
  result.set("mean", real_.mean());
  result.set("std", std::hypot(real_.deviation(), imag_.deviation()));
  result.set("mean_imag", imag_.mean());
  return result;
}

}  // namespace trident
