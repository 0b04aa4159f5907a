/// Element-wise operations. Operands broadcast by NumPy's rules; floating types only unless said. All are differentiable.
/// + - * / and affine without b take complex numbers too.
#pragma once

#include "runtime/tensor/tensor.h"

namespace trident {

Tensor operator+(const Tensor& a, const Tensor& b);
Tensor operator-(const Tensor& a, const Tensor& b);
Tensor operator*(const Tensor& a, const Tensor& b);
Tensor operator/(const Tensor& a, const Tensor& b);

/// a * x + b with numbers a and b.
Tensor affine(const Tensor& x, double a, double b = 0.0);
Tensor relu(const Tensor& x);
/// Exact GELU: x * (1 + erf(x / sqrt 2)) / 2.
Tensor gelu(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor tanh(const Tensor& x);
/// x sigmoid(x).
Tensor silu(const Tensor& x);
/// scale * x above 0, scale * alpha * (e^x - 1) below.
Tensor elu(const Tensor& x, double alpha = 1.0, double scale = 1.0);
/// slope * x below 0.
Tensor leaky_relu(const Tensor& x, double slope);
/// log(1 + e^x).
Tensor softplus(const Tensor& x);
/// min(x, bound); the gradient is 0 where the bound is taken.
Tensor minimum(const Tensor& x, double bound);
/// x^exponent for x >= 0; the gradient at 0 is 0, so that the root of an empty sum is no source of NaN.
Tensor power(const Tensor& x, double exponent);
/// `a` where the mask (bool) is true, else `b`. Mask and operands broadcast.
Tensor where(const Tensor& mask, const Tensor& a, const Tensor& b);
/// The same numbers in another floating type; the gradient comes back in x's type.
Tensor cast(const Tensor& x, DType dtype);

}  // namespace trident
