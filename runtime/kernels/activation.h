/// Exponential, sigmoid and GELU of one number, inline and free of branches and library calls in f32, so that the compiler vectorises loops
/// over them. f64 goes through the C library: it is the reference.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace trident {

/// e^x within 1 ulp; 0 at -inf, subnormals kept, inf above the range, NaN of NaN.
inline float fast_exp(float x) {
  x = x > 89.0F ? 89.0F : x;  // the ends of the range of f32; in this order NaN passes
  x = x < -105.0F ? -105.0F : x;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float shifted = x * std::numbers::log2e_v<float> + kRound;
  const float n = shifted - kRound;
  const std::int32_t exponent = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound);
  const float r = __builtin_fmaf(n, -1.42860682e-6F, __builtin_fmaf(n, -0.693145752F, x));  // x - n ln 2, with ln 2 in two parts
  float p = __builtin_fmaf(r, 0x1.6a1a0cp-10F, 0x1.123fc6p-7F);  // (e^r - 1 - r) / r^2, fitted in relative error of e^r (3e-9)
  p = __builtin_fmaf(r, p, 0x1.555916p-5F);
  p = __builtin_fmaf(r, p, 0x1.55548ap-3F);
  p = __builtin_fmaf(r, p, 0x1.fffffcp-2F);
  p = __builtin_fmaf(r * r, p, r) + 1.0F;
  // 2^n in two factors, because 2^-149 and 2^128 are no normal numbers.
  const std::int32_t half = exponent >> 1;
  return p * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((exponent - half + 127) << 23);
}
inline double fast_exp(double x) { return std::exp(x); }

template <class T>
inline T sigmoid(T x) {
  return T(1) / (T(1) + fast_exp(-x));
}

/// (1 + erf(x / sqrt 2)) / 2: the odd part is x P(x^2) / Q(x^2), fitted in relative error (2e-8) on |x| <= 5.6, beyond which it is 1/2 in
/// f32.
inline float normal_distribution(float x) {
  const float s = x * x;
  float p = __builtin_fmaf(s, 0x1.7f10aap-26F, 0x1.a61a0ep-18F);
  p = __builtin_fmaf(s, p, 0x1.62468p-13F);
  p = __builtin_fmaf(s, p, 0x1.32892cp-8F);
  p = __builtin_fmaf(s, p, 0x1.15f2ccp-5F);
  p = __builtin_fmaf(s, p, 0x1.9884520p-2F);
  float q = __builtin_fmaf(s, 0x1.3ca960p-20F, 0x1.33a1a2p-14F);
  q = __builtin_fmaf(s, q, 0x1.ee4624p-10F);
  q = __builtin_fmaf(s, q, 0x1.d5daf0p-6F);
  q = __builtin_fmaf(s, q, 0x1.01c168p-2F);
  q = __builtin_fmaf(s, q, 1.0F);
  float odd = x * p / q;
  odd = x > 5.6F ? 0.5F : odd;
  odd = x < -5.6F ? -0.5F : odd;
  return 0.5F + odd;
}
inline double normal_distribution(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

/// Exact GELU: x times the normal distribution at x.
template <class T>
inline T gelu(T x) {
  return x * normal_distribution(x);
}
template <class T>
inline T normal_density(T x) {
  constexpr T kPeak = std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
  return kPeak * fast_exp(T(-0.5) * x * x);
}
template <class T>
inline T gelu_gradient(T x) {
  return normal_distribution(x) + x * normal_density(x);
}

}  // namespace trident
