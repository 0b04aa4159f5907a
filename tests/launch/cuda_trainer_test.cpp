/// The device never changes the result: the same steps on a GPU as on the CPU, launched one after the other or captured as a graph.
#include <gtest/gtest.h>

#include "launch/trainer/trainer.h"
#include "models/captured_model.h"
#include "models/prediction.h"
#include "runtime/autograd/tape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::kGpu;
using testing::random_tensor;

constexpr const char* kScot =
    R"({type: scot, image_size: 16, patch_size: 2, num_channels: 3, num_out_channels: 2, embed_dim: 8, depths: [2, 1], num_heads: [2, 2],
  skip_connections: [1, 0], window_size: 4, drop_path_rate: 0.0, use_conditioning: true, channel_slice_list_normalized_loss: [0, 1, 2]})";
// Every kind of dropout, whose random numbers differ from step to step.
constexpr const char* kRandomScot =
    R"({type: scot, image_size: 16, patch_size: 2, num_channels: 3, num_out_channels: 2, embed_dim: 8, depths: [1, 1], num_heads: [2, 2],
  skip_connections: [0, 0], window_size: 4, drop_path_rate: 0.5, hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.2,
  use_conditioning: true, channel_slice_list_normalized_loss: [0, 1, 2]})";
constexpr const char* kResNetScot =
    R"({type: scot, image_size: 16, patch_size: 2, num_channels: 3, num_out_channels: 2, embed_dim: 8, depths: [1, 1], num_heads: [2, 2],
  skip_connections: [1, 0], residual_model: resnet, window_size: 4, use_conditioning: true, channel_slice_list_normalized_loss: [0, 1, 2]})";
constexpr const char* kMgTfno =
    R"({type: mg_tfno, n_modes: [4, 4], in_channels: 3, out_channels: 2, hidden_channels: 6, n_layers: 2, levels: 1, padding_fraction: 0.25})";
constexpr const char* kTfno =
    R"({type: tfno, n_modes: [4, 4], in_channels: 3, out_channels: 2, hidden_channels: 6, n_layers: 2, rank: 0.3})";
constexpr const char* kFno = R"({type: fno, n_modes: [4, 4], in_channels: 3, out_channels: 2, hidden_channels: 6, n_layers: 2})";

struct Setting {
  const char* name;
  const char* model;
  DType dtype;
  int micro_batches;
  bool activation_checkpointing;
};

Tensor fields(const Shape& shape, std::uint64_t seed, DType dtype, Device device) {
  const Tensor result = empty(shape, dtype, device);
  copy_into(result, random_tensor(shape, seed));
  return result;
}

/// The third batch is smaller, as the last one of an epoch.
GlobalBatch batch_of(const Setting& setting, bool has_time, std::uint64_t step, Device device) {
  const std::int64_t samples = step == 2 ? 1 : 2;
  GlobalBatch batch;
  for (int part = 0; part < setting.micro_batches; ++part) {
    const std::uint64_t seed = 10 * step + 3 * static_cast<std::uint64_t>(part);
    MicroBatch micro;
    micro.first_sample = batch.size;
    micro.fields = {.input = fields({samples, 3, 16, 16}, seed, setting.dtype, device),
                    .time = has_time ? fields({samples}, seed + 1, setting.dtype, device) : Tensor{},
                    .pixel_mask = {},
                    .label = fields({samples, 2, 16, 16}, seed + 2, setting.dtype, device)};
    batch.micro_batches.push_back(std::move(micro));
    batch.size += samples;
  }
  return batch;
}

struct Outcome {
  std::vector<double> losses, norms;
  Tensor values;                // on the host
  std::vector<Tensor> buffers;  // on the host: running statistics
  bool is_captured = false;
};

Outcome train(const Setting& setting, Device device, bool cuda_graphs = true) {
  const Mesh mesh;
  const Model model = describe_model(parse_yaml(setting.model, "model"), mesh);
  TrainingConfig config;
  config.precision = setting.dtype == DType::f64 ? Precision::f64 : Precision::f32;
  config.weight_decay = 0.1;
  config.max_grad_norm = 0.5;
  config.activation_checkpointing = setting.activation_checkpointing;
  config.cuda_graphs = cuda_graphs;
  Trainer trainer(model, materialize(model, setting.dtype, Use::training, RandomKey(4), {}, device), config, {}, 10, 4, mesh);
  Outcome outcome;
  for (int step = 0; step < 4; ++step) {
    const StepResult result = trainer.step(batch_of(setting, model->uses_time(), static_cast<std::uint64_t>(step), device), step);
    outcome.losses.push_back(result.loss);
    outcome.norms.push_back(result.grad_norm);
  }
  outcome.values = to_device(trainer.parameters().values(), Device{});
  for (const auto& buffer : trainer.parameters().buffers()) outcome.buffers.push_back(to_device(buffer.value, Device{}));
  outcome.is_captured = trainer.captured().graph != nullptr;
  EXPECT_EQ(trainer.captured().refusal, "");
  return outcome;
}

class OnBothDevices : public testing::OnGpu, public ::testing::WithParamInterface<Setting> {};

TEST_P(OnBothDevices, TrainingIsTheSameAndGraphsChangeNoBit) {
  const Setting& setting = GetParam();
  const double tolerance = setting.dtype == DType::f64 ? 1e-10 : 1e-4;
  const Outcome here = train(setting, Device{}), there = train(setting, kGpu);
  for (std::size_t step = 0; step < here.losses.size(); ++step) {
    EXPECT_NEAR(there.losses[step], here.losses[step], tolerance * here.losses[step]) << step;
    EXPECT_NEAR(there.norms[step], here.norms[step], tolerance * here.norms[step]) << step;
  }
  EXPECT_TENSOR_NEAR(there.values, here.values, tolerance);
  // Means are small beside the numbers that they are sums of.
  for (std::size_t i = 0; i < here.buffers.size(); ++i) EXPECT_TENSOR_NEAR(there.buffers[i], here.buffers[i], 1e3 * tolerance);
  EXPECT_TRUE(there.is_captured);
  const Outcome apart = train(setting, kGpu, false);
  EXPECT_FALSE(apart.is_captured);
  EXPECT_EQ(there.losses, apart.losses);
  EXPECT_EQ(there.norms, apart.norms);
  EXPECT_TENSOR_NEAR(there.values, apart.values, 0.0);
  for (std::size_t i = 0; i < apart.buffers.size(); ++i) EXPECT_TENSOR_NEAR(there.buffers[i], apart.buffers[i], 0.0);
}

INSTANTIATE_TEST_SUITE_P(Models, OnBothDevices,
                         ::testing::Values(Setting{"scot", kScot, DType::f64, 2, true}, Setting{"random", kRandomScot, DType::f32, 1, true},
                                           Setting{"running_statistics", kResNetScot, DType::f64, 1, false},
                                           Setting{"fno", kFno, DType::f64, 2, false}, Setting{"tfno", kTfno, DType::f64, 1, false},
                                           Setting{"mg_tfno", kMgTfno, DType::f64, 1, false}),
                         [](const auto& info) { return info.param.name; });

class CudaTrainer : public testing::OnGpu {};

TEST_F(CudaTrainer, AStepThatIsNotFiniteLeavesTheWeights) {
  const Setting setting{"scot", kScot, DType::f32, 1, false};
  const Model model = describe_model(parse_yaml(kScot, "model"), Mesh());
  Trainer trainer(model, materialize(model, DType::f32, Use::training, RandomKey(4), {}, kGpu), TrainingConfig{}, {}, 10, 4, Mesh());
  const Tensor before = to_device(trainer.parameters().values(), Device{});
  GlobalBatch batch = batch_of(setting, true, 0, kGpu);
  copy_into(batch.micro_batches[0].fields.input, full({2, 3, 16, 16}, std::numeric_limits<double>::infinity(), DType::f32));
  // The next step is launched before anybody has seen the numbers.
  LaunchedStep bad = trainer.launch(batch, 0), next = trainer.launch(batch_of(setting, true, 1, kGpu), 1);
  EXPECT_TENSOR_NEAR(to_device(trainer.parameters().values(), Device{}), before, 0.0);
  EXPECT_THROW(trainer.finish(bad), Error);
  EXPECT_TENSOR_NEAR(to_device(trainer.parameters().values(), Device{}), before, 0.0);
}

TEST_F(CudaTrainer, PredictsTheSameCapturedOrNot) {
  for (const char* text : {kScot, kMgTfno}) {
    const Model model = describe_model(parse_yaml(text, "model"), Mesh());
    materialize(model, DType::f32, Use::inference, RandomKey(4), {}, kGpu);
    const Prepared prepared = model->prepare();
    const Model together = captured(model, Mesh(), kGpu);
    const Recording off(false);
    for (const std::uint64_t seed : {1, 2, 3, 4}) {
      PredictionRequest request;
      request.input = fields({2, 3, 16, 16}, seed, DType::f32, Device{});
      if (model->uses_time()) request.time = full({2}, 0.1 * static_cast<double>(seed), DType::f32);
      const Tensor expected = predict(model, prepared, request, nullptr, {DType::f32, kGpu});
      EXPECT_TENSOR_NEAR(predict(together, prepared, request, nullptr, {DType::f32, kGpu}), expected, 0.0);
    }
  }
}

TEST_F(CudaTrainer, PredictsWhatTheCpuPredicts) {
  const Model here = describe_model(parse_yaml(kFno, "model"), Mesh()), there = describe_model(parse_yaml(kFno, "model"), Mesh());
  materialize(here, DType::f64, Use::inference, RandomKey(4));
  materialize(there, DType::f64, Use::inference, RandomKey(4), {}, kGpu);
  PredictionRequest request;
  request.input = random_tensor({2, 3, 16, 16}, 1);
  const Tensor expected = predict(here, here->prepare(), request, nullptr, DType::f64);
  EXPECT_TENSOR_NEAR(predict(there, there->prepare(), request, nullptr, {DType::f64, kGpu}), expected, 1e-11);
}

}  // namespace
}  // namespace trident
