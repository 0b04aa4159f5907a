/// Normalisation of rows, forward and backward.
#pragma once

#include <algorithm>

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"
#include "runtime/kernels/wide.h"

namespace trident {

/// x (samples, rows, width): every row is normalised. x may hold a part of the rows, from the middle of one sample to the middle of
/// another.
struct NormRows {
  std::int64_t samples, rows, width;
  std::int64_t first = 0, count = samples * rows;  // of all rows, those that x holds

  std::int64_t sample_of(std::int64_t row) const { return (first + row) / rows; }
  /// The rows of x that belong to a sample.
  std::int64_t begin_of(std::int64_t sample) const { return std::clamp<std::int64_t>(sample * rows - first, 0, count); }
};

/// What a sample's normalised rows are multiplied by, factor (scale + time scale_slope), and what is added to them, factor (shift + time
/// shift_slope): numbers (width,), and times and factors (samples,). Without slopes there is no time, and without factors they are 1; a
/// shift that is null is 0.
template <class W>
struct NormNumbers {
  const W *scale, *shift;
  const W *scale_slope = nullptr, *shift_slope = nullptr, *time = nullptr;
  const W* factor = nullptr;
};

/// What is added to the normalised rows, and what rounding takes from the sums: all may be null, and `rest` and `y_rest` are for bf16
/// alone.
template <class T>
struct NormResidual {
  const T *value = nullptr, *rest = nullptr;
  T* y_rest = nullptr;
};
/// y + y_rest = value + rest + scale (x - mean) rstd + shift; mean and rstd (count,) are kept for the gradient. Where they are null,
/// nothing is normalised: they are 0 and 1 then, also to the gradient.
template <class T>
void layer_norm(Cpu, const NormRows&, double eps, const T* x, const NormNumbers<Wide<T>>&, const NormResidual<T>&, T* y, Wide<T>* mean,
                Wide<T>* rstd);
template <class T>
void layer_norm(Cuda, const NormRows&, double eps, const T* x, const NormNumbers<Wide<T>>&, const NormResidual<T>&, T* y, Wide<T>* mean,
                Wide<T>* rstd);

/// Where the gradients of NormNumbers go, and that of a bias (width,) in x: the sum over the rows of dx.
template <class W>
struct NormSums {
  Into<W> scale{}, shift{}, scale_slope{}, shift_slope{}, bias{};

  bool any() const {
    return scale.to != nullptr || shift.to != nullptr || scale_slope.to != nullptr || shift_slope.to != nullptr || bias.to != nullptr;
  }
};
/// What the gradient reads and writes. dx is null where it is not wanted; then neither is the bias's gradient.
template <class T>
struct NormGradient {
  const T *x, *dy;
  NormNumbers<Wide<T>> affine;
  const Wide<T>*mean, *rstd;
  T* dx;
  NormSums<Wide<T>> sums;
};
/// For one row and more. Sums over rows are added up in blocks of rows, which do not depend on the number of threads.
template <class T>
void layer_norm_gradient(Cpu, const NormRows&, const NormGradient<T>&);
template <class T>
void layer_norm_gradient(Cuda, const NormRows&, const NormGradient<T>&);

}  // namespace trident
