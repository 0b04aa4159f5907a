#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/kernels/adamw.h"
#include "runtime/kernels/complex_pairs.h"

namespace trident {

namespace {

using cpu::Vector;

bf16 rounded(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return {static_cast<std::uint16_t>(bits >> 16 | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16)};
}

template <class T>
void write_copy(const FlatBlock& block, const AdamWBuffers<T>& buffers) {
  if (buffers.copy == nullptr) return;
  for (std::int64_t i = block.begin; i < block.end; ++i) buffers.copy[i] = rounded(static_cast<float>(buffers.value[i]));
}

double clipping(const AdamWStep& step, double norm) { return step.max_norm > 0.0 ? std::min(1.0, step.max_norm / (norm + 1e-6)) : 1.0; }

}  // namespace

template <class T>
void adamw(Cpu, const AdamWStep* numbers, FlatBlocks blocks, const double* norm, const AdamWBuffers<T>& buffers) {
  if (!std::isfinite(*norm)) return;
  const AdamWStep& step = *numbers;
  const auto clip = static_cast<T>(clipping(step, *norm));
  const auto keep1 = static_cast<T>(1.0 - step.beta1), beta2 = static_cast<T>(step.beta2), keep2 = static_cast<T>(1.0 - step.beta2);
  const auto root2 = static_cast<T>(std::sqrt(step.correction2)), eps = static_cast<T>(step.eps);
#pragma omp parallel for schedule(static)
  for (std::int64_t index = 0; index < blocks.count; ++index) {
    const FlatBlock& block = blocks.data[index];
    const AdamWGroup& group = step.groups[block.group];
    const auto shrink = static_cast<T>(1.0 - group.learning_rate * group.weight_decay);
    const auto size = static_cast<T>(group.learning_rate / step.correction1);
    T *x = buffers.value + block.begin, *mean = buffers.first + block.place, *square = buffers.second + block.second;
    const T* dx = buffers.gradient + block.begin;
#pragma omp simd
    for (std::int64_t i = 0; i < block.end - block.begin; ++i) {
      const T g = dx[i] * clip;
      const T m = mean[i] + (g - mean[i]) * keep1;
      const T v = square[i] * beta2 + g * g * keep2;
      mean[i] = m;
      square[i] = v;
      x[i] = x[i] * shrink - size * m / (std::sqrt(v) / root2 + eps);
    }
    write_copy(block, buffers);
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

/// Two vectors of pairs (re, im) with one vector of second moments.
template <class T>
void update_complex(const NeuralopNumbers<T>& n, std::int64_t count, T* value, const T* gradient, T* first, T* second) {
  constexpr std::int64_t L = cpu::kLanes<T>;
  for (std::int64_t i = 0; i < count; i += 2 * L) {
    const std::int64_t left[] = {count - i, std::max<std::int64_t>(count - i - L, 0)};
    const Vector<T> g[] = {cpu::load_some(gradient + i, left[0]) * n.clip, cpu::load_some(gradient + i + L, left[1]) * n.clip};
    const Vector<T> re = cpu::parts_of_pairs<0, T>(g[0], g[1]), im = cpu::parts_of_pairs<1, T>(g[0], g[1]);
    const Vector<T> v = cpu::load_some(second + i / 2, left[0] / 2) * n.beta2 + (re * re + im * im) * n.keep2;
    cpu::store_some(second + i / 2, v, left[0] / 2);
    const Vector<T> size = n.size / (cpu::square_root<T>(v) + n.eps);
    const Vector<T> sizes[] = {cpu::each_twice<0, T>(size), cpu::each_twice<1, T>(size)};
    for (int half = 0; half < 2; ++half) {
      T *mean = first + i + half * L, *x = value + i + half * L;
      const Vector<T> m = cpu::load_some(mean, left[half]) * n.beta1 + g[half] * n.keep1;
      cpu::store_some(mean, m, left[half]);
      cpu::store_some(x, (cpu::load_some(x, left[half]) - sizes[half] * m) * n.shrink, left[half]);
    }
  }
}

}  // namespace

template <class T>
void neuralop_adamw(Cpu, const AdamWStep* shared, FlatBlocks blocks, const double* norm, const AdamWBuffers<T>& buffers) {
  if (!std::isfinite(*norm)) return;
  const AdamWStep& step = *shared;
  const double clip = clipping(step, *norm);
#pragma omp parallel for schedule(static)
  for (std::int64_t index = 0; index < blocks.count; ++index) {
    const FlatBlock& block = blocks.data[index];
    const AdamWGroup& group = step.groups[block.group];
    const NeuralopNumbers<T> numbers{.clip = static_cast<T>(clip),
                                     .beta1 = static_cast<T>(step.beta1),
                                     .keep1 = static_cast<T>(1.0 - step.beta1),
                                     .beta2 = static_cast<T>(step.beta2),
                                     .keep2 = static_cast<T>(1.0 - step.beta2),
                                     .eps = static_cast<T>(step.eps),
                                     .size = static_cast<T>(group.learning_rate * std::sqrt(step.correction2) / step.correction1),
                                     .shrink = static_cast<T>(1.0 - group.learning_rate * group.weight_decay)};
    const auto update = block.complex != 0 ? update_complex<T> : update_real<T>;
    update(numbers, block.end - block.begin, buffers.value + block.begin, buffers.gradient + block.begin, buffers.first + block.place,
           buffers.second + block.second);
    write_copy(block, buffers);
  }
}

template <class T>
void sums_of_squares(Cpu, FlatBlocks blocks, const T* x, double* sums) {
#pragma omp parallel for schedule(static)
  for (std::int64_t index = 0; index < blocks.count; ++index) {
    const FlatBlock& block = blocks.data[index];
    double total = 0.0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = block.begin; i < block.end; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    sums[block.place] = total;
  }
}

#define TRIDENT_ADAMW(T)                                                                                     \
  template void adamw<T>(Cpu, const AdamWStep*, FlatBlocks, const double*, const AdamWBuffers<T>&);          \
  template void neuralop_adamw<T>(Cpu, const AdamWStep*, FlatBlocks, const double*, const AdamWBuffers<T>&); \
  template void sums_of_squares<T>(Cpu, FlatBlocks, const T*, double*);
TRIDENT_ADAMW(float)
TRIDENT_ADAMW(double)

}  // namespace trident
