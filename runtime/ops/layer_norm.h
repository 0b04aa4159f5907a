/// Normalisation over the last axis, plain or conditional, fused with the addition that follows it.
#pragma once

#include <functional>
#include <optional>

#include "runtime/ops/matmul.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// Rows of a batch of samples, without regard to where a sample ends: rows [first, first + rows of x) of all.
struct SampleRows {
  std::int64_t samples = 0, rows_per_sample = 0;
  std::int64_t first = 0;
};

/// A sum of activations that goes on growing. bf16 keeps 8 bits of it: what rounding took is kept beside it as another number of bf16, so
/// that a long row of addends adds up as in f32. `rest` is undefined where nothing is kept; gradients pass through `value`.
struct CarriedSum {
  Tensor value, rest;
};
/// `x` in another type, and what that leaves of it if the type is bf16.
CarriedSum carried(const Tensor& x, DType dtype);

/// What normalised rows are multiplied by, scale, and what is added to them, shift: (d,), for all samples or at time 0. Then slopes say
/// what time (batch,) adds to them in a sample, (d,) or (d, 1): scale + time * scale_slope (conditional layer norm). `factor`: (batch, 1),
/// what both are multiplied by last (drop-path). All f32 where x is bf16. Scale, shift and slopes are four tensors; times and factors get
/// gradients too, except in bf16 and with a part of the rows.
struct NormAffine {
  Tensor scale, shift;
  Tensor scale_slope{}, shift_slope{}, time{};
  Tensor factor{};
};

/// residual + scale * (x - mean) / sqrt(var + eps) + shift, mean and (biased) variance over the last axis.
/// x: (batch, ..., d); residual: shape of x, or undefined. Keeps x and two numbers a row. With `part`, x is (rows, d).
Tensor layer_norm(const Tensor& x, const NormAffine& affine, double eps, const Tensor& residual = {},
                  const std::optional<SampleRows>& part = {});
/// The same onto a sum that goes on.
CarriedSum add_layer_norm(const CarriedSum& residual, const Tensor& x, const NormAffine& affine, double eps,
                          const std::optional<SampleRows>& part = {});

/// residual + scale * x: what the norm does but for normalising. scale: (d,), f32 where x is bf16.
Tensor add_scaled(const Tensor& residual, const Tensor& x, const Tensor& scale);

/// What becomes of the rows of a product: they are normalised, and added to a sum (if its value is defined).
struct NormEnding {
  CarriedSum sum;
  NormAffine affine;
  double eps = 0.0;
};
/// The norm of linear(x, weight, bias). On a GPU one kernel, whose product is not rounded, where nothing is recorded and rows of bf16 are
/// few.
CarriedSum linear_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, const NormEnding& ending);
/// The norm of mlp(), as above.
CarriedSum mlp_norm(const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias,
                    Activation activation, const NormEnding& ending);

/// Statistics of a batch, per channel; variance biased.
struct BatchStatistics {
  Tensor mean, variance;  // (channel,)
  double count = 0.0;     // numbers of a channel
};
/// Adds up in place, over all who hold parts of the batch, what each passes (f64): the same calls from each of them.
using SumOverBatch = std::function<void(const Tensor& sums)>;

/// Batch normalisation of x (batch, channel, y, x) by its own statistics, which are handed out to be folded into running ones. weight,
/// bias: (channel,), f32 where x is bf16. With `sum` x is a part of the batch, possibly empty: statistics and gradients are those of the
/// whole.
Tensor batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, BatchStatistics& statistics,
                        const SumOverBatch& sum = {});
/// By given statistics.
Tensor batch_norm_eval(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& variance, double eps);

}  // namespace trident
