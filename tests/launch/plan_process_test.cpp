// `trident plan` as its users run it, beside the run that it predicts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/error.h"
#include "tests/launch/program.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

std::string plan(const RunFolderFixture& folder, const std::string& arguments) {
  return concat(program(), " plan '", folder.path("run.yaml").string(), "' ", arguments);
}

/// What the program prints for other programs.
ConfigValue planned(const RunFolderFixture& folder, const std::string& arguments) {
  const Finished finished = run_shell(plan(folder, arguments + " --json 2>/dev/null"));
  EXPECT_EQ(finished.status, 0) << finished.output;
  return parse_json(finished.output, "plan");
}

TEST(PlanProcess, TheMemoryIsThatOfTheRun) {
  const RunFolderFixture folder;
  for (const int ranks : {1, 2}) {
    const std::string recipe = "training.precision=f32 model.window_size=8 model.embed_dim=24", name = concat("run", ranks);
    const Finished trained = run_shell(folder.train(name, recipe, ranks == 1 ? "" : mpirun(ranks)));
    ASSERT_EQ(trained.status, 0) << trained.output;
    const std::vector<double> memory = folder.column(name, "memory_bytes");
    const ConfigValue best = planned(folder, concat(recipe, " parallel.data=", ranks, " --devices ", ranks)).find("meshes")->elements()[0];
    EXPECT_NEAR(best.find("memory_bytes")->find("peak")->as_number() / memory.back(), 1.0, 0.1) << ranks;
  }
}

TEST(PlanProcess, ItsChoiceIsReadyToPasteAndNeedsNoData) {
  const RunFolderFixture folder;
  const Finished finished = run_shell(plan(folder,
                                           "--devices 256 data.train[0].path=none.nc model.image_size=1024 "
                                           "training.global_batch_size=256 device=cuda --memory 80GiB"));
  ASSERT_EQ(finished.status, 0) << finished.output;
  EXPECT_THAT(finished.output, HasSubstr("of 256 samples of 1024x1024 points"));
  EXPECT_THAT(finished.output, HasSubstr("parallel: {data: 256, domain_y: 1, domain_x: 1, tensor: 1, "));
}

TEST(PlanProcess, FourierOperatorsArePlannedToo) {
  const RunFolderFixture folder;
  const ConfigValue document = planned(folder, "'model={type: tfno, n_modes: [8, 8], hidden_channels: 8}' --devices 4 --points 64");
  EXPECT_EQ(document.find("meshes")->elements().size(), 10U);  // all of four ranks
}

TEST(PlanProcess, WhatDoesNotFitIsAnErrorWithAWayOut) {
  const RunFolderFixture folder;
  const auto refused = [&](const std::string& arguments) {
    const Finished finished = run_shell(plan(folder, arguments));
    EXPECT_EQ(finished.status, 1) << finished.output;
    return finished.output;
  };
  EXPECT_THAT(refused("--devices 1 --memory 4MiB training.activation_checkpointing=false"),
              HasSubstr("with training.gradient_accumulation_steps="));
  const std::string whole_batches = " training.activation_checkpointing=false model.residual_model=resnet";
  EXPECT_THAT(refused("--devices 1 --memory 4MiB" + whole_batches),
              HasSubstr("take more devices, or a smaller training.global_batch_size"));
  EXPECT_THAT(refused("--devices 1 training.gradient_accumulation_steps=2" + whole_batches),
              HasSubstr("is a statistic of the whole batch"));
  EXPECT_THAT(refused("--devices 1 --memory 100kB"), HasSubstr("is no amount of memory"));
  EXPECT_THAT(refused("--devices 2 --memory 100KB"), HasSubstr("take more devices, or a smaller training.global_batch_size"));
  EXPECT_THAT(refused("--devices 7 parallel.domain_y=2"), HasSubstr("no mesh of 7 devices works"));
  EXPECT_THAT(refused("--devices 2 --points 8x"), HasSubstr("--points: \"8x\""));
  EXPECT_THAT(refused("--devices 2 training.stepz=1"), HasSubstr("stepz"));
  EXPECT_THAT(refused("--devices 2 data.train[0].path=none.nc 'model={type: fno, n_modes: [8, 8], hidden_channels: 8}'"),
              HasSubstr("give them by --points"));
}

}  // namespace
}  // namespace trident::testing
