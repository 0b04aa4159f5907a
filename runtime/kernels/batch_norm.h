/// Normalisation of channels, forward and backward.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident {

/// x (batch, channels, points).
struct NormChannels {
  std::int64_t batch, channels, points;
};

/// Mean and biased variance of every channel.
template <class T>
void channel_statistics(Cpu, const NormChannels&, const T* x, T* mean, T* variance);
template <class T>
void channel_statistics(Cuda, const NormChannels&, const T* x, T* mean, T* variance);

/// What normalises a channel: y = weight (x - mean) / sqrt(variance + eps) + bias; all (channels,).
template <class T>
struct ChannelNorm {
  const T *mean, *variance, *weight, *bias;
  double eps;
};
template <class T>
void batch_norm(Cpu, const NormChannels&, const ChannelNorm<T>&, const T* x, T* y);
template <class T>
void batch_norm(Cuda, const NormChannels&, const ChannelNorm<T>&, const T* x, T* y);

/// Whether mean and variance are x's own, so that the gradient runs through them too.
enum class Statistics { own, given };
template <class T>
void batch_norm_gradient(Cpu, const NormChannels&, const ChannelNorm<T>&, Statistics, const T* x, const T* dy, T* dx, T* dweight, T* dbias);
template <class T>
void batch_norm_gradient(Cuda, const NormChannels&, const ChannelNorm<T>&, Statistics, const T* x, const T* dy, T* dx, T* dweight,
                         T* dbias);

}  // namespace trident
