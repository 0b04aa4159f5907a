/// Models on multi-grid patches, from the file to the updated weights: the same on any mesh, whose ranks share out patches.
#include <gtest/gtest.h>

#include "launch/data/dataset.h"
#include "launch/evaluation.h"
#include "launch/run_model.h"
#include "launch/trainer/trainer.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/launch/data_files.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::TemporaryFolder;
using testing::world;

struct Setting {
  LossChoice loss;
  bool stitching;
  int micro_batches;
  ConfigValue norm{};
};

/// Five samples of 16 x 16 random numbers.
std::shared_ptr<const Dataset> random_dataset(const TemporaryFolder& folder) {
  const Shape shape{5, 2, 16, 16};
  const std::string path = (folder / "fields.h5").string();
  const Tensor values = empty(shape, DType::f32);
  copy_into(values, testing::random_tensor(shape, 1));
  Hdf5File::create(path).create_dataset("x", shape, DType::f32).write({0, 0, 0, 0}, shape, values.data<float>());
  DataEntry entry;
  entry.path = path;
  entry.input = "x";
  entry.channels = {"a", "b"};
  return std::make_shared<const Dataset>(open_dataset({}, {entry}, Split::train, "data.train"));
}

struct Outcome {
  std::vector<double> losses, norms;
  double validation_loss = 0.0;
  Tensor values;
};

Outcome train(const Setting& setting, const std::shared_ptr<const Dataset>& data, const Mesh& mesh) {
  const ConfigValue document = ConfigValue::map({{"type", "mg_tfno"},
                                                 {"levels", 1},
                                                 {"padding_fraction", 0.125},
                                                 {"stitching", setting.stitching},
                                                 {"position", "field"},
                                                 {"n_modes", ConfigValue::list({4, 4})},
                                                 {"in_channels", 2},
                                                 {"out_channels", 2},
                                                 {"hidden_channels", 4},
                                                 {"n_layers", 2},
                                                 {"norm", setting.norm},
                                                 {"rank", 0.5}});
  const Model model = describe_model(document, mesh);
  TrainingConfig config;
  config.precision = Precision::f64;
  config.loss = setting.loss;
  Trainer trainer(model, materialize(model, DType::f64, Use::training, RandomKey(4)), config, {}, 10, 4, mesh);
  LoaderOptions options = shared_out(model, mesh);
  options.global_batch_size = 3;  // the second batch has two samples
  options.micro_batches = setting.micro_batches;
  options.shuffle = true;
  options.dtype = DType::f64;
  Loader loader(data, options);
  Outcome outcome;
  for (int step = 0; step < 3; ++step) {
    const StepResult result = trainer.step(*loader.next(), step);
    outcome.losses.push_back(result.loss);
    outcome.norms.push_back(result.grad_norm);
  }
  const Evaluator evaluator(model, loss_of_run(model, config), DType::f64, 4, mesh);
  outcome.validation_loss = evaluator.validate(data).loss();
  outcome.values = trainer.parameters().values();
  return outcome;
}

std::vector<MeshSizes> meshes(int ranks) {
  std::vector<MeshSizes> sizes{{ranks, 1, 1, 1}, {1, 1, ranks, 1}, {1, ranks, 1, 1}};
  if (ranks % 2 == 0) sizes.push_back({ranks / 2, 1, 2, 1});
  return sizes;
}

class PatchTraining : public ::testing::TestWithParam<Setting> {};

TEST_P(PatchTraining, DoesNotDependOnTheMesh) {
  const TemporaryFolder folder;
  const auto data = random_dataset(folder);
  const Outcome alone = train(GetParam(), data, Mesh());
  EXPECT_NE(alone.losses[0], alone.losses[2]);
  for (const MeshSizes& sizes : meshes(world()->size())) {
    const Mesh mesh(world(), sizes);
    const Outcome together = train(GetParam(), data, mesh);
    for (std::size_t step = 0; step < alone.losses.size(); ++step) {
      EXPECT_NEAR(together.losses[step] / alone.losses[step], 1.0, 1e-11) << to_string(mesh) << " step " << step;
      EXPECT_NEAR(together.norms[step] / alone.norms[step], 1.0, 1e-11) << to_string(mesh) << " step " << step;
    }
    EXPECT_NEAR(together.validation_loss / alone.validation_loss, 1.0, 1e-11) << to_string(mesh);
    // The gradient of a bias in front of a norm is rounding, which AdamW divides by its size.
    EXPECT_TENSOR_NEAR(together.values, alone.values, GetParam().norm.is_null() ? 1e-10 : 1e-8);
  }
}

INSTANTIATE_TEST_SUITE_P(Losses, PatchTraining,
                         ::testing::Values(Setting{LossChoice::h1, true, 1}, Setting{LossChoice::h1, false, 1},
                                           Setting{LossChoice::lp, true, 2}, Setting{LossChoice::relative_l1, true, 1},
                                           Setting{LossChoice::h1, true, 1, "batch_norm"}));

TEST(PatchTrainingLoader, RanksReadTheirOwnPatchesAlone) {
  const TemporaryFolder folder;
  const auto data = random_dataset(folder);
  const int ranks = world()->size();
  const Mesh mesh(world(), {1, 1, ranks, 1});
  const Model model = describe_model(
      ConfigValue::map(
          {{"type", "mg_tfno"}, {"n_modes", ConfigValue::list({4, 4})}, {"in_channels", 2}, {"out_channels", 2}, {"hidden_channels", 4}}),
      mesh);
  LoaderOptions options = shared_out(model, mesh);
  options.global_batch_size = 5;
  const GlobalBatch batch = *Loader(data, options).next();
  const Fields& fields = batch.micro_batches.front().fields;
  EXPECT_EQ(fields.patches.has_value(), ranks > 1);
  if (ranks == 1) return;
  EXPECT_EQ(fields.patches->units, part_of(20, ranks, mesh.world().rank()));
  EXPECT_EQ(fields.input.shape(), (Shape{fields.patches->units.size(), 4, 8, 8}));
  EXPECT_EQ(fields.label.shape(), (Shape{fields.patches->units.size(), 2, 10, 10}));
}

}  // namespace
}  // namespace trident
