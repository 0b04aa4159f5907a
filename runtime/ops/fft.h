/// Fourier transforms of fields. Plans are made with FFTW_ESTIMATE, so results repeat, and cached by size.
#pragma once

#include <cstdint>

#include "runtime/tensor/tensor.h"

namespace trident {

/// Resamples periodic fields to another resolution by their Fourier modes: fft2 with norm "forward"; down: frequencies
/// -n/2 <= k <= (n - 1)/2 are kept, up: zero-padded; real part of the inverse. x: (..., ny, nx) -> (..., rows, columns). For even numbers
/// of points exactly as scOT does, whose downsampling to an odd number n gives n - 1 points.
Tensor spectral_resample(const Tensor& x, std::int64_t rows, std::int64_t columns);

}  // namespace trident
