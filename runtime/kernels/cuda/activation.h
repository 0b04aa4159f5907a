/// GELU, exact (by erf: cuBLASLt's own epilogue is the approximation by tanh), and ReLU of one number on the device.
#pragma once

#include "runtime/kernels/cuda/kernel.h"
#include "runtime/ops/matmul.h"

namespace trident::cuda {

__device__ __forceinline__ float normal_distribution(float x) { return 0.5F + 0.5F * erff(x * 0.70710678F); }
__device__ __forceinline__ double normal_distribution(double x) { return normcdf(x); }
__device__ __forceinline__ float normal_density(float x) { return 0.39894228F * expf(-0.5F * x * x); }
__device__ __forceinline__ double normal_density(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }

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
