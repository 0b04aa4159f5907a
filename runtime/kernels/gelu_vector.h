/// Exact GELU and its derivative of a vector of numbers. f64 goes through the C library: it is the reference.
#pragma once

#include "runtime/kernels/activation.h"
#include "runtime/kernels/vector.h"

namespace trident::cpu {

template <class T>
struct GeluAndSlope {
  Vector<T> value, slope;
};

inline Vector<float> magnitude(Vector<float> x) {
  Places<float> bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits &= 0x7FFFFFFF;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// e^(-x^2 / 2) as a power of two: that of the integer goes to the exponent, and of the rest, which needs no more numbers than it has, a
/// polynomial takes care. Below 2^-124 it stays there.
inline Vector<float> bell_of(Vector<float> x) {
  const Vector<float> round = broadcast(12582912.0F);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Vector<float> power = maximum<float>(x * x * -0.721347520F, broadcast(-124.0F)), shifted = power + round;
  const Vector<float> rest = power - (shifted - round);
  Vector<float> p = rest * 0.00132647272F + 0.00967151269F;
  p = p * rest + 0.0555073374F;
  p = p * rest + 0.240222421F;
  p = p * rest + 0.693146978F;
  p = p * rest + 1.0F;
  return times_power_of_two(p, shifted);
}

/// The normal distribution at -|x| is e^(-x^2 / 2) (1/2 - w q(w)) with w = 0.24 |x| / (1 + 0.24 |x|): the derivative needs the exponential
/// anyway. q is fitted to 6e-10 of the distribution; near 0, where rounding would show most, what it adds to 1/2 is small.
inline GeluAndSlope<float> gelu_and_slope(Vector<float> x) {
  const Vector<float> size = 0.24F * magnitude(x), w = size / (1.0F + size), bell = bell_of(x);
  Vector<float> q = w * -0.128868254F + 0.325377822F;
  q = q * w + 0.0526725749F;
  q = q * w - 1.33545340F;
  q = q * w + 2.60104551F;
  q = q * w - 2.67800934F;
  q = q * w + 1.66225938F;
  const Vector<float> tail = bell * (0.5F - w * q), below = x < 0.0F ? tail : 1.0F - tail;
  constexpr float kPeak = std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>;
  return {x * below, below + x * (kPeak * bell)};
}
inline GeluAndSlope<double> gelu_and_slope(Vector<double> x) {
  GeluAndSlope<double> y;
  for (int lane = 0; lane < kLanes<double>; ++lane) {
    y.value[lane] = gelu(x[lane]);
    y.slope[lane] = gelu_gradient(x[lane]);
  }
  return y;
}

}  // namespace trident::cpu
