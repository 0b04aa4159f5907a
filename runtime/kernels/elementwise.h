/// Element-wise kernels.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident {

enum class Binary { add, subtract, multiply, divide };

/// The broadcast extents, and each operand's strides in elements (0 where it repeats). Results are row-major.
struct BroadcastPair {
  Shape shape, a_strides, b_strides;
};

template <class T>
void binary(Cpu, Binary, const BroadcastPair&, const T* a, const T* b, T* y);
template <class T>
void binary(Cuda, Binary, const BroadcastPair&, const T* a, const T* b, T* y);

/// y = mask ? a : b.
template <class T>
void select(Cpu, const BroadcastPair&, const Shape& mask_strides, const bool* mask, const T* a, const T* b, T* y);
template <class T>
void select(Cuda, const BroadcastPair&, const Shape& mask_strides, const bool* mask, const T* a, const T* b, T* y);

enum class Unary { affine, relu, gelu, sigmoid, exponential, minimum, tanh, silu, elu, leaky_relu, softplus, power };

/// A function of one element with up to two numbers: affine a x + b; minimum min(x, a); elu b x above 0, b a (e^x - 1) below; leaky_relu a
/// x below 0; power x^a.
struct UnaryMap {
  Unary kind;
  double a = 0.0, b = 0.0;
};

template <class T>
void unary(Cpu, UnaryMap, std::int64_t count, const T* x, T* y);
template <class T>
void unary(Cuda, UnaryMap, std::int64_t count, const T* x, T* y);

/// dx = dy f'. `saved` is y for sigmoid, exponential and tanh, else x; affine has no kernel of its own.
template <class T>
void unary_gradient(Cpu, UnaryMap, std::int64_t count, const T* saved, const T* dy, T* dx);
template <class T>
void unary_gradient(Cuda, UnaryMap, std::int64_t count, const T* saved, const T* dy, T* dx);

}  // namespace trident
