/// A whole model in one screen, which docs/adding_a_model.md reads line by line: a residual convolutional network that trains on every
/// mesh.
#pragma once

#include <utility>
#include <vector>

#include "models/layers/channel_mlp.h"
#include "models/layers/field_place.h"
#include "models/model.h"
#include "runtime/autograd/tape.h"
#include "runtime/ops/convolution.h"
#include "runtime/ops/elementwise.h"

namespace trident::testing {

struct ConvNetConfig {
  int in_channels = 1, out_channels = 1;
  int width = 8;  // channels inside
  int depth = 2;  // blocks
  static void visit(auto& self, auto& v) {
    v("in_channels", self.in_channels), v("out_channels", self.out_channels), v("width", self.width), v("depth", self.depth);
  }
};

/// x + mlp(gelu(3x3(x))), with zeros around the field.
struct ConvBlock {
  Parameter weight;  // (width, width, 3, 3)
  Parameter bias;    // (width,)
  ChannelMlp mlp;    // width -> 2 width -> width, shared out over the tensor axis

  ConvBlock(std::int64_t width, const Mesh& mesh)
      : weight(whole_parameter({width, width, 3, 3}, torch_init(9 * width))),
        bias(whole_parameter({width}, torch_init(9 * width))),
        mlp(width, 2 * width, width, NonLinearity::gelu, mesh) {}

  Tensor operator()(const Tensor& x, const FieldPlace& place, const Pass& pass) const {
    const Tensor wide = place.with_margin(x, 1, 1);
    return mlp(gelu(conv2d(wide, weight.in(x.dtype()), bias.in(x.dtype()), 0)), place, pass, {.addend = x});
  }

  static void visit(auto& self, auto& v) { v("conv.weight", self.weight), v("conv.bias", self.bias), v("mlp", self.mlp); }
};

class ConvNet final : public ModelInterface {
 public:
  ConvNet(const ConvNetConfig& config, const Mesh& mesh)
      : config_(config), domain_(mesh), lifting_(config.in_channels, config.width), projection_(config.width, config.out_channels) {
    for (int i = 0; i < config.depth; ++i) blocks_.emplace_back(config.width, mesh);
  }

  void visit(const ParameterVisitor& visitor) override { walk(*this, visitor); }
  Prepared prepare() const override { return {}; }
  Tensor call(const Fields& fields, const Prepared&, const Pass& pass, std::vector<Tensor>* hidden) const override {
    const FieldPlace place(domain_, {fields.ny, fields.nx});
    Tensor x = lifting_(cast(fields.input, pass.precision));
    for (const ConvBlock& block : blocks_) {
      const auto run = [&block, x, place, pass] { return block(x, place, pass); };
      x = pass.recompute == Recompute::blocks ? recompute(run) : run();
      if (hidden != nullptr) hidden->push_back(x);
    }
    return cast(projection_(x), parameter_type(pass.precision));
  }

  ConfigValue config() const override {
    ConfigValue document = write_config(config_);
    document.set("type", type());
    return document;
  }
  std::string type() const override { return "conv_net"; }
  int num_channels() const override { return config_.in_channels; }
  int num_out_channels() const override { return config_.out_channels; }
  int num_dims() const override { return 2; }
  Rectangle rectangle(std::int64_t ny, std::int64_t nx) const override { return domain_.rectangle(ny, nx); }
  std::vector<std::int64_t> output_extents(const std::vector<std::int64_t>& extents) const override { return extents; }
  bool uses_time() const override { return false; }
  LossDescription loss() const override { return {.p = 2, .groups = {{0, config_.out_channels}}}; }
  double forward_flops(std::int64_t batch, const std::vector<std::int64_t>& extents) const override {
    if (extents.size() != 2) return 0.0;
    const double width = config_.width, ends = 2.0 * width * (config_.in_channels + config_.out_channels),
                 block = (18.0 + 8.0) * width * width;
    return static_cast<double>(batch * extents[0] * extents[1]) * (ends + config_.depth * block);
  }

  static void visit(auto& self, auto& v) { v("lifting", self.lifting_), v("blocks", self.blocks_), v("projection", self.projection_); }

 private:
  ConvNetConfig config_;
  Domain domain_;
  PointwiseLinear lifting_, projection_;
  std::vector<ConvBlock> blocks_;
};

}  // namespace trident::testing
