/// A linear layer of bf16 whose rows are normalised and added to a sum before they are stored. On a GPU alone.
#pragma once

#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/matmul.h"

namespace trident {

struct LinearNorm {
  const bf16 *x, *weight, *bias;  // bias may be null
  NormNumbers<float> affine;
  NormResidual<bf16> residual;
  bf16* y;
};

/// Whether one kernel is the faster way, by the sizes alone: rows few enough, and not too wide for a block's shared memory.
bool fits_linear_norm(LinearSize);
/// layer_norm() of linear_forward(), which is not rounded between them; nothing is kept for a gradient. For sizes that fit; x, weight and
/// bias, affine numbers, residual and y lie at multiples of 16 bytes.
void linear_norm(Cuda, LinearSize, const NormRows&, double eps, const LinearNorm&);

}  // namespace trident
