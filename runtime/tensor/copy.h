/// Moving and adding numbers between tensors of any strides, unrecorded.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

/// Copies values into `target` (same shape; any strides; number types may differ: floating, integer and bool types convert).
void copy_into(const Tensor& target, const Tensor& source);
/// target += source, in place. Same shape and number type (f32, f64, c64, c128); any strides.
void add_into(const Tensor& target, const Tensor& source);
/// x itself if it is row-major without gaps, else a copy that is. Not recorded.
Tensor packed(const Tensor& x);

}  // namespace trident
