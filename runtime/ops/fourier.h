/// Fourier modes of fields, kept ones only, on whole grids or on parts of them.
#pragma once

#include <optional>
#include <vector>

#include "runtime/kernels/fourier.h"
#include "runtime/tensor/tensor.h"

namespace trident {

enum class FieldNumbers { real, complex };

/// X[k] = scale * sum of x[n] e^{-2 pi i k n / period} over the points that are here, for the last `axes.size()` axes of x. A real x
/// (f32, f64, and bf16 on a GPU, whose modes are c64) has modes of non-negative frequency in its last axis, which must be transformed.
/// Returns (..., modes...), complex; with `order` first its modes are the slowest in memory (on a GPU they never are).
Tensor fourier_modes(const Tensor& x, const std::vector<FourierAxis>& axes, double scale = 1.0, ModeOrder order = ModeOrder::last);

/// x[n] = sum of X[k] e^{2 pi i k n / period} at the points that are here. A real field is that whose negative frequencies in the last
/// axis, which are not stored, are the conjugates of the others: imaginary parts that it cannot have are dropped. Modes may lie in either
/// order. Returns (..., points...), with numbers of the modes' precision, or for a real field of `real_type`.
/// bias, if there is one: (channel, 1, ...) of the field's numbers, added to all points of the fields (..., channel, points...).
Tensor fourier_field(const Tensor& modes, const std::vector<FourierAxis>& axes, FieldNumbers numbers, std::optional<DType> real_type = {},
                     const Tensor& bias = {});

}  // namespace trident
