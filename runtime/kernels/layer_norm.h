/// Normalisation of rows, forward and backward.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident {

/// x (samples, rows, width): every row is normalised; scale and shift are (samples, width).
struct NormRows {
  std::int64_t samples, rows, width;
};

/// y = residual + scale (x - mean) rstd + shift; mean and rstd (samples * rows) are kept for the gradient. residual may be null.
template <class T>
void layer_norm(Cpu, const NormRows&, double eps, const T* x, const T* scale, const T* shift, const T* residual, T* y, T* mean, T* rstd);
template <class T>
void layer_norm(Cuda, const NormRows&, double eps, const T* x, const T* scale, const T* shift, const T* residual, T* y, T* mean, T* rstd);

/// What the gradient reads and writes. dx is null where it is not wanted, dscale and dshift (samples, width) are null together.
template <class T>
struct NormGradient {
  const T *x, *dy, *scale, *mean, *rstd;
  T *dx, *dscale, *dshift;
};
/// Numbers of workspace for dscale and dshift: sums of blocks of rows, which do not depend on the number of threads.
std::int64_t layer_norm_workspace(const NormRows& extents);
template <class T>
void layer_norm_gradient(Cpu, const NormRows&, const NormGradient<T>&, T* workspace);
template <class T>
void layer_norm_gradient(Cuda, const NormRows&, const NormGradient<T>&, T* workspace);

}  // namespace trident
