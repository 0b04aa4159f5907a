/// The topology never changes the result: the same steps on any number of ranks and micro-batches as on one rank at once.
#include "launch/trainer/trainer.h"

#include <gtest/gtest.h>

#include "parallel/range.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::random_tensor;
using testing::world;

// Two levels with shifted windows, and everything that takes random numbers: dropout twice, drop-path.
constexpr const char* kModel =
    R"({type: scot, image_size: 16, patch_size: 2, num_channels: 3, num_out_channels: 2, embed_dim: 8, depths: [2, 1],
  num_heads: [2, 2], skip_connections: [1, 0], window_size: 4, drop_path_rate: 0.2, hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1,
  use_conditioning: true, channel_slice_list_normalized_loss: [0, 1, 2]})";

struct Setting {
  DType dtype;
  std::int64_t samples;  // of a global batch
  int micro_batches;
  bool activation_checkpointing;
  ParallelConfig parallel{};
};

Tensor random_fields(const Shape& shape, std::uint64_t seed, DType dtype) {
  const Tensor fields = empty(shape, dtype);
  copy_into(fields, random_tensor(shape, seed));
  return fields;
}

/// Rank `rank`'s part of global batch number `step`.
GlobalBatch part_of_batch(const Setting& setting, std::uint64_t step, int micro_batches, int rank, int ranks) {
  const Tensor input = random_fields({setting.samples, 3, 16, 16}, 3 * step, setting.dtype);
  const Tensor label = random_fields({setting.samples, 2, 16, 16}, 3 * step + 1, setting.dtype);
  const Tensor time = random_fields({setting.samples}, 3 * step + 2, setting.dtype);
  const Range own = part_of(setting.samples, ranks, rank);
  GlobalBatch batch;
  batch.size = setting.samples;
  for (int i = 0; i < micro_batches; ++i) {
    const Range part = part_of(own.size(), micro_batches, i);
    const std::int64_t first = own.first + part.first, last = own.first + part.last;
    MicroBatch micro;
    micro.first_sample = first;
    micro.fields = {.input = view::slice(input, 0, first, last),
                    .time = view::slice(time, 0, first, last),
                    .pixel_mask = {},
                    .label = view::slice(label, 0, first, last)};
    batch.micro_batches.push_back(std::move(micro));
  }
  return batch;
}

struct Outcome {
  std::vector<double> losses, norms;
  Tensor values;
};

Outcome train(const Setting& setting, const Mesh& mesh, int micro_batches, int steps) {
  const Model model = describe_model(parse_yaml(kModel, "model"), mesh);
  TrainingConfig config;
  config.precision = setting.dtype == DType::f64 ? Precision::f64 : Precision::f32;
  config.weight_decay = 0.1;
  config.max_grad_norm = 0.5;
  config.warmup_steps = 1;
  config.activation_checkpointing = setting.activation_checkpointing;
  Trainer trainer(model, materialize(model, setting.dtype, Use::training, RandomKey(4)), config, setting.parallel, 10, 4, mesh);
  Outcome outcome;
  for (int step = 0; step < steps; ++step) {
    const GlobalBatch batch =
        part_of_batch(setting, static_cast<std::uint64_t>(step), micro_batches, mesh.coordinate(Axis::data), mesh.size(Axis::data));
    const StepResult result = trainer.step(batch, step);
    outcome.losses.push_back(result.loss);
    outcome.norms.push_back(result.grad_norm);
  }
  outcome.values = trainer.parameters().values();
  return outcome;
}

class Topology : public ::testing::TestWithParam<Setting> {};

TEST_P(Topology, DoesNotChangeTheResult) {
  const Setting& setting = GetParam();
  const bool f64 = setting.dtype == DType::f64;
  const int steps = f64 ? 3 : 2;  // the first has rate 0: f32 is compared after one update
  const double tolerance = f64 ? 1e-11 : 1e-5;
  const Outcome alone = train(setting, Mesh(), 1, steps);
  const Mesh mesh(world(), {world()->size(), 1, 1, 1});
  const Outcome together = train(setting, mesh, setting.micro_batches, steps);
  for (std::size_t step = 0; step < alone.losses.size(); ++step) {
    EXPECT_NEAR(together.losses[step], alone.losses[step], tolerance * alone.losses[step]) << step;
    EXPECT_NEAR(together.norms[step], alone.norms[step], tolerance * alone.norms[step]) << step;
  }
  EXPECT_TENSOR_NEAR(together.values, alone.values, tolerance);
  EXPECT_NE(alone.losses[2 % alone.losses.size()], alone.losses[1]);
}

INSTANTIATE_TEST_SUITE_P(Batches, Topology,
                         ::testing::Values(Setting{DType::f64, 5, 1, false},  // uneven
                                           Setting{DType::f64, 6, 2, false},  // accumulated
                                           Setting{DType::f64, 2, 1, false},  // fewer samples than ranks
                                           Setting{DType::f64, 5, 2, true},   // recomputed
                                           Setting{DType::f32, 5, 1, false}));

TEST(Trainer, SharedOptimisersChangeNoBit) {
  Setting setting{DType::f32, 5, 2, false};
  const Mesh mesh(world(), {world()->size(), 1, 1, 1});
  const Outcome whole = train(setting, mesh, 2, 3);
  setting.parallel.optimizer_sharding = true;
  const Outcome shared = train(setting, mesh, 2, 3);
  EXPECT_TENSOR_NEAR(shared.values, whole.values, 0.0);
  EXPECT_EQ(shared.losses, whole.losses);
  EXPECT_EQ(shared.norms, whole.norms);
}

TEST(Trainer, RepeatsBitForBitOverlappedOrNot) {
  const Setting setting{DType::f32, 4, 1, false};
  const MeshSizes sizes{world()->size(), 1, 1, 1};
  const Outcome first = train(setting, Mesh(world(), sizes), 1, 3);
  const Outcome again = train(setting, Mesh(world(), sizes), 1, 3);
  const Outcome serialised = train(setting, Mesh(world(), sizes, kDefaultOrder, StreamMode::serialised), 1, 3);
  EXPECT_TENSOR_NEAR(again.values, first.values, 0.0);
  EXPECT_TENSOR_NEAR(serialised.values, first.values, 0.0);
  EXPECT_EQ(again.losses, first.losses);
  EXPECT_EQ(serialised.losses, first.losses);
}

}  // namespace
}  // namespace trident
