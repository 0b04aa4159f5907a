/// neuraloperator's UnitGaussianNormalizer: fields to mean 0 and deviation 1, per channel or per point, by what it was fitted on.
#pragma once

#include <cstdint>

#include "runtime/tensor/tensor.h"

namespace trident {

/// What shares a mean and a deviation: all points of a channel in all samples, or one point in all samples.
enum class FitPer { channel, pixel };

class UnitGaussian {
 public:
  explicit UnitGaussian(FitPer per = FitPer::channel, double eps = 1e-7) : per_(per), eps_(eps) {}
  /// With known numbers, broadcastable to fields.
  UnitGaussian(Tensor mean, Tensor std, double eps = 1e-7) : eps_(eps), mean_(std::move(mean)), std_(std::move(std)) {}

  /// data: (sample, channel, space...). The mean, and the root of the unbiased variance. Forgets what was fitted before.
  void fit(const Tensor& data);
  /// fit() at first; then the mean of all data so far, and the root of their *biased* variance times n / (n - 1), as the reference's
  /// incremental fit has it.
  void add(const Tensor& data);

  /// (x - mean) / (std + eps). Differentiable, as the inverse.
  Tensor encode(const Tensor& x) const;
  Tensor decode(const Tensor& x) const;

  const Tensor& mean() const { return mean_; }  // (1, channel, 1...) or (1, channel, space...)
  const Tensor& std() const { return std_; }

 private:
  FitPer per_ = FitPer::channel;
  double eps_;
  double count_ = 0.0;  // numbers behind each mean
  Tensor mean_, std_, squares_;
};

}  // namespace trident
