/// The affine layer of the public references.
#pragma once

#include <optional>

#include "models/module.h"
#include "parallel/tensor_parallel.h"

namespace trident {

enum class Bias { none, zero };  // zero: it starts there

/// x weight^T + bias; names and layout of torch.nn.Linear.
struct Linear {
  Parameter weight;               // (out, in)
  std::optional<Parameter> bias;  // (out,)

  /// Weights start normal with this deviation.
  Linear(std::int64_t in, std::int64_t out, Bias with, double deviation);
  /// The same layer shared out over the tensor axis: this rank holds the rows `own` of the weight and of the bias, or the columns `own` of
  /// the weight and the whole bias, which it adds to the sum with added_once().
  Linear(std::int64_t in, std::int64_t out, Bias with, double deviation, SplitAlong along, Range own, const Mesh& mesh);
  /// (..., in) -> (..., out)
  Tensor operator()(const Tensor& x) const;
  /// What to add to activations of this type; undefined if there is no bias.
  Tensor bias_in(DType activations) const { return bias ? bias->in(activations) : Tensor{}; }

  static void visit(auto& self, auto& v) {
    v("weight", self.weight);
    if (self.bias) v("bias", *self.bias);
  }
};

}  // namespace trident
