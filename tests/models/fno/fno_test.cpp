#include "models/fno/fno.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/prediction.h"
#include "models/problem.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/models/support.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::pass_of;
using testing::random_tensor;

testing::SmallModel make(const std::string& keys, const std::string& type = "fno") {
  testing::SmallModel result{describe_model(parse_yaml("{type: " + type + ", hidden_channels: 4, " +
                                                           (keys.find("n_layers") == std::string::npos ? "n_layers: 2, " : "") + keys + "}",
                                                       "run.yaml"),
                                            Mesh()),
                             {}};
  result.parameters = materialize(result.model, DType::f64, Use::training, RandomKey(3));
  return result;
}

Tensor output_of(const testing::SmallModel& small, const Tensor& input, const Pass& pass, const Tensor& time = {}) {
  return small.model({.input = input, .time = time, .pixel_mask = {}, .label = {}}, {}, pass);
}

std::vector<std::string> names_of(const testing::SmallModel& small) {
  std::vector<std::string> names;
  for (const NamedPiece& piece : small.parameters.pieces()) names.push_back(piece.name);
  return names;
}

TEST(Fno, ParametersHaveTheReferencesNamesAndOrder) {
  EXPECT_EQ(names_of(make("n_layers: 1, n_modes: [4], in_channels: 1, out_channels: 1, norm: group_norm")),
            (std::vector<std::string>{"fno_blocks.convs.0.bias",
                                      "fno_blocks.convs.0.weight.tensor",
                                      "fno_blocks.fno_skips.0.conv.weight",
                                      "fno_blocks.channel_mlp.0.fcs.0.weight",
                                      "fno_blocks.channel_mlp.0.fcs.0.bias",
                                      "fno_blocks.channel_mlp.0.fcs.1.weight",
                                      "fno_blocks.channel_mlp.0.fcs.1.bias",
                                      "fno_blocks.channel_mlp_skips.0.weight",
                                      "fno_blocks.norm.0.weight",
                                      "fno_blocks.norm.0.bias",
                                      "fno_blocks.norm.1.weight",
                                      "fno_blocks.norm.1.bias",
                                      "lifting.fcs.0.weight",
                                      "lifting.fcs.0.bias",
                                      "lifting.fcs.1.weight",
                                      "lifting.fcs.1.bias",
                                      "projection.fcs.0.weight",
                                      "projection.fcs.0.bias",
                                      "projection.fcs.1.weight",
                                      "projection.fcs.1.bias"}));
}

TEST(Fno, RecomputedBlocksHaveTheSameGradientsAndRunningStatistics) {
  for (const char* keys : {"n_modes: [4, 4], in_channels: 2, out_channels: 1, norm: group_norm, domain_padding: 0.1",
                           "n_modes: [4, 4], in_channels: 2, out_channels: 1, norm: batch_norm",
                           "n_modes: [4], in_channels: 2, out_channels: 1, complex_data: true"}) {
    std::vector<Tensor> gradients;
    std::vector<std::vector<double>> buffers(2);
    for (const Recompute recompute : {Recompute::none, Recompute::blocks}) {
      const testing::SmallModel small = make(keys);
      Pass pass = pass_of(DType::f64, Mode::train);
      pass.recompute = recompute;
      const bool one = small.model->num_dims() == 1;
      const Tensor field = one ? complex(random_tensor({2, 2, 8}, 1), random_tensor({2, 2, 8}, 2)) : random_tensor({2, 2, 8, 6}, 1);
      const Tensor y = output_of(small, field, pass);
      backward(sum(one ? real(y) * imag(y) : y * y));
      gradients.push_back(small.parameters.gradients());
      for (const auto& buffer : small.parameters.buffers()) {
        if (buffer.value.dtype() != DType::f64) continue;
        for (const double number : to_host<double>(buffer.value)) buffers[gradients.size() - 1].push_back(number);
      }
    }
    EXPECT_TENSOR_NEAR(gradients[0], gradients[1], 1e-13);
    EXPECT_EQ(buffers[0], buffers[1]);
  }
}

TEST(Fno, TheLeadTimeOfASampleReachesItsOwnOutputAlone) {
  const testing::SmallModel small = make("n_modes: [4], in_channels: 1, out_channels: 1, norm: ada_in");
  EXPECT_TRUE(small.model->uses_time());
  const Tensor line = random_tensor({1, 1, 8}, 1), both = empty({2, 1, 8}, DType::f64);
  copy_into(view::slice(both, 0, 0, 1), line), copy_into(view::slice(both, 0, 1, 2), line);
  const auto times = [](double a, double b) { return from_values<double>({2}, std::vector<double>{a, b}); };
  const Tensor first = output_of(small, both, pass_of(DType::f64), times(0.5, 0.5)).detached(),
               second = output_of(small, both, pass_of(DType::f64), times(0.5, 0.9)).detached();
  EXPECT_TENSOR_NEAR(packed(view::slice(first, 0, 0, 1)), packed(view::slice(second, 0, 0, 1)), 1e-15);
  const std::vector<double> before = to_host<double>(first), after = to_host<double>(second);
  EXPECT_GT(std::abs(before[8] - after[8]), 1e-6);
  EXPECT_THROW(output_of(small, both, pass_of(DType::f64)), ShapeError);
}

/// Where they are large, all pointwise maps of a block are one pass.
TEST(Fno, ALargeBatchGivesWhatItsSamplesGive) {
  const testing::SmallModel small = make("n_modes: [4, 4], in_channels: 1, out_channels: 1");
  const std::int64_t samples = 4;  // of which one's hidden numbers take 1 MiB
  const Tensor x = random_tensor({samples, 1, 256, 256}, 1);
  const auto run = [&](const std::vector<Tensor>& batches) {
    small.parameters.zero_gradients();
    std::vector<Tensor> outputs;
    for (const Tensor& batch : batches) {
      const Tensor y = output_of(small, batch, pass_of(DType::f64, Mode::train));
      backward(affine(sum(y * y), 1.0 / static_cast<double>(x.numel())));
      outputs.push_back(y.detached());
    }
    return std::pair{concatenate(outputs, 0), affine(small.parameters.gradients(), 1.0)};
  };
  std::vector<Tensor> apart;
  for (std::int64_t i = 0; i < samples; ++i) apart.push_back(packed(view::slice(x, 0, i, i + 1)));
  const auto [y, gradients] = run({x});
  const auto [expected_y, expected] = run(apart);
  EXPECT_TENSOR_NEAR(y, expected_y, 1e-12);
  EXPECT_TENSOR_NEAR(gradients, expected, 1e-12);
}

TEST(Fno, OutputExtentsAreThoseOfTheOutput) {
  for (const char* keys :
       {"n_modes: [4, 3], in_channels: 1, out_channels: 1, resolution_scaling_factor: [2, 0.5], domain_padding: 0.25",
        "n_modes: [4, 3], in_channels: 1, out_channels: 1, resolution_scaling_factor: [[1, 2], [0.5, 1]]",
        "n_modes: [4, 3], in_channels: 1, out_channels: 1, domain_padding: [0.1, 0.3], domain_padding_mode: one-sided"}) {
    const testing::SmallModel small = make(keys);
    const Tensor y = output_of(small, random_tensor({1, 1, 8, 10}, 1), pass_of(DType::f64));
    EXPECT_EQ(small.model->output_extents({8, 10}), std::vector<std::int64_t>({y.size(2), y.size(3)})) << keys;
  }
}

TEST(Fno, PredictsComplexFieldsAsNumbersAndAsPairs) {
  const testing::SmallModel small = make("n_modes: [4], in_channels: 1, out_channels: 1, complex_data: true");
  const Tensor field = complex(random_tensor({2, 1, 8}, 1), random_tensor({2, 1, 8}, 2));
  PredictionRequest request;
  request.input = field;
  const Tensor answer = predict(small.model, {}, request, nullptr, DType::f64);
  EXPECT_EQ(answer.dtype(), DType::c128);
  EXPECT_EQ(answer.shape(), (Shape{2, 1, 8}));
  request.input = view::as_real(field);
  const Tensor pairs = predict(small.model, {}, request, nullptr, DType::f64);
  EXPECT_EQ(pairs.shape(), (Shape{2, 1, 8, 2}));
  EXPECT_TENSOR_NEAR(pairs, packed(view::as_real(answer)), 0);
  request.steps = 3;
  EXPECT_EQ(predict(small.model, {}, request, nullptr, DType::f64).shape(), (Shape{2, 3, 1, 8, 2}));
}

TEST(Fno, SaysWhatItExpected) {
  const testing::SmallModel small = make("n_modes: [4, 4], in_channels: 2, out_channels: 1");
  const Pass pass = pass_of(DType::f64);
  EXPECT_THROW(output_of(small, random_tensor({1, 2, 8}, 1), pass), ShapeError);
  EXPECT_THROW(output_of(small, random_tensor({1, 3, 8, 8}, 1), pass), ShapeError);
  EXPECT_THROW(output_of(small, complex(random_tensor({1, 2, 8, 8}, 1), random_tensor({1, 2, 8, 8}, 2)), pass), ShapeError);
  const testing::SmallModel shrinking = make("n_modes: [2, 2], in_channels: 1, out_channels: 1, resolution_scaling_factor: 0.1");
  EXPECT_THROW(output_of(shrinking, random_tensor({1, 1, 4, 4}, 1), pass), ShapeError);
  EXPECT_THROW(describe_model(parse_yaml("{type: fmo}", "run.yaml"), Mesh()), ConfigError);
}

}  // namespace
}  // namespace trident
