/// Commands that cannot write what they are to write. A limit on the size of files stands for a full disk: both make writes fail.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "checkpoint/safetensors_writer.h"
#include "checkpoint/sharded_checkpoint.h"
#include "runtime/tensor/create.h"
#include "tests/launch/program.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

class FullDisk : public ::testing::Test {
 protected:
  std::string quoted(const std::string& name) const { return concat("'", folder_.path(name).string(), "'"); }

  /// The command must fail in one clear way, and leave no file in `output`, a file or a folder.
  void expect_failure(const std::string& command, const std::string& output,
                      const std::string& message = "cannot write it (File too large)") {
    const Finished run = run_shell("ulimit -f 8; " + command);
    EXPECT_EQ(run.status, 1) << command << run.output;
    EXPECT_THAT(run.output, HasSubstr(message)) << command;
    const std::filesystem::path path = folder_.path(output);
    EXPECT_TRUE(std::filesystem::is_directory(path) ? std::filesystem::is_empty(path) : !std::filesystem::exists(path)) << command;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path("."))) {
      EXPECT_NE(entry.path().extension(), ".tmp") << command;
    }
  }

  /// Two ranks that may not write files of more than 8 MiB: what MPI itself needs must go in.
  std::string limited_ranks(const std::string& command) const {
    return concat(mpirun(2), " sh -c 'ulimit -f 8192; exec \"$@\"' sh ", command);
  }

  RunFolderFixture folder_;
};

TEST_F(FullDisk, CommandsSaySoAndLeaveNothingHalfWritten) {
  expect_failure(program() + " generate NS-SL --resolution 32 --trajectories 20 --output " + quoted("flow.nc"), "flow.nc",
                 "cannot be written");
  ASSERT_EQ(run_shell(folder_.train("run", "training.steps=1 training.precision=f32")).status, 0);
  expect_failure(program() + " convert " + quoted("run/model") + " " + quoted("copy"), "copy");
  expect_failure(program() + " convert " + quoted("run/model/model.safetensors") + " " + quoted("copy.safetensors"), "copy.safetensors");
  const std::string predict = program() + " predict --model " + quoted("run/model") +
                              " --input '" TRIDENT_TEST_DATA "' --trajectory 4 --frame 0 --problem NS-Sines --time 14 --steps 2 --output ";
  expect_failure(predict + quoted("a.safetensors"), "a.safetensors");
  expect_failure(predict + quoted("a.h5"), "a.h5", "cannot be written");
  ASSERT_EQ(run_shell(predict + quoted("a.safetensors")).status, 0);
  expect_failure(program() + " plot " + quoted("a.safetensors") + " --output " + quoted("pictures"), "pictures");
}

TEST_F(FullDisk, WhatCannotBePrintedIsAnError) {
  for (const char* arguments : {" inspect '" TRIDENT_TEST_DATA "'", " --help"}) {
    const Finished run = run_shell(concat(program(), arguments, " 2>&1 >/dev/full"));
    EXPECT_EQ(run.status, 1) << arguments;
    EXPECT_THAT(run.output, HasSubstr("standard output: cannot be written"));
  }
}

TEST_F(FullDisk, GeneratorsOfPairsAndWritersForNeuraloperatorDoToo) {
  expect_failure(program() + " generate Darcy --resolution 32 --trajectories 20 --output " + quoted("darcy.h5"), "darcy.h5",
                 "cannot be written");
  expect_failure(program() + " generate Burgers1D --resolution 128 --trajectories 200 --output " + quoted("burgers.h5"), "burgers.h5",
                 "cannot be written");
  const Finished trained = run_shell(folder_.train("run", "'model={type: fno, n_modes: [8, 8], hidden_channels: 8}' training.steps=1"));
  ASSERT_EQ(trained.status, 0) << trained.output;
  expect_failure(program() + " convert " + quoted("run/model") + " " + quoted("theirs") + " --to neuraloperator", "theirs");
}

TEST_F(FullDisk, RanksThatShareAFileEndAndLeaveNothing) {
  ASSERT_EQ(run_shell(folder_.train("run", "training.steps=1 training.precision=f32")).status, 0);
  write_safetensors(folder_.path("in.safetensors"), {{"input", zeros({8, 4, 128, 128}, DType::f32)}, {"time", full({8}, 1.0, DType::f32)}});
  for (const auto& [name, words] : {std::pair{"big.safetensors", "File too large"}, {"big.h5", "cannot be"}}) {
    const Finished run =
        run_shell(limited_ranks(concat(program(), " predict --model ", quoted("run/model"), " --input ", quoted("in.safetensors"),
                                       " --steps 6 --output ", quoted(name), " parallel.domain_y=2")));
    EXPECT_NE(run.status, 0) << run.output;
    EXPECT_THAT(run.output, HasSubstr(words));
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path("."))) {
    const std::string name = entry.path().filename().string();
    EXPECT_EQ(name.find("big"), std::string::npos) << name;
  }
}

TEST_F(FullDisk, AShardedCheckpointThatDoesNotFitIsNone) {
  const std::string wide =
      "'model={type: scot, image_size: 32, embed_dim: 96, depths: [1, 1], num_heads: [3, 6], skip_connections: [1, 0], "
      "window_size: 4, use_conditioning: true}' training.steps=1 parallel.tensor=2 checkpoint.every=1";
  const Finished full = run_shell(limited_ranks(folder_.train("run", wide)));
  EXPECT_NE(full.status, 0);
  EXPECT_THAT(full.output, HasSubstr("File too large"));
  EXPECT_FALSE(latest_checkpoint(folder_.path("run") / "checkpoints"));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_.path("run"))) {
    EXPECT_FALSE(entry.is_regular_file() && entry.path().extension() == ".tmp") << entry.path();
  }
}

TEST_F(FullDisk, APictureWithoutItsEndLeavesTheOneBefore) {
  ASSERT_EQ(run_shell(folder_.train("run", "training.steps=2")).status, 0);
  for (const char* name : {"bin", "pictures"}) std::filesystem::create_directory(folder_.path(name));
  std::ofstream(folder_.path("bin") / "gnuplot") << "#!/bin/sh\neval \"$2\"; printf half > \"$picture\"\n";
  std::ofstream(folder_.path("pictures") / "curves.png") << "before";
  std::filesystem::permissions(folder_.path("bin") / "gnuplot", std::filesystem::perms::owner_all);
  const Finished run =
      run_shell("PATH=" + quoted("bin") + ":$PATH; " + program() + " plot " + quoted("run") + " --output " + quoted("pictures"));
  EXPECT_EQ(run.status, 1) << run.output;
  EXPECT_THAT(run.output, HasSubstr("curves.png: cannot be written by gnuplot"));
  EXPECT_EQ(RunFolderFixture::bytes(folder_.path("pictures/curves.png")), "before");
  EXPECT_EQ(run_shell("ls -A " + quoted("pictures") + " | grep -c tmp").output, "0\n");
}

TEST_F(FullDisk, TrainingEndsAndKeepsItsLastCheckpoint) {
  ASSERT_EQ(run_shell(folder_.train("run", "training.steps=8")).status, 0);
  const auto kept = latest_checkpoint(folder_.path("run") / "checkpoints");
  ASSERT_TRUE(kept);
  const Finished full = run_shell("ulimit -f 64; " + folder_.train("run", "training.steps=16 --resume"));
  EXPECT_EQ(full.status, 1) << full.output;
  EXPECT_THAT(full.output, HasSubstr("File too large"));
  EXPECT_EQ(latest_checkpoint(folder_.path("run") / "checkpoints"), kept);
  EXPECT_EQ(run_shell(folder_.train("run", "training.steps=16 --resume")).status, 0);
}

}  // namespace
}  // namespace trident::testing
