/// Normalisation of rows, forward and backward.
#pragma once

#include <algorithm>

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/wide.h"

namespace trident {

/// x (samples, rows, width): every row is normalised; scale and shift are (samples, width). x may hold a part of the rows, from the middle
/// of one sample to the middle of another.
struct NormRows {
  std::int64_t samples, rows, width;
  std::int64_t first = 0, count = samples * rows;  // of all rows, those that x holds

  std::int64_t sample_of(std::int64_t row) const { return (first + row) / rows; }
  /// The rows of x that belong to a sample.
  std::int64_t begin_of(std::int64_t sample) const { return std::clamp<std::int64_t>(sample * rows - first, 0, count); }
};

/// What is added to the normalised rows, and what rounding takes from the sums: all may be null, and `rest` and `y_rest` are for bf16
/// alone.
template <class T>
struct NormResidual {
  const T *value = nullptr, *rest = nullptr;
  T* y_rest = nullptr;
};
/// y + y_rest = value + rest + scale (x - mean) rstd + shift; mean and rstd (count,) are kept for the gradient.
template <class T>
void layer_norm(Cpu, const NormRows&, double eps, const T* x, const Wide<T>* scale, const Wide<T>* shift, const NormResidual<T>& residual,
                T* y, Wide<T>* mean, Wide<T>* rstd);
template <class T>
void layer_norm(Cuda, const NormRows&, double eps, const T* x, const Wide<T>* scale, const Wide<T>* shift, const NormResidual<T>& residual,
                T* y, Wide<T>* mean, Wide<T>* rstd);

/// What the gradient reads and writes. dx is null where it is not wanted, dscale and dshift (samples, width) are null together.
template <class T>
struct NormGradient {
  const T *x, *dy;
  const Wide<T>*scale, *mean, *rstd;
  T* dx;
  Wide<T>*dscale, *dshift;
};
/// Numbers of workspace (Wide<T>) for dscale and dshift: sums of blocks of rows, which do not depend on the number of threads.
std::int64_t layer_norm_workspace(const NormRows& extents);
template <class T>
void layer_norm_gradient(Cpu, const NormRows&, const NormGradient<T>&, Wide<T>* workspace);
template <class T>
void layer_norm_gradient(Cuda, const NormRows&, const NormGradient<T>&, Wide<T>* workspace);

}  // namespace trident
