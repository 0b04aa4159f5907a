/// Activations of one number on the device: GELU, exact (by erf) and as products of bf16 end in it (by tanh), and ReLU.
#pragma once

#include "runtime/kernels/cuda/kernel.h"
#include "runtime/ops/matmul.h"

namespace trident::cuda {

__device__ __forceinline__ float normal_distribution(float x) { return 0.5F + 0.5F * erff(x * 0.70710678F); }
__device__ __forceinline__ double normal_distribution(double x) { return normcdf(x); }
__device__ __forceinline__ float normal_density(float x) { return 0.39894228F * expf(-0.5F * x * x); }
__device__ __forceinline__ double normal_density(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }

/// GELU by tanh, and its slope. (1 + tanh u) / 2 is the logistic function of 2 u.
struct GeluByTanh {
  float value, slope;
};
__device__ __forceinline__ GeluByTanh gelu_by_tanh(float x) {
  constexpr float kTwice = 1.59576912F, kCube = 0.044715F;  // 2 sqrt(2 / pi)
  const float gate = 1.0F / (1.0F + expf(-kTwice * x * (1.0F + kCube * x * x)));
  return {x * gate, gate + x * gate * (1.0F - gate) * kTwice * (1.0F + 3.0F * kCube * x * x)};
}

template <Activation kActivation, class T>
__device__ __forceinline__ T activate(T x) {
  if constexpr (kActivation == Activation::gelu) {
    return x * normal_distribution(x);
  } else {
    return x > T(0) ? x : T(0);
  }
}

/// slope *= activation'(x); returns activation(x).
template <Activation kActivation, class T>
__device__ __forceinline__ T activate_backward(T x, T& slope) {
  if constexpr (kActivation == Activation::gelu) {
    const T distribution = normal_distribution(x);
    slope *= distribution + x * normal_density(x);
    return x * distribution;
  } else {
    slope = x > T(0) ? slope : T(0);
    return x > T(0) ? x : T(0);
  }
}

}  // namespace trident::cuda
