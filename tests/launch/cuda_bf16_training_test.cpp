/// Training and predicting in bf16 on a GPU: near f32, from values of f32.
#include <gtest/gtest.h>

#include <array>

#include "launch/trainer/trainer.h"
#include "models/prediction.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/view.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::kGpu;
using testing::random_tensor;

// Small, as 20 steps take their time on the emulated device: 4x4 tokens.
constexpr const char* kTinyScot =
    R"({type: scot, image_size: 8, patch_size: 2, num_channels: 3, num_out_channels: 2, embed_dim: 8, depths: [1, 1], num_heads: [2, 2],
  skip_connections: [1, 0], window_size: 2, drop_path_rate: 0.0, use_conditioning: true, channel_slice_list_normalized_loss: [0, 1, 2]})";
constexpr const char* kTinyFno =
    R"({type: fno, n_modes: [4, 4], in_channels: 3, out_channels: 2, hidden_channels: 6, n_layers: 2, norm: group_norm})";
constexpr const char* kTinyTfno =
    R"({type: tfno, n_modes: [4, 4], in_channels: 3, out_channels: 2, hidden_channels: 6, n_layers: 2, rank: 0.5})";
constexpr const char* kTinyMgTfno =
    R"({type: mg_tfno, n_modes: [4, 4], in_channels: 3, out_channels: 2, hidden_channels: 6, n_layers: 2, levels: 1, padding_fraction: 0.25})";

class InBf16 : public testing::OnGpu, public ::testing::WithParamInterface<const char*> {
 protected:
  /// Two channels of the input are wanted back.
  static GlobalBatch batch(const Model& model) {
    const Tensor input = to_device(random_tensor({2, 3, 8, 8}, 1, DType::f32), kGpu);
    MicroBatch micro;
    micro.fields = {.input = input,
                    .time = model->uses_time() ? to_device(random_tensor({2}, 2, DType::f32), kGpu) : Tensor{},
                    .pixel_mask = {},
                    .label = packed(view::slice(input, 1, 0, 2))};
    return {.micro_batches = {micro}, .size = 2};
  }

  struct Run {
    std::vector<double> losses;
    Tensor values, rounded;  // on the host, f32
  };
  static Run train(DType dtype, int steps, bool activation_checkpointing) {
    const Model model = describe_model(parse_yaml(GetParam(), "model"), Mesh());
    TrainingConfig config;
    config.precision = dtype == DType::bf16 ? Precision::bf16 : Precision::f32;
    config.learning_rate = 1e-2;
    config.activation_checkpointing = activation_checkpointing;
    Trainer trainer(model, materialize(model, dtype, Use::training, RandomKey(4), {}, kGpu), config, {}, 20, 4, Mesh());
    Run run;
    for (int step = 0; step < steps; ++step) run.losses.push_back(trainer.step(batch(model), step).loss);
    run.values = to_device(trainer.parameters().values(), {});
    const Tensor& rounded = trainer.parameters().rounded();
    if (rounded.defined()) run.rounded = to_device(cast(rounded, DType::f32), {});
    return run;
  }
};

TEST_P(InBf16, ACurveStaysWithinAHundredth) {
  const Run expected = train(DType::f32, 20, false), actual = train(DType::bf16, 20, false);
  EXPECT_LT(expected.losses.back(), 0.95 * expected.losses.front());
  EXPECT_NE(actual.losses, expected.losses);
  for (std::size_t step = 0; step < 20; ++step)
    EXPECT_NEAR(actual.losses[step], expected.losses[step], 0.01 * expected.losses[step]) << step;
}

TEST_P(InBf16, TheOptimiserKeepsF32ValuesAndTheirRoundedCopies) {
  const Run run = train(DType::bf16, 2, false);
  EXPECT_EQ(run.values.dtype(), DType::f32);
  EXPECT_TENSOR_NEAR(run.rounded, cast(cast(run.values, DType::bf16), DType::f32), 0.0);
}

TEST_P(InBf16, BlocksThatRunAgainChangeNothing) {
  EXPECT_TENSOR_NEAR(train(DType::bf16, 2, true).values, train(DType::bf16, 2, false).values, 0.0);
}

TEST_P(InBf16, APredictionIsThatOfF32) {
  const auto prediction_in = [](DType precision) {
    const Model model = describe_model(parse_yaml(GetParam(), "model"), Mesh());
    materialize(model, precision, Use::inference, RandomKey(4), {}, kGpu);
    PredictionRequest request;
    request.input = random_tensor({2, 3, 8, 8}, 1, DType::f32);
    if (model->uses_time()) request.time = random_tensor({2}, 2, DType::f32);
    return predict(model, model->prepare(), request, nullptr, {precision, kGpu});
  };
  const Tensor expected = prediction_in(DType::f32), actual = prediction_in(DType::bf16);
  EXPECT_EQ(actual.dtype(), DType::f32);
  EXPECT_TENSOR_NEAR(actual, expected, 2e-2);
}

std::string name_of_model(const ::testing::TestParamInfo<const char*>& info) {
  constexpr std::array kNames{"scot", "fno", "tfno", "mg_tfno"};
  return kNames[info.index];
}
INSTANTIATE_TEST_SUITE_P(Models, InBf16, ::testing::Values(kTinyScot, kTinyFno, kTinyTfno, kTinyMgTfno), name_of_model);

}  // namespace
}  // namespace trident
