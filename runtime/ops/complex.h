/// Complex tensors and their parts. The gradient of a complex tensor is dL/dRe + i dL/dIm.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

/// re + i im: f32 parts make c64, f64 parts c128. Throws ShapeError if the parts differ in shape or type.
Tensor complex(const Tensor& re, const Tensor& im);
/// Views that share memory.
Tensor real(const Tensor& z);
Tensor imag(const Tensor& z);

Tensor conjugate(const Tensor& z);
/// |z|, whose gradient is 0 at 0.
Tensor magnitude(const Tensor& z);

}  // namespace trident
