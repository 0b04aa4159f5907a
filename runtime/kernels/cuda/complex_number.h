/// What kernels that take real or complex numbers alike need of both.
#pragma once

#include "runtime/kernels/cuda/kernel.h"

namespace trident::cuda {

template <class T>
__device__ __forceinline__ Complex<T> compute(Complex<T> x) {
  return x;
}

template <class T>
__device__ __forceinline__ void multiply_add(T a, T b, T& sum) {
  sum += a * b;
}
template <class T>
__device__ __forceinline__ void multiply_add(Complex<T> a, Complex<T> b, Complex<T>& sum) {
  sum.re += a.re * b.re;
  sum.re -= a.im * b.im;
  sum.im += a.re * b.im;
  sum.im += a.im * b.re;
}

template <class T>
__device__ __forceinline__ T with_sign(T x, T) {
  return x;
}
/// The conjugate where `sign` is -1.
template <class T>
__device__ __forceinline__ Complex<T> with_sign(Complex<T> x, T sign) {
  return {x.re, sign * x.im};
}

template <class T>
struct PartOf {
  using type = T;
};
template <class T>
struct PartOf<Complex<T>> {
  using type = T;
};

template <class T>
const Complex<T>* pairs(const std::complex<T>* z) {
  return reinterpret_cast<const Complex<T>*>(z);
}
template <class T>
Complex<T>* pairs(std::complex<T>* z) {
  return reinterpret_cast<Complex<T>*>(z);
}

}  // namespace trident::cuda
