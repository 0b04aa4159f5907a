// Runs that go on on other meshes, and what convert makes of their checkpoints, with real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "runtime/error.h"
#include "tests/launch/program.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

TEST(MeshProcess, ARunGoesOnOnOtherMeshesAndItsCheckpointsAreModels) {
  const RunFolderFixture folder;
  const std::string recipe = "training.lr_scheduler=constant training.warmup_steps=0 checkpoint.every=2 training.steps=";
  ASSERT_EQ(run_shell(folder.train("whole", recipe + "6")).status, 0);
  const std::string shared = " parallel.optimizer_sharding=true", tensor = " parallel.tensor=2 parallel.sequence_parallel=true";
  const Finished first = run_shell(folder.train("parts", recipe + "2" + shared + tensor, mpirun(4)));
  ASSERT_EQ(first.status, 0) << first.output;
  const Finished second = run_shell(folder.train("parts", recipe + "4 --resume", mpirun(3)));
  ASSERT_EQ(second.status, 0) << second.output;
  const Finished third = run_shell(folder.train("parts", recipe + "6 --resume" + shared, mpirun(2)));
  ASSERT_EQ(third.status, 0) << third.output;
  for (const char* column : {"loss", "grad_norm"}) {
    const auto parts = folder.column("parts", column), whole = folder.column("whole", column);
    ASSERT_EQ(parts.size(), whole.size());
    for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(parts[i] / whole[i], 1.0, 1e-11) << column << " of step " << i;
  }

  const auto convert = [&](const std::string& source, const std::string& target, const std::string& options = "") {
    return run_shell(concat(program(), " convert '", folder.path(source).string(), "' '", folder.path(target).string(), "' ", options));
  };
  const Finished model = convert("parts/checkpoints/step-00000006", "converted");
  ASSERT_EQ(model.status, 0) << model.output;
  for (const char* file : {"model.safetensors", "config.json", "trident.json"}) {
    EXPECT_EQ(RunFolderFixture::bytes(folder.path("converted") / file), RunFolderFixture::bytes(folder.path("parts") / "model" / file)) << file;
  }
  const Finished back = convert("converted", "again/checkpoints", "--to checkpoint");
  ASSERT_EQ(back.status, 0) << back.output;
  const Finished resumed = run_shell(folder.train("again", recipe + "1 --resume", mpirun(2)));
  ASSERT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("going on after step 0"));
  EXPECT_LT(folder.column("again", "loss")[0], folder.column("whole", "loss")[0]);
}

std::vector<double> validation_losses(const RunFolderFixture& folder, const std::string& run) {
  std::vector<double> losses;
  for (const ConfigValue& row : folder.metrics(run)) {
    if (const ConfigValue* loss = row.find("validation_loss")) losses.push_back(loss->as_number());
  }
  return losses;
}

TEST(MeshProcess, FourierOperatorsTrainAndAreValidatedOnSharedFields) {
  const RunFolderFixture folder;
  const std::string recipe = "'model={type: tfno, n_modes: [8, 8], hidden_channels: 4, domain_padding: 0.1, norm: instance_norm}' "
                             "training.loss=h1 evaluation.every=2";
  ASSERT_EQ(run_shell(folder.train("whole", recipe)).status, 0);
  for (const auto& [run, ranks, mesh] : {std::tuple{"strips", 3, " parallel.domain_y=3"},
                                         std::tuple{"rectangles", 4, " parallel.domain_x=2 parallel.tensor=2"}}) {
    const Finished finished = run_shell(folder.train(run, recipe + mesh, mpirun(ranks)));
    ASSERT_EQ(finished.status, 0) << finished.output;
    const auto expect_close = [&](const std::vector<double>& here, const std::vector<double>& whole) {
      ASSERT_EQ(here.size(), whole.size());
      ASSERT_FALSE(whole.empty());
      for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(here[i] / whole[i], 1.0, 1e-10) << run << " " << i;
    };
    for (const char* column : {"loss", "grad_norm"}) expect_close(folder.column(run, column), folder.column("whole", column));
    expect_close(validation_losses(folder, run), validation_losses(folder, "whole"));
  }
}

}  // namespace
}  // namespace trident::testing
