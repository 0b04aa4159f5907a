/// Kernels that work on Fourier modes.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident {

/// Real fields (fields, rows, columns) to (fields, new_rows, new_columns).
struct Resampling {
  std::int64_t fields, rows, columns, new_rows, new_columns;
};

/// y = scale times the real part of: transform x, keep the modes that both grids have (-s/2 <= k <= (s - 1)/2 per axis, s the smaller
/// extent), transform back; neither transform is scaled.
template <class T>
void spectral_resample(Cpu, const Resampling&, T scale, const T* x, T* y);
template <class T>
void spectral_resample(Cuda, const Resampling&, T scale, const T* x, T* y);

}  // namespace trident
