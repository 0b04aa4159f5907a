/// Two linear layers with an activation between them.
#pragma once

#include "runtime/kernels/dispatch.h"
#include "runtime/kernels/into.h"
#include "runtime/kernels/wide.h"
#include "runtime/ops/matmul.h"

namespace trident {

struct MlpSize {
  std::int64_t rows = 0, in = 0, hidden = 0, out = 0;
  Activation activation = Activation::gelu;
};
/// Row-major, layout of torch.nn.Linear; biases may be null.
template <class T>
struct MlpWeights {
  const T* up = nullptr;         // (hidden, in)
  const T* up_bias = nullptr;    // (hidden,)
  const T* down = nullptr;       // (out, hidden)
  const T* down_bias = nullptr;  // (out,)
};
/// Where gradients go.
template <class T>
struct MlpGradients {
  Into<T> x;                // (rows, in)
  Into<Wide<T>> up;         // (hidden, in)
  Into<Wide<T>> up_bias;    // (hidden,)
  Into<Wide<T>> down;       // (out, hidden)
  Into<Wide<T>> down_bias;  // (out,)
};

/// The hidden numbers (rows, hidden) that the backward reads.
template <class T>
struct MlpHidden {
  T* before = nullptr;  // the activation
  T* after = nullptr;   // it, where keeps_after
};
/// Whether the first product ends in the activation, as cuBLASLt's products of bf16 do in GELU: then what comes out is kept, too.
inline bool keeps_after(DType dtype, Activation activation) { return dtype == DType::bf16 && activation == Activation::gelu; }

/// y (rows, out); `keep` is null where no backward follows.
template <class T>
void mlp_forward(Cpu, MlpSize, const T* x, MlpWeights<T>, MlpHidden<T> keep, T* y);
template <class T>
void mlp_forward(Cuda, MlpSize, const T* x, MlpWeights<T>, MlpHidden<T> keep, T* y);
/// What its second product reads, after (rows, hidden); `before` may be null.
template <class T>
void mlp_hidden(Cuda, MlpSize, const T* x, MlpWeights<T>, T* before, T* after);
template <class T>
void mlp_backward(Cpu, MlpSize, const T* x, MlpHidden<const T> kept, const T* dy, MlpWeights<T>, MlpGradients<T>);
template <class T>
void mlp_backward(Cuda, MlpSize, const T* x, MlpHidden<const T> kept, const T* dy, MlpWeights<T>, MlpGradients<T>);

}  // namespace trident
