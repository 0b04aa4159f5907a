/// Normalisation over the last axis, plain or conditional, fused with the addition that follows it.
#pragma once

#include <optional>

#include "runtime/tensor/tensor.h"

namespace trident {

/// Rows of a batch of samples, without regard to where a sample ends: rows [first, first + rows of x) of all.
struct SampleRows {
  std::int64_t samples = 0, rows_per_sample = 0;
  std::int64_t first = 0;
};

/// residual + scale * (x - mean) / sqrt(var + eps) + shift, mean and (biased) variance over the last axis.
/// x: (batch, ..., d); scale and shift: (d,) for all, or (batch, d), one row per sample (conditional layer norm; a drop-path factor
/// is folded into them by the caller); residual: shape of x, or undefined. Keeps x and two numbers a row. With `part`, x is (rows, d).
Tensor layer_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps, const Tensor& residual = {},
                  const std::optional<SampleRows>& part = {});

/// Batch normalisation of x (batch, channel, y, x) by its own statistics; `mean` and `variance` (channel,) receive them
/// (variance biased), to be folded into running statistics. weight, bias: (channel,).
Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, Tensor& mean, Tensor& variance);
/// By given statistics.
Tensor batch_norm_eval(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& variance, double eps);

}  // namespace trident
