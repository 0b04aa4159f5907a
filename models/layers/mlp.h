/// The two-layer perceptron of a transformer block.
#pragma once

#include "models/layers/linear.h"
#include "runtime/ops/matmul.h"

namespace trident {

/// down(activation(up(x))); names of transformers' Swinv2 layers.
struct Mlp {
  Linear up, down;
  Activation activation;

  Mlp(std::int64_t width, std::int64_t hidden, Activation activation, double deviation);
  Tensor operator()(const Tensor& x) const;

  static void visit(auto& self, auto& v) { v("intermediate.dense", self.up), v("output.dense", self.down); }
};

}  // namespace trident
