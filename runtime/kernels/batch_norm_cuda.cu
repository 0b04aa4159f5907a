// Limited by memory: each channel's numbers are read once for sums and once to be normalised.
#include "runtime/kernels/batch_norm.h"

#include "runtime/kernels/cuda/kernel.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

/// A channel per block: the sums over its planes, each thread's numbers in ascending order.
template <class T>
__global__ void channel_sums_kernel(NormChannels extents, const T* x, const Wide<T>* center, double* sums) {
  const std::int64_t channel = blockIdx.x, count = extents.batch * extents.points;
  const double middle = center == nullptr ? 0.0 : static_cast<double>(center[channel]);
  double total = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    const double value =
        static_cast<double>(compute(x[(i / extents.points * extents.channels + channel) * extents.points + i % extents.points]));
    total += center == nullptr ? value : (value - middle) * (value - middle);
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) sums[channel] = total;
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

template <class T>
__global__ void gradient_sums_kernel(NormChannels extents, ChannelNorm<T> norm, const T* x, const T* dy, Wide<T>* dweight, Wide<T>* dbias) {
  const std::int64_t channel = blockIdx.x, count = extents.batch * extents.points;
  const Wide<T> center = norm.mean[channel], rstd = inverse_deviation(norm, channel);
  double total = 0, along = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    const std::int64_t at = (i / extents.points * extents.channels + channel) * extents.points + i % extents.points;
    const Wide<T> slope = compute(dy[at]);
    total += static_cast<double>(slope);
    along += static_cast<double>(slope * ((compute(x[at]) - center) * rstd));
  }
  total = block_sum<kThreads>(total);
  along = block_sum<kThreads>(along);
  if (threadIdx.x != 0) return;
  dweight[channel] = static_cast<Wide<T>>(along);
  dbias[channel] = static_cast<Wide<T>>(total);
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
dim3 channels_grid(const NormChannels& extents) { return dim3(static_cast<unsigned>(extents.channels)); }

}  // namespace

template <class T>
void channel_sums(Cuda device, const NormChannels& extents, const T* x, const Wide<T>* center, double* sums) {
  launch_kernel(channel_sums_kernel<T>, channels_grid(extents), dim3(kThreads), 0, device, extents, x, center, sums);
}

template <class T>
void batch_norm(Cuda device, const NormChannels& extents, const ChannelNorm<T>& norm, const T* x, T* y) {
  launch_kernel(batch_norm_kernel<T>, elements_grid(extents), dim3(kThreads), 0, device, extents, norm, x, y);
}

template <class T>
void batch_norm_gradient_sums(Cuda device, const NormChannels& extents, const ChannelNorm<T>& norm, const T* x, const T* dy,
                              Wide<T>* dweight, Wide<T>* dbias) {
  launch_kernel(gradient_sums_kernel<T>, channels_grid(extents), dim3(kThreads), 0, device, extents, norm, x, dy, dweight, dbias);
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
