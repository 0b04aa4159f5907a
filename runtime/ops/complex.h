/// Complex tensors and their parts. The gradient of a complex tensor is dL/dRe + i dL/dIm.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

/// re + i im: f32 parts make c64, f64 parts c128. Throws ShapeError if the parts differ in shape or type.
Tensor complex(const Tensor& re, const Tensor& im);
/// Views that share memory.
Tensor real(const Tensor& z);
Tensor imag(const Tensor& z);

namespace view {

/// Complex numbers as pairs of reals: the same memory with a trailing dimension of 2. Not recorded.
Tensor as_reals(const Tensor& z);

}  // namespace view

}  // namespace trident
