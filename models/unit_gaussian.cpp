#include "models/unit_gaussian.h"

#include <vector>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"

namespace trident {
namespace {

std::vector<int> summed_axes(const Tensor& data, FitPer per) {
  if (data.rank() < 3) throw ShapeError(concat("unit_gaussian: fields are (sample, channel, space...), got ", to_string(data.shape())));
  std::vector<int> axes{0};
  for (int axis = 2; per == FitPer::channel && axis < data.rank(); ++axis) axes.push_back(axis);
  return axes;
}

}  // namespace

void UnitGaussian::fit(const Tensor& data) {
  const Recording off(false);
  const std::vector<int> axes = summed_axes(data, per_);
  const Tensor total = sum(data, axes);
  count_ = static_cast<double>(data.numel()) / static_cast<double>(total.numel());
  if (count_ < 2.0)
    throw ShapeError(concat("unit_gaussian: ", to_string(data.shape()), " has no two numbers for a deviation; give more samples"));
  mean_ = affine(total, 1.0 / count_);
  squares_ = affine(sum(data * data, axes), 1.0 / count_);
  const Tensor centred = data - mean_;
  std_ = power(affine(sum(centred * centred, axes), 1.0 / (count_ - 1.0)), 0.5);
}

void UnitGaussian::add(const Tensor& data) {
  if (count_ == 0.0) return fit(data);
  const Recording off(false);
  const std::vector<int> axes = summed_axes(data, per_);
  const Tensor total = sum(data, axes);
  const double before = count_;
  count_ += static_cast<double>(data.numel()) / static_cast<double>(total.numel());
  mean_ = affine(affine(mean_, before) + total, 1.0 / count_);
  squares_ = affine(affine(squares_, before) + sum(data * data, axes), 1.0 / count_);
  std_ = affine(power(squares_ - mean_ * mean_, 0.5), count_ / (count_ - 1.0));
}

Tensor UnitGaussian::encode(const Tensor& x) const { return (x - mean_) / affine(std_, 1.0, eps_); }
Tensor UnitGaussian::decode(const Tensor& x) const { return x * affine(std_, 1.0, eps_) + mean_; }

}  // namespace trident
