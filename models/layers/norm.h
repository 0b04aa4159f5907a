/// Layer normalisation: plain, or with scale and shift that depend on the sample's time.
#pragma once

#include <variant>

#include "models/layers/linear.h"
#include "runtime/ops/layer_norm.h"

namespace trident {

enum class Conditioning { none, time };

/// What a branch of a block is multiplied by before it is added (drop-path): (batch, 1), or undefined for 1.
using BranchFactor = Tensor;

class Norm {
 public:
  Norm(Conditioning conditioning, std::int64_t width, double eps, double deviation);

  /// scale * (x - mean) / sqrt(var + eps) + shift over the last axis. x: (batch, ..., width); time: (batch,), read with conditioning only.
  Tensor operator()(const Tensor& x, const Tensor& time) const;
  /// The same onto a sum, or onto none, for the product that x is.
  NormEnding onto(const CarriedSum& sum, const Tensor& time) const { return {sum, affine_at(time), eps_}; }
  /// sum + factor * that. With `part` x is (rows, width).
  CarriedSum add_to(const CarriedSum& sum, const Tensor& x, const Tensor& time, const BranchFactor& factor,
                    const std::optional<SampleRows>& part) const;

  static void visit(auto& self, auto& v) {
    std::visit([&](auto& affine) { affine.visit(affine, v); }, self.affine_);
  }

 private:
  struct Plain {
    Parameter weight, bias;  // (width,)
    static void visit(auto& self, auto& v) { v("weight", self.weight), v("bias", self.bias); }
  };
  struct Conditional {
    Linear weight, bias;  // time -> (batch, width)
    static void visit(auto& self, auto& v) { v("weight", self.weight), v("bias", self.bias); }
  };

  NormAffine affine_at(const Tensor& time) const;

  std::variant<Plain, Conditional> affine_;
  double eps_;
};

}  // namespace trident
