#include <cmath>

#include "runtime/kernels/batch_norm.h"
#include "runtime/kernels/strided_loop.h"

namespace trident {
namespace {

/// Calls plane(offset) for every sample's plane of the channel, in order.
template <class Plane>
void for_each_plane(const NormChannels& extents, std::int64_t channel, Plane&& plane) {
  for (std::int64_t sample = 0; sample < extents.batch; ++sample) plane((sample * extents.channels + channel) * extents.points);
}

double count_of(const NormChannels& extents) { return static_cast<double>(extents.batch * extents.points); }

}  // namespace

template <class T>
void channel_statistics(Cpu, const NormChannels& extents, const T* x, T* mean, T* variance) {
#pragma omp parallel for schedule(static) if (extents.batch * extents.channels * extents.points > kGrain)
  for (std::int64_t channel = 0; channel < extents.channels; ++channel) {
    double total = 0, squares = 0;
    for_each_plane(extents, channel, [&](std::int64_t offset) {
#pragma omp simd reduction(+ : total)
      for (std::int64_t i = 0; i < extents.points; ++i) total += static_cast<double>(x[offset + i]);
    });
    const double center = total / count_of(extents);
    for_each_plane(extents, channel, [&](std::int64_t offset) {
#pragma omp simd reduction(+ : squares)
      for (std::int64_t i = 0; i < extents.points; ++i) {
        const double distance = static_cast<double>(x[offset + i]) - center;
        squares += distance * distance;
      }
    });
    mean[channel] = static_cast<T>(center);
    variance[channel] = static_cast<T>(squares / count_of(extents));
  }
}

template <class T>
void batch_norm(Cpu, const NormChannels& extents, const ChannelNorm<T>& norm, const T* x, T* y) {
  const std::int64_t planes = extents.batch * extents.channels;
#pragma omp parallel for schedule(static) if (planes * extents.points > kGrain)
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    const std::int64_t channel = plane % extents.channels, offset = plane * extents.points;
    const T gain = norm.weight[channel] / std::sqrt(norm.variance[channel] + static_cast<T>(norm.eps));
    const T center = norm.mean[channel], shift = norm.bias[channel];
#pragma omp simd
    for (std::int64_t i = 0; i < extents.points; ++i) y[offset + i] = (x[offset + i] - center) * gain + shift;
  }
}

template <class T>
void batch_norm_gradient(Cpu, const NormChannels& extents, const ChannelNorm<T>& norm, Statistics statistics, const T* x, const T* dy,
                         T* dx, T* dweight, T* dbias) {
#pragma omp parallel for schedule(static) if (extents.batch * extents.channels * extents.points > kGrain)
  for (std::int64_t channel = 0; channel < extents.channels; ++channel) {
    const T center = norm.mean[channel], rstd = T(1) / std::sqrt(norm.variance[channel] + static_cast<T>(norm.eps));
    double total = 0, along = 0;  // of dy, and of dy times the normalised x
    for_each_plane(extents, channel, [&](std::int64_t offset) {
#pragma omp simd reduction(+ : total, along)
      for (std::int64_t i = 0; i < extents.points; ++i) {
        total += static_cast<double>(dy[offset + i]);
        along += static_cast<double>(dy[offset + i] * ((x[offset + i] - center) * rstd));
      }
    });
    dweight[channel] = static_cast<T>(along);
    dbias[channel] = static_cast<T>(total);
    const bool own = statistics == Statistics::own;
    const T mean_slope = own ? static_cast<T>(total / count_of(extents)) : T(0);
    const T mean_along = own ? static_cast<T>(along / count_of(extents)) : T(0);
    const T gain = norm.weight[channel] * rstd;
    for_each_plane(extents, channel, [&](std::int64_t offset) {
#pragma omp simd
      for (std::int64_t i = 0; i < extents.points; ++i) {
        dx[offset + i] = gain * (dy[offset + i] - mean_slope - (x[offset + i] - center) * rstd * mean_along);
      }
    });
  }
}

#define TRIDENT_BATCH_NORM(T)                                                              \
  template void channel_statistics(Cpu, const NormChannels&, const T*, T*, T*);            \
  template void batch_norm(Cpu, const NormChannels&, const ChannelNorm<T>&, const T*, T*); \
  template void batch_norm_gradient(Cpu, const NormChannels&, const ChannelNorm<T>&, Statistics, const T*, const T*, T*, T*, T*);
TRIDENT_BATCH_NORM(float)
TRIDENT_BATCH_NORM(double)

}  // namespace trident
