/// What is added to a branch of a Fourier block. Names and layouts of neuraloperator.
#pragma once

#include <array>
#include <optional>
#include <utility>

#include "models/layers/channel_mlp.h"

namespace trident {

/// linear: a matrix on the channels; soft_gating: one factor per channel; convolution: around each point, zeros outside of the field.
enum class SkipKind { linear, identity, soft_gating, convolution };

class SkipConnection {
 public:
  /// `kernel`: points per side of a convolution.
  SkipConnection(SkipKind kind, std::int64_t channels, int dims, std::int64_t kernel = 1);

  /// x: (batch, channel, space...), or this rank's part of it.
  Tensor operator()(const Tensor& x, const FieldPlace& place) const;
  /// Whether add_to() takes a bias along.
  bool adds_bias() const { return is_map(); }
  bool is_map() const { return kind_ == SkipKind::linear; }
  /// gelu(skip(x) + branch + bias) as a map of x, where it is one.
  Mix map_before_gelu(const Tensor& branch, const Tensor& bias) const;
  /// activation(skip(x) + branch + bias); bias: one number for each channel, or undefined.
  Tensor add_to(const Tensor& branch, const Tensor& x, const FieldPlace& place, std::optional<NonLinearity> activation,
                const Tensor& bias) const;
  /// skip(x) as the ending of the branch that it is added to; a gate is multiplied there.
  Ending ending(const Tensor& x, const FieldPlace& place, std::optional<NonLinearity> activation) const;
  double flops() const;  // of one point

  static void visit(auto& self, auto& v) {
    if (self.weight_) v(self.kind_ == SkipKind::linear ? "conv.weight" : "weight", *self.weight_);
  }

 private:
  SkipKind kind_;
  std::optional<Parameter> weight_;  // (channels, channels, 1), (1, channels, 1, ...) or (channels, channels, kernel, ...)
};

}  // namespace trident
