/// The two-layer perceptron of a transformer block.
#pragma once

#include "models/layers/linear.h"
#include "models/layers/nonlinearity.h"
#include "runtime/ops/layer_norm.h"

namespace trident {

/// down(activation(up(x))), of which this rank computes the hidden columns `own`; names of transformers' Swinv2 layers.
struct Mlp {
  Linear up, down;
  NonLinearity activation;
  Mesh mesh;

  Mlp(std::int64_t width, std::int64_t hidden, Range own, NonLinearity activation, double deviation, const Mesh& mesh);
  /// The rank's addend: the sum over the tensor axis is the layer's output.
  Tensor operator()(const Tensor& x) const;
  /// The norm of the layer's output, where a rank has all columns.
  CarriedSum operator()(const Tensor& x, const NormEnding& ending) const;

  static void visit(auto& self, auto& v) { v("intermediate.dense", self.up), v("output.dense", self.down); }
};

}  // namespace trident
