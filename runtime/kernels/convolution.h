/// Convolutions with zero padding and stride 1.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"
#include "runtime/kernels/wide.h"

namespace trident {

/// Fields (batch, in, ny, nx) under kernels (out, in, kernel, kernel). A negative padding crops.
struct Conv2dSize {
  std::int64_t batch = 0, in = 0, out = 0, ny = 0, nx = 0, kernel = 0, padding = 0;
  constexpr std::int64_t out_ny() const { return ny + 2 * padding - kernel + 1; }
  constexpr std::int64_t out_nx() const { return nx + 2 * padding - kernel + 1; }
};
/// y (batch, out, out_ny, out_nx); bias (out,) may be null.
template <class T>
void conv2d_forward(Cpu, const Conv2dSize&, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void conv2d_forward(Cuda, const Conv2dSize&, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void conv2d_backward_input(Cpu, const Conv2dSize&, const T* dy, const T* weight, T* dx);
template <class T>
void conv2d_backward_input(Cuda, const Conv2dSize&, const T* dy, const T* weight, T* dx);
/// Replaces gradients on the CPU.
template <class T>
void conv2d_backward_weight(Cpu, const Conv2dSize&, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias);
template <class T>
void conv2d_backward_weight(Cuda, const Conv2dSize&, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias);

/// Tokens (batch, ny, nx, channels), each channel under its own kernel of weight (channels, kernel, kernel). A negative padding crops.
struct DepthwiseSize {
  std::int64_t batch = 0, ny = 0, nx = 0, channels = 0, kernel = 0, padding = 0;
  constexpr std::int64_t out_ny() const { return ny + 2 * padding - kernel + 1; }
  constexpr std::int64_t out_nx() const { return nx + 2 * padding - kernel + 1; }
};
/// y (batch, out_ny, out_nx, channels); bias (channels,) may be null.
template <class T>
void depthwise_forward(Cpu, const DepthwiseSize&, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void depthwise_forward(Cuda, const DepthwiseSize&, const T* x, const T* weight, const T* bias, T* y);
template <class T>
void depthwise_backward_input(Cpu, const DepthwiseSize&, const T* dy, const T* weight, T* dx);
template <class T>
void depthwise_backward_input(Cuda, const DepthwiseSize&, const T* dy, const T* weight, T* dx);
/// Replaces gradients on the CPU.
template <class T>
void depthwise_backward_weight(Cpu, const DepthwiseSize&, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias);
template <class T>
void depthwise_backward_weight(Cuda, const DepthwiseSize&, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias);

}  // namespace trident
