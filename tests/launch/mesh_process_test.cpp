// Runs that go on on other meshes, and what convert makes of their checkpoints, with real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <thread>
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
    EXPECT_EQ(RunFolderFixture::bytes(folder.path("converted") / file), RunFolderFixture::bytes(folder.path("parts") / "model" / file))
        << file;
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
  const std::string recipe =
      "'model={type: tfno, n_modes: [8, 8], hidden_channels: 4, domain_padding: 0.1, norm: instance_norm}' "
      "training.loss=h1 evaluation.every=2";
  ASSERT_EQ(run_shell(folder.train("whole", recipe)).status, 0);
  for (const auto& [run, ranks, mesh] :
       {std::tuple{"strips", 3, " parallel.domain_y=3"}, std::tuple{"rectangles", 4, " parallel.domain_x=2 parallel.tensor=2"}}) {
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

/// Waits until it holds, at most so long.
template <class Condition>
bool comes_true(std::chrono::seconds limit, const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

TEST(MeshProcess, ARankKilledAmidTheExchangesOfAModelEndsTheJob) {
  const RunFolderFixture folder;
  for (const std::string mesh : {"domain_y", "tensor"}) {
    SCOPED_TRACE(mesh);
    const auto process_file = [&](int rank) { return folder.path(concat(mesh, ".process.", rank)); };
    const std::string launcher =
        concat(mpirun(2), " sh -c 'echo $$ >\"", folder.path(mesh + ".process.").string(), "$OMPI_COMM_WORLD_RANK\"; exec \"$@\"' sh");
    const std::string log = folder.path(mesh + ".log").string();
    Background job(folder.train(mesh, "training.steps=1000000 parallel." + mesh + "=2", launcher), log);
    const std::filesystem::path metrics = folder.path(mesh) / "metrics.jsonl";
    const bool trains = comes_true(std::chrono::seconds(30),
                                   [&] { return std::filesystem::exists(metrics) && std::filesystem::file_size(metrics) > 1000; });
    if (!trains) job.signal(SIGTERM);
    ASSERT_TRUE(trains) << RunFolderFixture::bytes(log);
    const std::array<int, 2> processes{std::stoi(RunFolderFixture::bytes(process_file(0))),
                                       std::stoi(RunFolderFixture::bytes(process_file(1)))};
    ASSERT_EQ(::kill(processes[1], SIGKILL), 0);
    const auto killed = std::chrono::steady_clock::now();
    EXPECT_NE(job.wait(std::chrono::seconds(20)), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - killed, std::chrono::seconds(10));
    EXPECT_THAT(RunFolderFixture::bytes(log),
                ::testing::AnyOf(HasSubstr("signal 9"), HasSubstr("rank 1 (" + mesh + " 1) has ended without a word")));
    EXPECT_TRUE(comes_true(std::chrono::seconds(2), [&] { return ::kill(processes[0], 0) != 0; })) << "rank 0 outlives the job";
  }
}

}  // namespace
}  // namespace trident::testing
