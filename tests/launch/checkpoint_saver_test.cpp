#include "launch/trainer/checkpoint_saver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "checkpoint/checkpoint_conversion.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/sharded_checkpoint.h"
#include "models/model.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"

namespace trident::testing {
namespace {

/// A small model, and moments that take so long to write that a saver without a copy would be overtaken.
class CheckpointSaverTest : public ::testing::Test {
 protected:
  CheckpointSaverTest()
      : model_(describe_model(
            parse_json(R"({"type": "fno", "n_modes": [4, 4], "in_channels": 1, "out_channels": 1, "hidden_channels": 4})", "model"),
            Mesh())) {
    parameters_ = materialize([&](const ParameterVisitor& visitor) { model_->visit(visitor); }, DType::f32, Use::training, RandomKey(1));
    add_pieces(state_, kWeightsGroup, parameters_, parameters_.values());
    add_tensor(state_, concat(kMomentsGroup, "/large"), moments_);
    state_.values.set(kModelKey, model_->config());
  }

  TemporaryFolder folder_;
  Model model_;
  ParameterList parameters_;
  Tensor moments_ = full({std::int64_t{1} << 24}, 1.0, DType::f32);
  TrainingState state_;
};

TEST_F(CheckpointSaverTest, SavesWhatTheTensorsHeldWhenItStarted) {
  const RunFolder run{folder_.path()};
  CheckpointSaver saver(run, 3, Mesh());
  saver.start(1, state_);
  copy_into(moments_, full(moments_.shape(), 2.0, DType::f32));
  saver.save(2, state_);
  for (const double expected : {1.0, 2.0}) {
    const auto saved = list_checkpoints(run.checkpoints()).at(static_cast<std::size_t>(expected) - 1);
    load_checkpoint(saved.path, state_.pieces);
    const auto values = to_host<float>(moments_);
    EXPECT_TRUE(std::ranges::all_of(values, [&](float value) { return value == static_cast<float>(expected); })) << expected;
  }
  EXPECT_EQ(load_model(run.model(), Mesh()).model->config().find("type")->as_string(), "fno");
}

TEST_F(CheckpointSaverTest, WhatItMeetsIsThrownByTheNextCall) {
  const RunFolder run{folder_.path()};
  std::ofstream(run.checkpoints()) << "no folder";
  CheckpointSaver saver(run, 3, Mesh());
  saver.start(1, state_);
  EXPECT_THROW(saver.start(2, state_), CheckpointError);
  saver.start(3, state_);
  EXPECT_THROW(
      while (saver.is_saving()) {
        saver.check();
        std::this_thread::yield();
      },
      CheckpointError);
}

}  // namespace
}  // namespace trident::testing
