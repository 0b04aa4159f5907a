/// Matrix products, and the layers that fuse what surrounds them.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

enum class Transpose { no, yes };

/// Batched product: a (..., m, k), b (..., k, n) -> (..., m, n), after transposing the last two axes where asked.
/// Leading dimensions are equal, or absent in one of them. Throws ShapeError otherwise.
Tensor matmul(const Tensor& a, const Tensor& b, Transpose transpose_a = Transpose::no, Transpose transpose_b = Transpose::no);

/// x (..., in) times weight (out, in) transposed, plus bias (out) if defined -> (..., out). Layout of torch.nn.Linear.
/// The gradients of weight and bias are f32 where these are bf16; in mlp() too.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// Throws ShapeError, beginning with `op`, for what linear() does not take.
void check_linear(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias);

enum class Activation { gelu, relu };

/// activation(x up^T + up_bias) down^T + down_bias, computed in blocks of rows: x (..., in), up (hidden, in), down (out, hidden).
/// Either bias may be undefined. Keeps x and the values before the activation; the backward recomputes the activation.
Tensor mlp(const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias,
           Activation activation = Activation::gelu);

}  // namespace trident
