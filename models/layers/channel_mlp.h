/// Layers on the channels of every point, channels before space: names and layouts of neuraloperator.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "models/layers/field_place.h"
#include "models/layers/nonlinearity.h"
#include "models/module.h"
#include "parallel/tensor_parallel.h"
#include "runtime/ops/channel_mix.h"

namespace trident {

/// What follows a linear map of channels: activation(map + gate * addend). Tensors may be undefined.
struct Ending {
  Tensor addend{};  // (batch, out, space...)
  Tensor gate{};    // one number per channel
  std::optional<NonLinearity> activation{};
};

/// Names and initial values of torch.nn.Conv1d with a kernel of one point.
struct PointwiseLinear {
  Parameter weight;  // (out, in, 1)
  Parameter bias;    // (out,)

  PointwiseLinear(std::int64_t in, std::int64_t out);
  /// The same layer shared out over the tensor axis: this rank holds the rows `own` of the weight and of the bias, or the columns `own` of
  /// the weight and the whole bias.
  PointwiseLinear(std::int64_t in, std::int64_t out, SplitAlong along, Range own, const Mesh& mesh);
  Tensor operator()(const Tensor& x, const Ending& ending = {}) const;

  static void visit(auto& self, auto& v) { v("weight", self.weight), v("bias", self.bias); }
};

/// Linear maps with a function, and dropout, between them. The ranks of the tensor axis share out the hidden channels, and add up what they
/// make of them; with dropout, or without hidden channels, each computes all.
struct ChannelMlp {
  std::vector<PointwiseLinear> fcs;
  NonLinearity non_linearity;
  double dropout;
  Mesh mesh;

  /// Two layers; one if `hidden` is 0.
  ChannelMlp(std::int64_t in, std::int64_t hidden, std::int64_t out, NonLinearity non_linearity, const Mesh& mesh, double dropout = 0.0);
  /// `before`: a map with a GELU that comes first.
  Tensor operator()(const Tensor& x, const FieldPlace& place, const Pass& pass, const Ending& ending = {},
                    const std::optional<Mix>& before = {}) const;
  double flops() const;  // of one point

  static void visit(auto& self, auto& v) { v("fcs", self.fcs); }

 private:
  bool is_shared_out() const { return mesh.size(Axis::tensor) > 1 && dropout == 0.0 && fcs.size() > 1; }
};

/// (1, channels, 1, ...) of `rank` dimensions: one number per channel that repeats over samples and points.
Shape per_channel(int rank, std::int64_t channels);

/// Initial values of torch's linear and convolutional layers: uniform within 1 / sqrt(numbers that enter one output).
Init torch_init(std::int64_t fan_in);

/// activation(weight x + bias + gate addend), fused as far as the activation allows.
Tensor mix_channels(const Tensor& x, const Tensor& weight, const Tensor& bias, const Ending& ending);

}  // namespace trident
