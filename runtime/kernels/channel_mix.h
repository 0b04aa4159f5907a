/// A matrix on the channels of every point: what a convolution with a 1x1 kernel computes, with what surrounds it.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"
#include "runtime/kernels/wide.h"

namespace trident {

struct MixSize {
  std::int64_t batch = 0, in = 0, out = 0, points = 0;
  bool gelu = false;     // as the last step
  bool of_gelu = false;  // x is what a GELU is given, which comes first; on the CPU
};
/// Row-major; bias, addend and gate may be null.
template <class T>
struct MixOperands {
  const T* x = nullptr;       // (batch, in, points)
  const T* weight = nullptr;  // (out, in)
  const T* bias = nullptr;    // (out,)
  const T* addend = nullptr;  // (batch, out, points)
  const T* gate = nullptr;    // (out,): what the addend is multiplied by
};
/// Where gradients go; null where not wanted. Those of parameters are f32 beside bf16.
template <class T>
struct MixGradients {
  Into<T> x{};  // replaced where it is a GELU's
  T* addend = nullptr;
  Into<Wide<T>> weight{}, bias{}, gate{};
};

/// y (batch, out, points) = gelu(weight x + bias + gate addend); `slope` receives the GELU's derivatives unless null: with the value at
/// hand they cost least.
template <class T>
void mix_forward(Cpu, const MixSize&, const MixOperands<T>&, T* slope, T* y);
template <class T>
void mix_forward(Cuda, const MixSize&, const MixOperands<T>&, T* slope, T* y);
/// `slope` is read with a GELU only.
template <class T>
void mix_backward(Cpu, const MixSize&, const MixOperands<T>&, const T* slope, const T* dy, const MixGradients<T>&);
template <class T>
void mix_backward(Cuda, const MixSize&, const MixOperands<T>&, const T* slope, const T* dy, const MixGradients<T>&);

}  // namespace trident
