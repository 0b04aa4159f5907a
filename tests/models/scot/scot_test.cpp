#include "models/scot/scot.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/losses.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/models/support.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::make_model, testing::pass_of, testing::random_tensor, testing::section, testing::SmallModel, testing::small_config;

Fields small_fields(std::int64_t batch) {
  return {.input = random_tensor({batch, 2, 16, 16}, 1),
          .time = random_tensor({batch}, 2),
          .pixel_mask = {},
          .label = random_tensor({batch, 2, 16, 16}, 3)};
}

ScotConfig poseidon(int embed_dim, int depth) {
  ScotConfig config;
  config.image_size = 128, config.num_channels = 4, config.num_out_channels = 4, config.embed_dim = embed_dim;
  config.depths = {depth, depth, depth, depth}, config.skip_connections = {2, 2, 2, 0};
  config.window_size = 16, config.use_conditioning = true;
  return config;
}

TEST(Scot, PublishedSizesAreDescribedWithoutMemory) {
  struct Size {
    int embed_dim, depth;
    std::int64_t parameters;
    double gflops;
  };
  for (const Size& size :
       {Size{48, 4, 20774444, 2.8}, Size{48, 8, 39901076, 0.0}, Size{96, 8, 157729988, 18.3}, Size{192, 8, 628575524, 67.9}}) {
    const Model model = describe_model(section(poseidon(size.embed_dim, size.depth)), Mesh());
    std::int64_t parameters = 0;
    for (const Described& tensor : describe([&](const ParameterVisitor& visitor) { model->visit(visitor); }))
      parameters += numel(tensor.shape);
    EXPECT_EQ(parameters, size.parameters);
    if (size.gflops > 0.0) {
      EXPECT_NEAR(model->forward_flops(1, {}) / 1e9, size.gflops, 0.05 * size.gflops);
    }
  }
}

TEST(Scot, InitialValuesFollowTheReference) {
  ScotConfig config = small_config();
  config.use_absolute_embeddings = true;
  const Model model = describe_model(section(config), Mesh());
  const ParameterList parameters = materialize(model, DType::f64, Use::inference, RandomKey(1));
  for (const NamedPiece& piece : parameters.pieces()) {
    const std::vector<double> values = to_host<double>(piece.value);
    if (piece.name.ends_with("logit_scale")) {
      EXPECT_DOUBLE_EQ(values[0], std::log(10.0));
    }
    if (piece.name == "residual_blocks.0.0.weight") {
      EXPECT_EQ(values[0], 1e-6);
    }
    if (piece.name.ends_with("norm.weight.bias") || piece.name.ends_with("query.bias")) {
      EXPECT_EQ(values[0], 0.0);
    }
    if (piece.name == "embeddings.position_embeddings") {
      EXPECT_EQ(values[5], 0.0);
    }
    if (piece.name.ends_with("continuous_position_bias_mlp.0.weight")) {
      double square = 0.0;
      for (const double value : values) square += value * value;
      EXPECT_NEAR(std::sqrt(square / static_cast<double>(values.size())), 0.02, 0.002);
    }
    if (piece.name.starts_with("patch_recovery.projection")) {  // uniform within 1 / sqrt(out channels * patch^2)
      for (const double value : values) EXPECT_LE(std::fabs(value), 1.0 / std::sqrt(8.0));
    }
  }
}

TEST(Scot, GradientOfInputAndTimeIsRight) {
  const SmallModel small = make_model(small_config(), DType::f64, Use::inference);
  const Prepared prepared = small.model->prepare();
  const Tensor rest = random_tensor({1, 2, 16, 16}, 8);
  // A few rows of the input stand for all: finite differences of 512 numbers would take long.
  EXPECT_TRUE(testing::gradcheck(
      [&](const std::vector<Tensor>& v) {
        const Tensor input = concatenate({v[0], slice(rest, 2, 1, 16)}, 2);
        return small.model({.input = input, .time = v[1], .pixel_mask = {}, .label = {}}, prepared, pass_of(DType::f64));
      },
      {random_tensor({1, 2, 1, 16}, 1), random_tensor({1}, 2)}, {.tolerance = 1e-6}));
}

TEST(Scot, RecomputedBlocksGiveTheSameGradients) {
  const SmallModel small = make_model(small_config());
  const Fields fields = small_fields(2);
  const Loss loss(small.model->loss(), 2, LossScope::global, Mesh());
  std::vector<std::vector<double>> gradients;
  for (const Recompute recompute : {Recompute::none, Recompute::blocks}) {
    small.parameters.zero_gradients();
    Pass pass = pass_of(DType::f64);
    pass.recompute = recompute;
    backward(loss.share(small.model(fields, small.model->prepare(), pass), fields.label, loss.totals({&fields.label, 1})));
    gradients.push_back(to_host<double>(small.parameters.gradients()));
  }
  EXPECT_EQ(gradients[0], gradients[1]);
}

TEST(Scot, BatchStatisticsAreUpdatedOnceAStepAlsoWhereBlocksAreRecomputed) {
  ScotConfig config = small_config();
  config.residual_model = "resnet";
  const Fields fields = small_fields(2);
  std::vector<std::vector<double>> means;
  for (const Recompute recompute : {Recompute::none, Recompute::blocks}) {
    const SmallModel small = make_model(config);
    const Loss loss(small.model->loss(), 2, LossScope::global, Mesh());
    Pass pass = pass_of(DType::f64, Mode::train);
    pass.recompute = recompute;
    backward(loss.share(small.model(fields, small.model->prepare(), pass), fields.label, loss.totals({&fields.label, 1})));
    for (const ParameterList::NamedBuffer& buffer : small.parameters.buffers()) {
      if (buffer.name.ends_with("num_batches_tracked")) {
        EXPECT_EQ(to_host<std::int64_t>(buffer.value), std::vector<std::int64_t>{1}) << buffer.name;
      } else if (buffer.name.ends_with("residual_blocks.0.0.bn1.running_mean")) {
        means.push_back(to_host<double>(buffer.value));
      }
    }
  }
  ASSERT_EQ(means.size(), 2U);
  EXPECT_EQ(means[0], means[1]);
}

TEST(Scot, RandomNumbersDependOnTheSampleAndNotOnTheBatch) {
  ScotConfig config = small_config();
  config.drop_path_rate = 0.5, config.hidden_dropout_prob = 0.2, config.attention_probs_dropout_prob = 0.2;
  const SmallModel small = make_model(config, DType::f64, Use::inference);
  const Fields fields = small_fields(4);
  Pass pass = pass_of(DType::f64, Mode::train);
  pass.key = RandomKey(7);
  const Tensor whole = small.model(fields, small.model->prepare(), pass);
  pass.first_sample = 1;
  const Fields last{.input = slice(fields.input, 0, 1, 4), .time = slice(fields.time, 0, 1, 4), .pixel_mask = {}, .label = {}};
  EXPECT_TENSOR_NEAR(small.model(last, small.model->prepare(), pass), contiguous(slice(whole, 0, 1, 4)), 1e-12);
  pass.first_sample = 0;
  const Tensor other = small.model(last, small.model->prepare(), pass);
  EXPECT_NE(to_host<double>(other), to_host<double>(contiguous(slice(whole, 0, 1, 4))));
  pass.mode = Mode::eval;
  EXPECT_NE(to_host<double>(small.model(fields, small.model->prepare(), pass)), to_host<double>(whole));
}

TEST(Scot, MaskedChannelsAndPointsTakeTheLabel) {
  const SmallModel small = make_model(small_config(), DType::f64, Use::inference);
  Fields fields = small_fields(1);
  const bool channels[] = {false, true};
  fields.pixel_mask = from_values<bool>({1, 2}, std::span<const bool>(channels));
  const Tensor by_channel = small.model(fields, small.model->prepare(), pass_of(DType::f64));
  EXPECT_TENSOR_NEAR(contiguous(slice(by_channel, 1, 1, 2)), contiguous(slice(fields.label, 1, 1, 2)), 0.0);
  bool points[256] = {};
  points[17] = true;
  fields.pixel_mask = from_values<bool>({1, 1, 16, 16}, std::span<const bool>(points));
  const Tensor by_point = small.model(fields, small.model->prepare(), pass_of(DType::f64));
  EXPECT_EQ(by_point.data<double>()[17], fields.label.data<double>()[17]);
  EXPECT_EQ(by_point.data<double>()[256 + 17], fields.label.data<double>()[256 + 17]);
  EXPECT_NE(by_point.data<double>()[18], fields.label.data<double>()[18]);
}

TEST(Scot, SaysWhatItExpected) {
  const SmallModel small = make_model(small_config(), DType::f64, Use::inference);
  const auto message = [&](const Fields& fields) -> std::string {
    try {
      small.model(fields, small.model->prepare(), pass_of(DType::f64));
    } catch (const ShapeError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_NE(message({.input = random_tensor({1, 3, 16, 16}, 1), .time = random_tensor({1}, 1), .pixel_mask = {}, .label = {}})
                .find("(batch, 2, n, n)"),
            std::string::npos);
  EXPECT_NE(message({.input = random_tensor({1, 2, 16, 16}, 1), .time = {}, .pixel_mask = {}, .label = {}}).find("time is missing"),
            std::string::npos);
}

}  // namespace
}  // namespace trident
