#include <cmath>
#include <vector>

#include "runtime/kernels/group_norm.h"
#include "runtime/kernels/strided_loop.h"

namespace trident {
namespace {

std::int64_t planes_of(const GroupExtents& e) { return e.batch * e.groups * e.channels; }

/// Of the channel of a plane (sample, channel), null where there is none.
template <class T>
T affine_of(const T* values, const GroupExtents& e, std::int64_t plane, T without) {
  return values == nullptr ? without : values[e.per_sample ? plane : plane % (e.groups * e.channels)];
}

}  // namespace

template <class T>
void group_norm(Cpu, const GroupExtents& e, double eps, GroupAffine<T> affine, const T* x, T* y, Wide<T>* mean, Wide<T>* rstd) {
  const std::int64_t count = e.channels * e.points;
#pragma omp parallel for schedule(static) if (planes_of(e) * e.points > kGrain)
  for (std::int64_t group = 0; group < e.batch * e.groups; ++group) {
    const T* from = x + group * count;
    double total = 0, squares = 0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = 0; i < count; ++i) total += static_cast<double>(from[i]);
    const double center = total / static_cast<double>(count);
#pragma omp simd reduction(+ : squares)
    for (std::int64_t i = 0; i < count; ++i) {
      const double distance = static_cast<double>(from[i]) - center;
      squares += distance * distance;
    }
    mean[group] = static_cast<T>(center);
    rstd[group] = static_cast<T>(1.0 / std::sqrt(squares / static_cast<double>(count) + eps));
    for (std::int64_t channel = 0; channel < e.channels; ++channel) {
      const std::int64_t plane = group * e.channels + channel;
      const T gain = rstd[group] * affine_of(affine.scale, e, plane, T(1)), shift = affine_of(affine.shift, e, plane, T(0)),
              middle = mean[group];
      const T* source = x + plane * e.points;
      T* target = y + plane * e.points;
#pragma omp simd
      for (std::int64_t i = 0; i < e.points; ++i) target[i] = (source[i] - middle) * gain + shift;
    }
  }
}

template <class T>
void group_norm_gradient(Cpu, const GroupExtents& e, GroupAffine<T> affine, const T* x, const Wide<T>* mean, const Wide<T>* rstd,
                         const T* dy, GroupGradients<T> to) {
  const std::int64_t planes = planes_of(e);
  std::vector<double> slopes(static_cast<std::size_t>(planes)),
      alongs(static_cast<std::size_t>(planes));  // sums of dy, and of dy normalised(x)
#pragma omp parallel for schedule(static) if (planes * e.points > kGrain)
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    const T *source = x + plane * e.points, *slope = dy + plane * e.points;
    const T middle = mean[plane / e.channels], gain = rstd[plane / e.channels];
    double total = 0, along = 0;
#pragma omp simd reduction(+ : total, along)
    for (std::int64_t i = 0; i < e.points; ++i) {
      total += static_cast<double>(slope[i]);
      along += static_cast<double>(slope[i] * ((source[i] - middle) * gain));
    }
    slopes[static_cast<std::size_t>(plane)] = total;
    alongs[static_cast<std::size_t>(plane)] = along;
  }
  const std::int64_t width = e.groups * e.channels, owners = e.per_sample ? planes : width;
  for (std::int64_t i = 0; i < owners; ++i) {
    double scale = 0, shift = 0;
    for (std::int64_t plane = i; plane < planes; plane += owners) {
      scale += alongs[static_cast<std::size_t>(plane)];
      shift += slopes[static_cast<std::size_t>(plane)];
    }
    if (to.scale != nullptr) to.scale[i] = static_cast<T>(scale);
    if (to.shift != nullptr) to.shift[i] = static_cast<T>(shift);
  }
  if (to.x == nullptr) return;
#pragma omp parallel for schedule(static) if (planes * e.points > kGrain)
  for (std::int64_t group = 0; group < e.batch * e.groups; ++group) {
    double total = 0, along = 0;
    for (std::int64_t plane = group * e.channels; plane < (group + 1) * e.channels; ++plane) {
      const auto gain = static_cast<double>(affine_of(affine.scale, e, plane, T(1)));
      total += gain * slopes[static_cast<std::size_t>(plane)];
      along += gain * alongs[static_cast<std::size_t>(plane)];
    }
    const auto count = static_cast<double>(e.channels * e.points);
    const T mean_slope = static_cast<T>(total / count), mean_along = static_cast<T>(along / count), middle = mean[group],
            inverse = rstd[group];
    for (std::int64_t plane = group * e.channels; plane < (group + 1) * e.channels; ++plane) {
      const T gain = affine_of(affine.scale, e, plane, T(1));
      const T *source = x + plane * e.points, *slope = dy + plane * e.points;
      T* target = to.x + plane * e.points;
#pragma omp simd
      for (std::int64_t i = 0; i < e.points; ++i) {
        target[i] = inverse * (gain * slope[i] - mean_slope - (source[i] - middle) * inverse * mean_along);
      }
    }
  }
}

#define TRIDENT_GROUP_NORM(T)                                                                       \
  template void group_norm(Cpu, const GroupExtents&, double, GroupAffine<T>, const T*, T*, T*, T*); \
  template void group_norm_gradient(Cpu, const GroupExtents&, GroupAffine<T>, const T*, const T*, const T*, const T*, GroupGradients<T>);
TRIDENT_GROUP_NORM(float)
TRIDENT_GROUP_NORM(double)

}  // namespace trident
