// Limited by memory: each channel's numbers are read once for sums and once to be normalised.
#include "runtime/kernels/batch_norm.h"

#include "runtime/kernels/cuda/plane_sums.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

/// The fields of all samples, added up by channel.
__host__ __device__ Planes planes_of(const NormChannels& extents) {
  return {extents.batch * extents.channels, extents.points, extents.channels};
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads)
    channel_sums_kernel(NormChannels extents, const T* x, const Wide<T>* center, PlaneSums<double> to) {
  add_up_planes<1>(planes_of(extents), to, [=](std::int64_t plane) {
    const double middle = center == nullptr ? 0.0 : static_cast<double>(center[plane % extents.channels]);
    return [=, from = x + plane * extents.points](std::int64_t i, double(&total)[1]) {
      const double value = static_cast<double>(compute(from[i])) - middle;
      total[0] += center == nullptr ? value : value * value;
    };
  });
}

template <class T>
__device__ __forceinline__ Wide<T> inverse_deviation(const ChannelNorm<T>& norm, std::int64_t channel) {
  return Wide<T>(1) / sqrt(norm.variance[channel] + static_cast<Wide<T>>(norm.eps));
}

template <class T>
__global__ void batch_norm_kernel(NormChannels extents, ChannelNorm<T> norm, const T* x, T* y) {
  const std::int64_t count = extents.batch * extents.channels * extents.points;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t channel = i / extents.points % extents.channels;
    const Wide<T> gain = norm.weight[channel] / sqrt(norm.variance[channel] + static_cast<Wide<T>>(norm.eps));
    y[i] = stored<T>((compute(x[i]) - norm.mean[channel]) * gain + norm.bias[channel]);
  }
}

/// Of every channel: the sum of dy times the normalised x, and that of dy.
template <class T>
__global__ void __launch_bounds__(kPlaneThreads)
    gradient_sums_kernel(NormChannels extents, ChannelNorm<T> norm, const T* x, const T* dy, PlaneSums<Wide<T>> to) {
  add_up_planes<2>(planes_of(extents), to, [=](std::int64_t plane) {
    const std::int64_t channel = plane % extents.channels, first = plane * extents.points;
    const Wide<T> center = norm.mean[channel], rstd = inverse_deviation(norm, channel);
    return [=](std::int64_t i, double(&totals)[2]) {
      const Wide<T> slope = compute(dy[first + i]);
      totals[0] += static_cast<double>(slope * ((compute(x[first + i]) - center) * rstd));
      totals[1] += static_cast<double>(slope);
    };
  });
}

template <class T>
__global__ void batch_norm_gradient_kernel(NormChannels extents, ChannelNorm<T> norm, const Wide<T>* mean_along, const Wide<T>* mean_slope,
                                           const T* x, const T* dy, T* dx) {
  const std::int64_t count = extents.batch * extents.channels * extents.points;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t channel = i / extents.points % extents.channels;
    const Wide<T> rstd = inverse_deviation(norm, channel), gain = norm.weight[channel] * rstd;
    const Wide<T> slope = mean_slope == nullptr ? Wide<T>(0) : mean_slope[channel];
    const Wide<T> along = mean_along == nullptr ? Wide<T>(0) : mean_along[channel];
    dx[i] = stored<T>(gain * (compute(dy[i]) - slope - (compute(x[i]) - norm.mean[channel]) * rstd * along));
  }
}

dim3 elements_grid(const NormChannels& extents) { return dim3(strided_grid(extents.batch * extents.channels * extents.points, kThreads)); }

}  // namespace

template <class T>
void channel_sums(Cuda device, const NormChannels& extents, const T* x, const Wide<T>* center, double* sums) {
  const Planes planes = planes_of(extents);
  sums_of_planes<1>(device, planes, sums, static_cast<double*>(nullptr), [&](const auto& to) {
    launch_kernel(channel_sums_kernel<T>, blocks_for(planes), kPlaneThreads, 0, device, extents, x, center, to);
  });
}

template <class T>
void batch_norm(Cuda device, const NormChannels& extents, const ChannelNorm<T>& norm, const T* x, T* y) {
  launch_kernel(batch_norm_kernel<T>, elements_grid(extents), dim3(kThreads), 0, device, extents, norm, x, y);
}

template <class T>
void batch_norm_gradient_sums(Cuda device, const NormChannels& extents, const ChannelNorm<T>& norm, const T* x, const T* dy,
                              Wide<T>* dweight, Wide<T>* dbias) {
  const Planes planes = planes_of(extents);
  sums_of_planes<2>(device, planes, dweight, dbias, [&](const auto& to) {
    launch_kernel(gradient_sums_kernel<T>, blocks_for(planes), kPlaneThreads, 0, device, extents, norm, x, dy, to);
  });
}

template <class T>
void batch_norm_gradient(Cuda device, const NormChannels& extents, const ChannelNorm<T>& norm, const Wide<T>* mean_along,
                         const Wide<T>* mean_slope, const T* x, const T* dy, T* dx) {
  launch_kernel(batch_norm_gradient_kernel<T>, elements_grid(extents), dim3(kThreads), 0, device, extents, norm, mean_along, mean_slope, x,
                dy, dx);
}

#define TRIDENT_BATCH_NORM(T)                                                                                                          \
  template void channel_sums<T>(Cuda, const NormChannels&, const T*, const Wide<T>*, double*);                                         \
  template void batch_norm<T>(Cuda, const NormChannels&, const ChannelNorm<T>&, const T*, T*);                                         \
  template void batch_norm_gradient_sums<T>(Cuda, const NormChannels&, const ChannelNorm<T>&, const T*, const T*, Wide<T>*, Wide<T>*); \
  template void batch_norm_gradient<T>(Cuda, const NormChannels&, const ChannelNorm<T>&, const Wide<T>*, const Wide<T>*, const T*,     \
                                       const T*, T*);
TRIDENT_BATCH_NORM(float)
TRIDENT_BATCH_NORM(double)
TRIDENT_BATCH_NORM(bf16)

}  // namespace trident
