/// Swin v2's attention as a layer: projections, continuous position bias, shifted windows on a padded grid.
#pragma once

#include "models/layers/linear.h"
#include "parallel/domain.h"
#include "runtime/ops/layer_norm.h"
#include "runtime/ops/position_bias.h"

namespace trident {

struct WindowSettings {
  std::int64_t window = 0;  // tokens per side
  std::int64_t shift = 0;   // tokens
};

/// f64 ((2 window - 1)^2, 2): of every offset from a query to a key of a window, in the order of window_attention(), where the query stands
/// to the key, log-spaced.
Tensor log_spaced_offsets(std::int64_t window, Device device);

enum class Heads { own, all };

/// Names of transformers' Swinv2Attention. Query, key and value are one product; the key has no bias (a hole). The ranks of the tensor axis
/// share out the heads; some may have none.
class WindowAttention {
 public:
  WindowAttention(std::int64_t width, std::int64_t heads, WindowSettings windows, Bias qkv_bias, double dropout, double deviation,
                  const Mesh& mesh);

  const WindowSettings& windows() const { return windows_; }
  DType dtype() const { return qkv_weight_.value.dtype(); }
  Device device() const { return qkv_weight_.value.device(); }
  /// What position_biases() computes the layer's biases of. All heads: collective over the tensor axis.
  PositionBiasMlp bias_mlp(Heads heads = Heads::own) const;
  Range own_heads() const { return heads_; }
  /// tokens (batch, y, x, width) that this rank owns of the level; position_bias (own heads, offsets). Whole windows come together, each on
  /// one rank; zeros fill up the last ones and take part as keys, as in the reference. Returns the rank's addend for its own tokens: the
  /// sum over the tensor axis is the layer's output.
  Tensor operator()(const Tensor& tokens, const WindowLevel& level, const Tensor& position_bias, const Pass& pass) const;
  /// The norm of the layer's output, where a rank has all heads.
  CarriedSum operator()(const Tensor& tokens, const WindowLevel& level, const Tensor& position_bias, const Pass& pass,
                        const NormEnding& ending) const;
  /// Multiply-adds counted twice, for one sample on a grid of rows x columns.
  double flops(std::int64_t rows, std::int64_t columns) const;

  static void visit(auto& self, auto& v) {
    v("self.logit_scale", self.logit_scale_);
    v("self.continuous_position_bias_mlp.0", self.bias_up_);
    v("self.continuous_position_bias_mlp.2", self.bias_down_);
    v("self", self.qkv_weight_);
    if (self.qkv_bias_) v("self", *self.qkv_bias_);
    v("output.dense", self.output_);
  }

 private:
  std::int64_t padded(std::int64_t tokens) const { return (tokens + windows_.window - 1) / windows_.window * windows_.window; }
  /// (batch, y, x, own features) of the own tokens.
  Tensor attended(const Tensor& tokens, const WindowLevel& level, const Tensor& position_bias, const Pass& pass) const;
  /// The same of whole windows.
  Tensor attend(const Tensor& tokens, const WindowLevel& level, const WindowPart& part, const Tensor& position_bias,
                const Pass& pass) const;

  Mesh mesh_;
  std::int64_t width_, head_size_;
  Range heads_;  // of this rank
  WindowSettings windows_;
  double dropout_;
  Parameter logit_scale_;              // (own heads, 1, 1)
  Linear bias_up_, bias_down_;         // offsets -> hidden -> own heads
  Parameter qkv_weight_;               // (3 own features, width)
  std::optional<Parameter> qkv_bias_;  // (3 own features,)
  Linear output_;                      // own features -> width
};

}  // namespace trident
