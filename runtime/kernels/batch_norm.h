/// Normalisation of channels, forward and backward.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/wide.h"

namespace trident {

/// x (batch, channels, points). What belongs to channels is f32 beside bf16.
struct NormChannels {
  std::int64_t batch, channels, points;
};

/// Of every channel, the sum of x, or of (x - center)^2 where a center (channels,) is given.
template <class T>
void channel_sums(Cpu, const NormChannels&, const T* x, const Wide<T>* center, double* sums);
template <class T>
void channel_sums(Cuda, const NormChannels&, const T* x, const Wide<T>* center, double* sums);

/// What normalises a channel: y = weight (x - mean) / sqrt(variance + eps) + bias; all (channels,).
template <class T>
struct ChannelNorm {
  const Wide<T>*mean, *variance, *weight, *bias;
  double eps;
};
template <class T>
void batch_norm(Cpu, const NormChannels&, const ChannelNorm<T>&, const T* x, T* y);
template <class T>
void batch_norm(Cuda, const NormChannels&, const ChannelNorm<T>&, const T* x, T* y);

/// dweight = the sum of dy times the normalised x, dbias = the sum of dy; both (channels,).
template <class T>
void batch_norm_gradient_sums(Cpu, const NormChannels&, const ChannelNorm<T>&, const T* x, const T* dy, Wide<T>* dweight, Wide<T>* dbias);
template <class T>
void batch_norm_gradient_sums(Cuda, const NormChannels&, const ChannelNorm<T>&, const T* x, const T* dy, Wide<T>* dweight, Wide<T>* dbias);
/// dx. `mean_along` and `mean_slope` (channels,): the means of what gradient_sums adds up, where mean and variance are x's own; null where
/// they are given.
template <class T>
void batch_norm_gradient(Cpu, const NormChannels&, const ChannelNorm<T>&, const Wide<T>* mean_along, const Wide<T>* mean_slope, const T* x,
                         const T* dy, T* dx);
template <class T>
void batch_norm_gradient(Cuda, const NormChannels&, const ChannelNorm<T>&, const Wide<T>* mean_along, const Wide<T>* mean_slope, const T* x,
                         const T* dy, T* dx);

}  // namespace trident
