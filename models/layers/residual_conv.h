/// Convolutional blocks on the skip connections. Tokens (batch, y, x, width) in and out.
#pragma once

#include <variant>

#include "models/layers/linear.h"
#include "models/layers/norm.h"

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
  Tensor operator()(const Tensor& x, const Tensor& time) const;
  double flops(std::int64_t tokens) const;

  static void visit(auto& self, auto& v) {
    v("weight", self.scale), v("dwconv.weight", self.conv_weight), v("dwconv.bias", self.conv_bias), v("norm", self.norm);
    v("pwconv1", self.up), v("pwconv2", self.down);
  }
};

/// Batch normalisation of fields (batch, channel, y, x), with running statistics as torch.nn.BatchNorm2d keeps them.
struct BatchNorm {
  Parameter weight, bias;                                // (channels,)
  Buffer running_mean, running_var, num_batches_tracked;
  Mesh mesh;  // training needs the whole batch on one rank: others' samples would change the statistics

  BatchNorm(std::int64_t channels, const Mesh& mesh);
  /// In training the running statistics are updated. Throws ConfigError there if ranks share the batch.
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

  ResNetBlock(std::int64_t width, const Mesh& mesh, double deviation);
  Tensor operator()(const Tensor& x, Mode mode) const;
  double flops(std::int64_t tokens) const;

  static void visit(auto& self, auto& v) {
    v("conv1.weight", self.conv1_weight), v("conv1.bias", self.conv1_bias), v("conv2.weight", self.conv2_weight);
    v("conv2.bias", self.conv2_bias), v("bn1", self.norm1), v("bn2", self.norm2);
  }
};

struct ResidualBlock {
  std::variant<ConvNextBlock, ResNetBlock> block;

  Tensor operator()(const Tensor& x, const Tensor& time, const Pass& pass) const;
  double flops(std::int64_t tokens) const;

  static void visit(auto& self, auto& v) {
    std::visit([&](auto& block) { v("", block); }, self.block);
  }
};

}  // namespace trident
