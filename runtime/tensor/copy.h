/// Moving and adding numbers between tensors of any strides, unrecorded.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

/// Copies values into `target` (same shape; any strides and devices; number types may differ: floating, integer and bool types convert).
/// Waits for nothing within a device, and between a GPU and pinned memory of the host; waits for copies to other memory of the host.
void copy_into(const Tensor& target, const Tensor& source);
/// target += source, in place. Same shape and number type (f32, f64, c64, c128; bf16 on a GPU); any strides.
void add_into(const Tensor& target, const Tensor& source);
/// x itself if it is row-major without gaps, else a copy that is. Not recorded.
Tensor packed(const Tensor& x);
/// x itself if it is on `device`, else a contiguous copy there. Not recorded.
Tensor to_device(const Tensor& x, Device device);

}  // namespace trident
