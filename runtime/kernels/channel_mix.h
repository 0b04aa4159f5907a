/// A matrix on the channels of every point: what a convolution with a 1x1 kernel computes, with what surrounds it.
#pragma once

#include <span>

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"
#include "runtime/kernels/wide.h"

namespace trident {

struct MixSize {
  std::int64_t batch = 0, in = 0, out = 0, points = 0;
  bool gelu = false;  // as the last step
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
  Into<T> x{};
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

/// A map of a chain: the first maps the chain's x, each other one the GELU of what the map before gives.
template <class T>
struct MixMap {
  MixSize size;          // gelu: of the last one
  MixOperands<T> from;   // x, behind the first: `kept` of the map before, which the backward reads; gate: of the last one
  T* kept = nullptr;     // receives what the GELU behind is given, unless null
  MixGradients<T> to{};  // x: of the first one
};
/// Maps behind each other, on the CPU: what lies between them stays in the cache.
template <class T>
struct MixChain {
  std::span<const MixMap<T>> maps;
  bool adds_x = false;  // the last map's addend is the chain's x; its gradient goes to that of x, which is replaced
};

template <class T>
void mix_forward(Cpu, const MixChain<T>&, T* slope, T* y);
template <class T>
void mix_backward(Cpu, const MixChain<T>&, const T* slope, const T* dy);

}  // namespace trident
