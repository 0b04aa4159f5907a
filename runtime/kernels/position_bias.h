/// Continuous position biases of several attentions at once: 16 sigmoid(down relu(up offset + up_bias)) - 8 for every head and every offset
/// between two tokens. Computed in f64 whatever T is: rounded near 8, biases would be the largest error of a whole model in f32.
#pragma once

#include <span>

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"

namespace trident {

/// What the attentions have in common.
struct PositionBiasSize {
  std::int64_t offsets = 0, hidden = 0;
};

/// 16 sigmoid(x) - 8 and its slope, from e^-|x|: right to the last digits far from 0, too.
struct BoundedBias {
  double value, slope;
};
constexpr BoundedBias bounded_bias(double x, double exp_of_minus_abs) {
  const double e = exp_of_minus_abs, sum = 1.0 + e, value = 8.0 * (1.0 - e) / sum;
  return {x < 0.0 ? -value : value, 16.0 * e / (sum * sum)};
}

template <class T>
struct PositionBiasWeights {
  std::int64_t heads;
  const T *up, *up_bias, *down;  // (hidden, 2), (hidden,), (heads, hidden)
};
template <class T>
struct PositionBias {
  PositionBiasWeights<T> weights;
  T *y, *slopes;  // (heads, offsets): the biases, and the sigmoid's slopes for the backward; these may be null
};
template <class T>
struct PositionBiasGradient {
  PositionBiasWeights<T> weights;
  const T *slopes, *dy;
  Into<T> up, up_bias, down;
};

/// `coordinates`: (offsets, 2).
template <class T>
void position_biases(Cpu, PositionBiasSize, const double* coordinates, std::span<const PositionBias<T>>);
template <class T>
void position_biases(Cuda, PositionBiasSize, const double* coordinates, std::span<const PositionBias<T>>);
template <class T>
void position_bias_gradients(Cpu, PositionBiasSize, const double* coordinates, std::span<const PositionBiasGradient<T>>);
template <class T>
void position_bias_gradients(Cuda, PositionBiasSize, const double* coordinates, std::span<const PositionBiasGradient<T>>);

}  // namespace trident
