/// What becomes of normalised rows: the affine part of a sample, the sum that they are added to, and what rounding takes of it.
#pragma once

#include "runtime/kernels/cuda/kernel.h"
#include "runtime/kernels/layer_norm.h"

namespace trident::cuda {

/// What one sample's rows are multiplied by, and what is added to them.
template <class C>
struct SampleAffine {
  const NormNumbers<C>& of;
  C time, factor;

  __device__ __forceinline__ SampleAffine(const NormNumbers<C>& numbers, std::int64_t sample)
      : of(numbers),
        time(numbers.time == nullptr ? C(0) : numbers.time[sample]),
        factor(numbers.factor == nullptr ? C(1) : numbers.factor[sample]) {}

  template <int N>
  __device__ __forceinline__ Vector<C, N> scale(std::int64_t column) const {
    return at<N>(of.scale, of.scale_slope, column);
  }
  template <int N>
  __device__ __forceinline__ Vector<C, N> shift(std::int64_t column) const {
    return at<N>(of.shift, of.shift_slope, column);
  }

 private:
  template <int N>
  __device__ __forceinline__ Vector<C, N> at(const C* values, const C* slopes, std::int64_t column) const {
    Vector<C, N> result = {};
    if (values != nullptr) result = load<N>(values + column);
    if (slopes != nullptr) {
      const auto slope = load<N>(slopes + column);
#pragma unroll
      for (int i = 0; i < N; ++i) result[i] = time * slope[i] + result[i];
    }
#pragma unroll
    for (int i = 0; i < N; ++i) result[i] *= factor;
    return result;
  }
};

/// Applies the affine part to N numbers of a normalised row from `column` on, adds the residual and stores them at `place`.
template <int N, class T, class C>
__device__ __forceinline__ void store_affine(const SampleAffine<C>& affine, const NormResidual<T>& residual, std::int64_t column,
                                             std::int64_t place, const Vector<C, N>& normalised, T* y) {
  const auto scale = affine.template scale<N>(column), shift = affine.template shift<N>(column);
  Vector<T, N> base, base_rest, result, rest;
  if (residual.value != nullptr) base = load<N>(residual.value + place);
  if (residual.rest != nullptr) base_rest = load<N>(residual.rest + place);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    C sum = normalised[i] * scale[i] + shift[i];
    if (residual.rest != nullptr) sum += compute(base_rest[i]);
    if (residual.value != nullptr) sum += compute(base[i]);
    result[i] = stored<T>(sum);
    rest[i] = stored<T>(sum - compute(result[i]));
  }
  store<N>(y + place, result);
  if (residual.y_rest != nullptr) store<N>(residual.y_rest + place, rest);
}

}  // namespace trident::cuda
