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

}  // namespace

template <class T>
void channel_sums(Cpu, const NormChannels& extents, const T* x, const Wide<T>* center, double* sums) {
#pragma omp parallel for schedule(static) if (extents.batch * extents.channels * extents.points > kGrain)
  for (std::int64_t channel = 0; channel < extents.channels; ++channel) {
    double total = 0;
    for_each_plane(extents, channel, [&](std::int64_t offset) {
      if (center == nullptr) {
#pragma omp simd reduction(+ : total)
        for (std::int64_t i = 0; i < extents.points; ++i) total += static_cast<double>(x[offset + i]);
        return;
      }
      const auto middle = static_cast<double>(center[channel]);
#pragma omp simd reduction(+ : total)
      for (std::int64_t i = 0; i < extents.points; ++i) {
        const double distance = static_cast<double>(x[offset + i]) - middle;
        total += distance * distance;
      }
    });
    sums[channel] = total;
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
void batch_norm_gradient_sums(Cpu, const NormChannels& extents, const ChannelNorm<T>& norm, const T* x, const T* dy, Wide<T>* dweight,
                              Wide<T>* dbias) {
#pragma omp parallel for schedule(static) if (extents.batch * extents.channels * extents.points > kGrain)
  for (std::int64_t channel = 0; channel < extents.channels; ++channel) {
    const T center = norm.mean[channel], rstd = T(1) / std::sqrt(norm.variance[channel] + static_cast<T>(norm.eps));
    double total = 0, along = 0;
    for_each_plane(extents, channel, [&](std::int64_t offset) {
#pragma omp simd reduction(+ : total, along)
      for (std::int64_t i = 0; i < extents.points; ++i) {
        total += static_cast<double>(dy[offset + i]);
        along += static_cast<double>(dy[offset + i] * ((x[offset + i] - center) * rstd));
      }
    });
    dweight[channel] = static_cast<T>(along);
    dbias[channel] = static_cast<T>(total);
  }
}

template <class T>
void batch_norm_gradient(Cpu, const NormChannels& extents, const ChannelNorm<T>& norm, const Wide<T>* mean_along, const Wide<T>* mean_slope,
                         const T* x, const T* dy, T* dx) {
  const std::int64_t planes = extents.batch * extents.channels;
#pragma omp parallel for schedule(static) if (planes * extents.points > kGrain)
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    const std::int64_t channel = plane % extents.channels, offset = plane * extents.points;
    const T center = norm.mean[channel], rstd = T(1) / std::sqrt(norm.variance[channel] + static_cast<T>(norm.eps));
    const T gain = norm.weight[channel] * rstd;
    const T slope = mean_slope == nullptr ? T(0) : mean_slope[channel], along = mean_along == nullptr ? T(0) : mean_along[channel];
#pragma omp simd
    for (std::int64_t i = 0; i < extents.points; ++i) {
      dx[offset + i] = gain * (dy[offset + i] - slope - (x[offset + i] - center) * rstd * along);
    }
  }
}

#define TRIDENT_BATCH_NORM(T)                                                                                          \
  template void channel_sums(Cpu, const NormChannels&, const T*, const T*, double*);                                   \
  template void batch_norm(Cpu, const NormChannels&, const ChannelNorm<T>&, const T*, T*);                             \
  template void batch_norm_gradient_sums(Cpu, const NormChannels&, const ChannelNorm<T>&, const T*, const T*, T*, T*); \
  template void batch_norm_gradient(Cpu, const NormChannels&, const ChannelNorm<T>&, const T*, const T*, const T*, const T*, T*);
TRIDENT_BATCH_NORM(float)
TRIDENT_BATCH_NORM(double)

}  // namespace trident
