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

namespace {

/// Numbers of one block's update that do not depend on the element.
template <class T>
struct NeuralopNumbers {
  T clip, beta1, keep1, beta2, keep2, eps, size, shrink;
};

template <class T>
void update_real(const NeuralopNumbers<T>& n, std::int64_t count, T* value, const T* gradient, T* first, T* second) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const T g = gradient[i] * n.clip;
    const T m = first[i] * n.beta1 + g * n.keep1;
    const T v = second[i] * n.beta2 + g * g * n.keep2;
    first[i] = m;
    second[i] = v;
    value[i] = (value[i] - n.size * m / (std::sqrt(v) + n.eps)) * n.shrink;
  }
}

template <class T>
void update_complex(const NeuralopNumbers<T>& n, std::int64_t count, T* value, const T* gradient, T* first, T* second) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; i += 2) {
    const T re = gradient[i] * n.clip, im = gradient[i + 1] * n.clip;
    const T m_re = first[i] * n.beta1 + re * n.keep1, m_im = first[i + 1] * n.beta1 + im * n.keep1;
    const T v = second[i] * n.beta2 + (re * re + im * im) * n.keep2;
    first[i] = m_re;
    first[i + 1] = m_im;
    second[i] = v;
    second[i + 1] = T(0);
    const T size = n.size / (std::sqrt(v) + n.eps);
    value[i] = (value[i] - size * m_re) * n.shrink;
    value[i + 1] = (value[i + 1] - size * m_im) * n.shrink;
  }
}

}  // namespace

template <class T>
void neuralop_adamw(Cpu, const AdamWStep& step, std::span<const AdamWGroup> groups, std::span<const FlatBlock> blocks, const double* norm,
                    T* value, const T* gradient, T* first, T* second) {
  if (!std::isfinite(*norm)) return;
  const double clip = step.max_norm > 0.0 ? std::min(1.0, step.max_norm / (*norm + 1e-6)) : 1.0;
  const auto count = static_cast<std::int64_t>(blocks.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t index = 0; index < count; ++index) {
    const FlatBlock& block = blocks[static_cast<std::size_t>(index)];
    const AdamWGroup& group = groups[static_cast<std::size_t>(block.group)];
    const NeuralopNumbers<T> numbers{.clip = static_cast<T>(clip),
                                     .beta1 = static_cast<T>(step.beta1),
                                     .keep1 = static_cast<T>(1.0 - step.beta1),
                                     .beta2 = static_cast<T>(step.beta2),
                                     .keep2 = static_cast<T>(1.0 - step.beta2),
                                     .eps = static_cast<T>(step.eps),
                                     .size = static_cast<T>(group.learning_rate * std::sqrt(step.correction2) / step.correction1),
                                     .shrink = static_cast<T>(1.0 - group.learning_rate * group.weight_decay)};
    const auto update = block.complex ? update_complex<T> : update_real<T>;
    update(numbers, block.end - block.begin, value + block.begin, gradient + block.begin, first + block.moments, second + block.moments);
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
template void neuralop_adamw<float>(Cpu, const AdamWStep&, std::span<const AdamWGroup>, std::span<const FlatBlock>, const double*, float*,
                                    const float*, float*, float*);
template void neuralop_adamw<double>(Cpu, const AdamWStep&, std::span<const AdamWGroup>, std::span<const FlatBlock>, const double*, double*,
                                     const double*, double*, double*);
template void sums_of_squares<float>(Cpu, std::span<const FlatBlock>, const float*, double*);
template void sums_of_squares<double>(Cpu, std::span<const FlatBlock>, const double*, double*);

}  // namespace trident
