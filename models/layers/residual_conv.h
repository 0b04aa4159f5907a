/// Convolutional blocks on the skip connections. From and to this rank's tokens (batch, y, x, width) of a level; the tokens around them
/// come from their owners.
#pragma once

#include <variant>

#include "models/layers/linear.h"
#include "models/layers/norm.h"
#include "parallel/domain.h"

namespace trident {

/// x + scale * mlp(norm(depthwise 7x7(x))). Names of the reference's ConvNeXtBlock.
struct ConvNextBlock {
  Parameter scale;        // (width,)
  Parameter conv_weight;  // (width, 1, 7, 7)
  Parameter conv_bias;    // (width,)
  Norm norm;
  Linear up, down;  // width -> 4 width -> width, shared out over the tensor axis
  Mesh mesh;

  ConvNextBlock(std::int64_t width, Conditioning conditioning, double eps, double deviation, const Mesh& mesh);
  static constexpr std::int64_t kReach = 3;  // tokens around a token that it sees
  Tensor operator()(const Tensor& x, const WindowLevel& level, const Tensor& time) const;
  double flops(std::int64_t tokens) const;

  static void visit(auto& self, auto& v) {
    v("weight", self.scale), v("dwconv.weight", self.conv_weight), v("dwconv.bias", self.conv_bias), v("norm", self.norm);
    v("pwconv1", self.up), v("pwconv2", self.down);
  }
};

/// Batch normalisation of fields (batch, channel, y, x), with running statistics as torch.nn.BatchNorm2d keeps them.
struct BatchNorm {
  Parameter weight, bias;  // (channels,)
  Buffer running_mean, running_var, num_batches_tracked;
  Mesh mesh;

  BatchNorm(std::int64_t channels, const Mesh& mesh);
  /// In training, statistics are those of the whole batch of all ranks, and the running ones are updated.
  Tensor operator()(const Tensor& x, Mode mode) const;

  static void visit(auto& self, auto& v) {
    v("weight", self.weight), v("bias", self.bias), v("running_mean", self.running_mean), v("running_var", self.running_var);
    v("num_batches_tracked", self.num_batches_tracked);
  }
};

/// x + norm(3x3(leaky relu(norm(3x3(x))))). Names of the reference's ResNetBlock.
struct ResNetBlock {
  Parameter conv1_weight, conv1_bias, conv2_weight, conv2_bias;  // (width, width, 3, 3) and (width,)
  BatchNorm norm1, norm2;
  Mesh mesh;

  ResNetBlock(std::int64_t width, const Mesh& mesh, double deviation);
  static constexpr std::int64_t kReach = 1;  // tokens around a token that each of its convolutions sees
  Tensor operator()(const Tensor& x, const WindowLevel& level, Mode mode) const;
  double flops(std::int64_t tokens) const;

  static void visit(auto& self, auto& v) {
    v("conv1.weight", self.conv1_weight), v("conv1.bias", self.conv1_bias), v("conv2.weight", self.conv2_weight);
    v("conv2.bias", self.conv2_bias), v("bn1", self.norm1), v("bn2", self.norm2);
  }
};

struct ResidualBlock {
  std::variant<ConvNextBlock, ResNetBlock> block;

  Tensor operator()(const Tensor& x, const WindowLevel& level, const Tensor& time, const Pass& pass) const;
  double flops(std::int64_t tokens) const;

  static void visit(auto& self, auto& v) {
    std::visit([&](auto& block) { v("", block); }, self.block);
  }
};

}  // namespace trident
