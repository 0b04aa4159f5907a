/// Checkpoints that are written while training goes on: the same files as between steps, whole or not there, and a failure ends the run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "checkpoint/sharded_checkpoint.h"
#include "tests/launch/program.h"

namespace trident::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class BackgroundSaving : public ::testing::Test {
 protected:
  std::string train(const std::string& name, const std::string& arguments, const std::string& launcher = "") const {
    return folder_.train(name, "checkpoint.every=1 checkpoint.background=true " + arguments, launcher);
  }

  void expect_same_files(const fs::path& expected, const fs::path& found) {
    std::size_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(expected)) {
      if (!entry.is_regular_file()) continue;
      const fs::path other = found / fs::relative(entry.path(), expected);
      ASSERT_TRUE(fs::exists(other)) << other;
      EXPECT_EQ(RunFolderFixture::bytes(entry.path()), RunFolderFixture::bytes(other)) << other;
      ++files;
    }
    EXPECT_GT(files, 0u);
  }

  RunFolderFixture folder_;
};

TEST_F(BackgroundSaving, WritesTheFilesThatSavingBetweenStepsWrites) {
  for (const int ranks : {1, 3}) {
    const std::string launcher = ranks > 1 ? mpirun(ranks) : "",
                      recipe = "training.steps=12 checkpoint.keep=20 parallel.optimizer_sharding=true", between = concat("between", ranks),
                      beside = concat("beside", ranks);
    const Finished first = run_shell(folder_.train(between, "checkpoint.every=1 checkpoint.background=false " + recipe, launcher));
    ASSERT_EQ(first.status, 0) << first.output;
    const Finished second = run_shell(train(beside, recipe, launcher));
    ASSERT_EQ(second.status, 0) << second.output;
    EXPECT_EQ(list_checkpoints(folder_.path(beside) / "checkpoints").size(), 12u);
    for (const char* name : {"checkpoints", "model"}) expect_same_files(folder_.path(between) / name, folder_.path(beside) / name);
  }
}

TEST_F(BackgroundSaving, ARunKilledInItGoesOnBitForBit) {
  ASSERT_EQ(run_shell(folder_.train("whole", "training.steps=40")).status, 0);
  int killed = 0;
  for (const std::size_t steps : {3u, 6u}) {
    const std::string name = concat("killed", steps);
    Background process(train(name, "training.steps=40"));
    for (int tries = 0; tries < 20000 && folder_.metrics(name).size() < steps; ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    process.signal(SIGKILL);
    if (process.wait(std::chrono::seconds(60)) != 0) ++killed;
    const Finished resumed = run_shell(train(name, "training.steps=40 --resume"));
    ASSERT_EQ(resumed.status, 0) << resumed.output;
    EXPECT_EQ(folder_.column(name, "loss"), folder_.column("whole", "loss"));
    expect_same_files(folder_.path("whole") / "model", folder_.path(name) / "model");
  }
  EXPECT_GT(killed, 0) << "the signals came too late";
}

TEST_F(BackgroundSaving, AFullDiskEndsTheRunOnAllRanks) {
  const std::string steps = "training.steps=1000 ";  // more than are done before saving has failed
  const Finished alone = run_shell("ulimit -f 64; " + train("alone", steps));
  EXPECT_EQ(alone.status, 1) << alone.output;
  EXPECT_THAT(alone.output, HasSubstr("File too large"));
  EXPECT_LT(folder_.column("alone", "loss").size(), 1000u);
  EXPECT_FALSE(latest_checkpoint(folder_.path("alone") / "checkpoints"));
  // One rank of two: files of more than 8 MiB, for MPI needs some.
  const std::string wide =
      "'model={type: scot, image_size: 32, embed_dim: 96, depths: [1, 1], num_heads: [3, 6], skip_connections: [1, 0], "
      "window_size: 4, use_conditioning: true}' parallel.tensor=2 ";
  const std::string limited = " sh -c '[ $OMPI_COMM_WORLD_RANK = 0 ] || ulimit -f 8192; exec \"$@\"' sh ";
  const Finished ranks = run_shell(train("ranks", wide + steps, mpirun(2) + limited));
  EXPECT_NE(ranks.status, 0) << ranks.output;
  EXPECT_THAT(ranks.output, HasSubstr("File too large"));
  EXPECT_FALSE(latest_checkpoint(folder_.path("ranks") / "checkpoints"));
}

}  // namespace
}  // namespace trident::testing
