/// Small work of a model's forward is done in f64 whatever the type of its numbers: what products and attention lose in f32 is the largest
/// part of a small model's error there, which then hangs on luck. Models of Poseidon's sizes are above the limits (perf/README.md).
#pragma once

#include <cstdint>
#include <vector>

namespace trident::cpu {

constexpr bool are_few(std::int64_t multiplications) { return multiplications <= 1 << 20; }

inline std::vector<double> in_f64(const float* x, std::int64_t count) {
  return x == nullptr ? std::vector<double>{} : std::vector<double>(x, x + count);
}
/// What a kernel takes for `x` in f64: null for null.
inline const double* data_or_null(const std::vector<double>& x) { return x.empty() ? nullptr : x.data(); }
inline void round_to(float* y, const std::vector<double>& x) {
  for (const double value : x) *y++ = static_cast<float>(value);
}

}  // namespace trident::cpu
