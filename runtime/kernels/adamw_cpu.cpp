#include <algorithm>
#include <cmath>

#include "runtime/kernels/adamw.h"

namespace trident {

template <class T>
void adamw(Cpu, const AdamWStep& step, std::span<const AdamWGroup> groups, std::span<const FlatBlock> blocks, const double* norm, T* value,
           const T* gradient, T* first, T* second) {
  if (!std::isfinite(*norm)) return;
  const auto clip = static_cast<T>(step.max_norm > 0.0 ? std::min(1.0, step.max_norm / (*norm + 1e-6)) : 1.0);
  const auto keep1 = static_cast<T>(1.0 - step.beta1), beta2 = static_cast<T>(step.beta2), keep2 = static_cast<T>(1.0 - step.beta2);
  const auto root2 = static_cast<T>(std::sqrt(step.correction2)), eps = static_cast<T>(step.eps);
  const auto count = static_cast<std::int64_t>(blocks.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t index = 0; index < count; ++index) {
    const FlatBlock& block = blocks[static_cast<std::size_t>(index)];
    const AdamWGroup& group = groups[static_cast<std::size_t>(block.group)];
    const auto shrink = static_cast<T>(1.0 - group.learning_rate * group.weight_decay);
    const auto size = static_cast<T>(group.learning_rate / step.correction1);
    T *x = value + block.begin, *mean = first + block.moments, *square = second + block.moments;
    const T* dx = gradient + block.begin;
#pragma omp simd
    for (std::int64_t i = 0; i < block.end - block.begin; ++i) {
      const T g = dx[i] * clip;
      const T m = mean[i] + (g - mean[i]) * keep1;
      const T v = square[i] * beta2 + g * g * keep2;
      mean[i] = m;
      square[i] = v;
      x[i] = x[i] * shrink - size * m / (std::sqrt(v) / root2 + eps);
    }
  }
}

template <class T>
void sums_of_squares(Cpu, std::span<const FlatBlock> blocks, const T* x, double* sums) {
  const auto count = static_cast<std::int64_t>(blocks.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t index = 0; index < count; ++index) {
    const FlatBlock& block = blocks[static_cast<std::size_t>(index)];
    double total = 0.0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = block.begin; i < block.end; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    sums[index] = total;
  }
}

template void adamw<float>(Cpu, const AdamWStep&, std::span<const AdamWGroup>, std::span<const FlatBlock>, const double*, float*,
                           const float*, float*, float*);
template void adamw<double>(Cpu, const AdamWStep&, std::span<const AdamWGroup>, std::span<const FlatBlock>, const double*, double*,
                            const double*, double*, double*);
template void sums_of_squares<float>(Cpu, std::span<const FlatBlock>, const float*, double*);
template void sums_of_squares<double>(Cpu, std::span<const FlatBlock>, const double*, double*);

}  // namespace trident
