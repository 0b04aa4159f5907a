/// The vendor's fast Fourier transform, where all modes of a grid are needed.
#pragma once

#include <cstdint>

#include "runtime/kernels/dispatch.h"

namespace trident::cuda {

enum class FourierSign { forward, backward };

/// Transforms `fields` grids of rows x columns complex numbers (pairs of T) in place; no scaling. Plans are made once for each shape.
template <class T>
void fast_fourier_transform(Cuda, std::int64_t fields, std::int64_t rows, std::int64_t columns, FourierSign, T* grids);

}  // namespace trident::cuda
