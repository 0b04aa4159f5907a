/// Complex numbers in files that have none: real, with a last dimension of 2 (re, im).
#pragma once

#include "checkpoint/weight_files.h"
#include "runtime/tensor/tensor.h"

namespace trident {

/// Whether a stored tensor is real and ends with a dimension of 2.
bool may_be_complex_parts(const StoredTensor& tensor);
/// The complex tensor of those parts, under the same name.
StoredTensor complex_of_parts(StoredTensor tensor);
/// A view of x's numbers (or of a copy without gaps) with one dimension more; x itself if it is real.
Tensor parts_of_complex(const Tensor& x);
/// The inverse: (..., 2) f32 or f64 without gaps -> c64 or c128, the same memory.
Tensor complex_from_parts(const Tensor& parts);

}  // namespace trident
