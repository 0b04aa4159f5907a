#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "tests/launch/program.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

class Train : public ::testing::Test {
 protected:
  void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i] / b[i], 1.0, tolerance) << "step " << i;
  }
  /// Starts a run, and sends it a signal when it has done some steps.
  int interrupt(const std::string& command, const std::string& name, int signal) {
    Background process(command);
    for (int tries = 0; tries < 20000 && folder_.metrics(name).size() < 3; ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    process.signal(signal);
    return process.wait(std::chrono::seconds(60));
  }
  RunFolderFixture folder_;
};

TEST_F(Train, WritesModelBestCheckpointMetricsLogAndTheResolvedRunFile) {
  const Finished run = run_shell(folder_.train("run", "evaluation.every=2 --profile"));
  ASSERT_EQ(run.status, 0) << run.output;
  for (const char* name : {"model/config.json", "model/model.safetensors", "model/trident.json", "best/model.safetensors",
                           "checkpoints/step-00000004/COMMITTED", "metrics.jsonl", "run.yaml", "log"}) {
    EXPECT_TRUE(std::filesystem::exists(folder_.path("run") / name)) << name;
  }
  EXPECT_EQ(folder_.metrics("run").size(), 6u);  // four steps, two evaluations
  EXPECT_THAT(run.output, HasSubstr("backward"));
  EXPECT_THAT(run.output, ::testing::Not(HasSubstr("trace of 0 steps")));
  EXPECT_EQ(folder_.column("run", "learning_rate")[0], 0.0);
  // The resolved file is a run file: it trains the same model.
  const Finished again = run_shell(
      concat(program(), " train '", (folder_.path("run") / "run.yaml").string(), "' 'output=", folder_.path("again").string(), "'"));
  ASSERT_EQ(again.status, 0) << again.output;
  EXPECT_EQ(RunFolderFixture::bytes(folder_.path("run") / "model/model.safetensors"),
            RunFolderFixture::bytes(folder_.path("again") / "model/model.safetensors"));
}

TEST_F(Train, LossesAreTheSameOnAnyNumberOfRanksAndMicroBatches) {
  ASSERT_EQ(run_shell(folder_.train("one")).status, 0);
  ASSERT_EQ(run_shell(folder_.train("micro", "training.gradient_accumulation_steps=4")).status, 0);
  expect_close(folder_.column("micro", "loss"), folder_.column("one", "loss"), 1e-11);
  expect_close(folder_.column("micro", "grad_norm"), folder_.column("one", "grad_norm"), 1e-11);
  ASSERT_EQ(run_shell(folder_.train("single", "training.precision=f32 training.steps=2 training.warmup_steps=0")).status, 0);
  for (const int ranks : {2, 3, 4}) {
    const std::string name = concat("ranks", ranks), f32 = name + "f32";
    const Finished run = run_shell(folder_.train(name, "", mpirun(ranks)));
    ASSERT_EQ(run.status, 0) << run.output;
    expect_close(folder_.column(name, "loss"), folder_.column("one", "loss"), 1e-11);
    expect_close(folder_.column(name, "grad_norm"), folder_.column("one", "grad_norm"), 1e-11);
    ASSERT_EQ(run_shell(folder_.train(f32, "training.precision=f32 training.steps=2 training.warmup_steps=0", mpirun(ranks))).status, 0);
    expect_close(folder_.column(f32, "loss"), folder_.column("single", "loss"), 1e-5);
  }
}

TEST_F(Train, ARunThatWasStoppedAndResumedIsBitIdenticalToAnUninterruptedOne) {
  const std::string recipe = "training.steps=60 evaluation.every=20 checkpoint.every=7";
  ASSERT_EQ(run_shell(folder_.train("whole", recipe)).status, 0);
  EXPECT_EQ(interrupt(folder_.train("parts", recipe), "parts", SIGTERM), 0);
  ASSERT_LT(folder_.column("parts", "loss").size(), 60u) << "the signal came too late";
  EXPECT_THAT(RunFolderFixture::bytes(folder_.path("parts") / "log"), HasSubstr("SIGTERM: saved after step"));
  EXPECT_THAT(RunFolderFixture::bytes(folder_.path("parts") / "log"), HasSubstr("parts/run.yaml' --resume"));
  // Rows past the checkpoint, as a crash would leave them, are dropped.
  std::ofstream(folder_.path("parts") / "metrics.jsonl", std::ios::app) << "{\"step\": 59, \"loss\": 1.0}\n";
  const Finished resumed = run_shell(folder_.train("parts", recipe + " --resume"));
  ASSERT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_EQ(folder_.column("parts", "loss"), folder_.column("whole", "loss"));
  EXPECT_EQ(folder_.column("parts", "grad_norm"), folder_.column("whole", "grad_norm"));
  for (const char* model : {"model/model.safetensors", "best/model.safetensors"}) {
    EXPECT_EQ(RunFolderFixture::bytes(folder_.path("parts") / model), RunFolderFixture::bytes(folder_.path("whole") / model)) << model;
  }
}

/// What a killed process leaves behind beside every file of a run that it may have been writing.
TEST_F(Train, ResumingAndInspectingPassOverTheHiddenFilesOfKilledWriters) {
  const std::string recipe = "training.steps=6 checkpoint.every=3";
  ASSERT_EQ(run_shell(folder_.train("whole", recipe)).status, 0);
  ASSERT_EQ(run_shell(folder_.train("parts", "training.steps=6 checkpoint.every=3 training.max_wall_time=0s")).status, 0);
  const std::string inspect = concat(program(), " inspect --json '", folder_.path("parts").string(), "' | grep -v bytes");
  const Finished before = run_shell(inspect);
  ASSERT_EQ(before.status, 0) << before.output;
  const int dead = std::stoi(run_shell("echo $$").output);
  std::vector<std::filesystem::path> left;
  for (const char* name :
       {"run.yaml", "model/config.json", "model/model.safetensors", "best/model.safetensors", "checkpoints/step-00000003"}) {
    const std::filesystem::path file = folder_.path("parts") / name;
    std::filesystem::create_directories(file.parent_path());
    left.push_back(file.parent_path() / concat(".", file.filename().string(), ".", dead, ".0.tmp"));
    std::ofstream(left.back()) << "half of";
  }
  std::filesystem::create_directories(folder_.path("parts") / "checkpoints/.step-00000006.tmp");
  std::ofstream(folder_.path("parts") / "checkpoints/.step-00000006.tmp/manifest.json") << "{";
  EXPECT_EQ(run_shell(inspect).output, before.output);
  const Finished resumed = run_shell(folder_.train("parts", recipe + " --resume"));
  ASSERT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_EQ(folder_.column("parts", "loss"), folder_.column("whole", "loss"));
  EXPECT_EQ(RunFolderFixture::bytes(folder_.path("parts") / "model/model.safetensors"),
            RunFolderFixture::bytes(folder_.path("whole") / "model/model.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(left[2])) << "the next writer of the name removes it";
  EXPECT_FALSE(std::filesystem::exists(folder_.path("parts") / "checkpoints/.step-00000006.tmp"));
}

TEST_F(Train, RanksAgreeToStopWhenMpirunForwardsASignal) {
  const std::string recipe = "training.steps=2000";
  EXPECT_EQ(interrupt(folder_.train("parts", recipe, mpirun(2)), "parts", SIGUSR1), 0);
  EXPECT_THAT(RunFolderFixture::bytes(folder_.path("parts") / "log"), HasSubstr("SIGUSR1: saved after step"));
}

TEST_F(Train, EndsInTimeWhenTheWallTimeIsShort) {
  const Finished run = run_shell(folder_.train("run", "training.steps=100000 training.max_wall_time=3s"));
  EXPECT_EQ(run.status, 0);
  EXPECT_THAT(run.output, HasSubstr("max_wall_time is near: saved after step"));
}

TEST_F(Train, AnEvaluationThatIsNotFiniteIsNeverTheBest) {
  const Finished run = run_shell(folder_.train(
      "run", "training.steps=1 training.warmup_steps=0 training.learning_rate=1e30 training.precision=f32 evaluation.every=1"));
  ASSERT_EQ(run.status, 0) << run.output;
  EXPECT_TRUE(folder_.metrics("run").back().find("validation_loss")->is_null());
  EXPECT_THAT(run.output, Not(HasSubstr("best so far")));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("run") / "best"));
}

TEST_F(Train, ResumedWithLargerBatchesThanItsPlaceAllowsTheNextEpochBegins) {
  ASSERT_EQ(run_shell(folder_.train("run")).status, 0);
  const Finished resumed = run_shell(folder_.train("run", "training.global_batch_size=1000 training.steps=6 --resume"));
  ASSERT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("an epoch has 1 steps now, and this one had done 4: the next one begins"));
  EXPECT_EQ(folder_.column("run", "loss").size(), 6u);
}

TEST_F(Train, PrintsOneObjectForPrograms) {
  const Finished run = run_shell(folder_.train("run", "--json evaluation.every=2 2>/dev/null"));
  ASSERT_EQ(run.status, 0);
  const ConfigValue result = parse_json(run.output, "standard output");
  EXPECT_EQ(result.find("output")->as_string(), folder_.path("run").string());
  EXPECT_EQ(result.find("steps")->as_integer(), 4);
  EXPECT_EQ(result.find("of_steps")->as_integer(), 4);
  EXPECT_NE(result.find("best_loss"), nullptr);
}

TEST_F(Train, ClosedStandardStreamsDoNotWriteIntoFiles) {
  ASSERT_EQ(run_shell(folder_.train("run", "0<&- 1>&- 2>&-")).status, 0);
  std::ifstream log(folder_.path("run") / "log");
  int lines = 0;
  for (std::string line; std::getline(log, line); ++lines) EXPECT_THAT(line, ::testing::StartsWith("20")) << "no time stands before it";
  EXPECT_GT(lines, 3);
}

TEST_F(Train, PipesAreReadToTheirEndOrRefused) {
  const std::string pipe = folder_.path("pipe").string();
  ASSERT_EQ(run_shell("mkfifo '" + pipe + "'").status, 0);
  const Finished inspected = run_shell(concat("timeout 10 ", program(), " inspect '", pipe, "'"));
  EXPECT_EQ(inspected.status, 1) << inspected.output;
  EXPECT_THAT(run_shell(folder_.train("run", "--dry-run 'data.train[0].path=" + pipe + "'", "timeout 10")).output,
              HasSubstr("is no file of data"));
  const Finished endless = run_shell(concat("timeout 10 ", program(), " train /dev/zero"));
  EXPECT_EQ(endless.status, 1);
  EXPECT_THAT(endless.output, HasSubstr("is this a run file?"));
}

TEST_F(Train, AnExistingOutputIsRefusedAndNothingIsTouched) {
  std::filesystem::create_directories(folder_.path("run"));
  std::ofstream(folder_.path("run") / "precious") << "data";
  const Finished run = run_shell(folder_.train("run"));
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.output, HasSubstr("exists already; add --resume"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path("run")), {}), 1);
}

TEST_F(Train, AModelThatCannotBeBuiltLeavesNoFolderBehind) {
  const Finished run = run_shell(folder_.train("run", "'model.depths=[1, 1, 1]'"));
  EXPECT_EQ(run.status, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_.path("run"))) << run.output;
}

TEST_F(Train, BatchStatisticsAndAccumulationDoNotGoTogether) {
  const Finished run = run_shell(folder_.train("run", "model.residual_model=resnet training.gradient_accumulation_steps=2"));
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.output, HasSubstr("training.gradient_accumulation_steps: got 2, but \"residual_blocks"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("run")));
}

TEST_F(Train, ADryRunChecksPrintsAndWritesNothing) {
  const Finished run = run_shell(folder_.train("run", "--dry-run --json 2>/dev/null"));
  ASSERT_EQ(run.status, 0) << run.output;
  const ConfigValue report = parse_json(run.output, "dry run");
  EXPECT_EQ(report.find("steps")->as_integer(), 4);
  EXPECT_EQ(report.find("samples")->as_integer(), 40);
  EXPECT_GT(report.find("peak_bytes")->as_integer(), 0);
  EXPECT_FALSE(std::filesystem::exists(folder_.path("run")));
}

TEST_F(Train, ADryRunFindsALossThatIsNotFiniteAndAModelWithNothingToTrain) {
  const Finished infinite = run_shell(folder_.train("run", "--dry-run training.loss=h1 'training.loss_options.measure=[1e-300, 1]'"));
  EXPECT_EQ(infinite.status, 1);
  EXPECT_THAT(infinite.output, HasSubstr("step 0: the loss is"));
  const Finished frozen = run_shell(folder_.train("run", "--dry-run 'training.freeze=[\"*\"]'"));
  EXPECT_EQ(frozen.status, 1);
  EXPECT_THAT(frozen.output, HasSubstr("training.freeze: freezes every parameter"));
}

TEST_F(Train, NotANumberStopsTheRunWithStepRankAndTensors) {
  const Finished run =
      run_shell(folder_.train("run", "training.learning_rate=1e200 training.lr_scheduler=constant training.warmup_steps=0", mpirun(2)));
  EXPECT_NE(run.status, 0);
  EXPECT_THAT(run.output, HasSubstr("step "));
  EXPECT_THAT(run.output, HasSubstr("first on rank 0: "));
  EXPECT_THAT(run.output, HasSubstr("\""));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("run") / "model"));
}

TEST_F(Train, MoreThreadsThanAnyHostHasAreRefused) {
  const Finished run = run_shell(folder_.train("run", "--dry-run --threads 99999999"));
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.output, HasSubstr("--threads: expected 1 to 4096"));
}

TEST_F(Train, AMistakeInTheRunFileIsFoundBeforeDataAreRead) {
  const Finished run = run_shell(folder_.train("run", "training.stps=3 data.train[0].path=missing.nc", mpirun(2)));
  EXPECT_NE(run.status, 0);
  EXPECT_THAT(run.output, HasSubstr("training.stps: unknown key; did you mean \"steps\"?"));
}

TEST_F(Train, ModelAndDataThatDoNotFitNameTheTwoNumbersAndTheKey) {
  const Finished run = run_shell(folder_.train("run", "model.num_channels=3"));
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.output, HasSubstr("model.num_channels: the model would have 3 channels, but the data have 4"));
}

TEST_F(Train, ARankThatThrowsEndsTheJobAndIsNamed) {
  const std::string command =
      concat(mpirun(2), " sh -c 'if [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then more=data.train[0].path=/missing.nc; fi; exec \"",
             TRIDENT_PROGRAM, "\" train ", folder_.path("run.yaml").string(), " output=", folder_.path("run").string(), " $more'");
  const auto start = std::chrono::steady_clock::now();
  const Finished run = run_shell(command);
  EXPECT_NE(run.status, 0);
  EXPECT_THAT(run.output, HasSubstr("[rank 1"));
  EXPECT_THAT(run.output, HasSubstr("/missing.nc"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST_F(Train, ARankThatIsKilledEndsTheJobAndIsNamed) {
  const std::string command =
      concat(mpirun(2), " sh -c 'if [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then (sleep 1; kill -9 $$) & fi; exec \"", TRIDENT_PROGRAM,
             "\" train ", folder_.path("run.yaml").string(), " output=", folder_.path("run").string(), " training.steps=1000000'");
  const auto start = std::chrono::steady_clock::now();
  const Finished run = run_shell(command);
  EXPECT_NE(run.status, 0);
  EXPECT_THAT(run.output, HasSubstr("rank 1"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(12));
}

TEST_F(Train, FineTuningOnOtherChannelsStartsEmbeddingAndRecoveryAnew) {
  ASSERT_EQ(run_shell(folder_.train("base", "training.steps=1")).status, 0);
  const Finished run = run_shell(folder_.train(
      "tuned", concat("'model={from: ", (folder_.path("base") / "model").string(),
                      "}' data.train[0].just_velocities=true data.validation=[] training.learning_rate_embedding_recovery=1e-3 "
                      "training.learning_rate_time_embedding=1e-3")));
  ASSERT_EQ(run.status, 0) << run.output;
  EXPECT_THAT(run.output, HasSubstr("starts anew: embeddings.patch_embeddings.projection.weight"));
  EXPECT_THAT(run.output, HasSubstr("has num_channels 4, the data have 2"));
}

TEST_F(Train, FrozenWeightsStayAndEarlyStoppingStops) {
  ASSERT_EQ(run_shell(folder_.train("first",
                                    "training.steps=1 training.warmup_steps=0 'training.freeze=[encoder.*, decoder.*, "
                                    "embeddings.*, patch_recovery.*, residual_blocks.1.*]'"))
                .status,
            1)
      << "a pattern that matches nothing is refused";
  const Finished run = run_shell(folder_.train(
      "frozen",
      "training.steps=50 training.learning_rate=0 evaluation.every=2 training.early_stopping_patience=2 'training.freeze=[encoder.*]'"));
  ASSERT_EQ(run.status, 0) << run.output;
  EXPECT_THAT(run.output, HasSubstr("stopped after step 6: 2 evaluations without a better model"));
  // Resumed, it has still ended; with more patience it goes on.
  const std::string resume =
      "training.steps=50 training.learning_rate=0 evaluation.every=2 'training.freeze=[encoder.*]' --resume "
      "training.early_stopping_patience=";
  const Finished resumed = run_shell(folder_.train("frozen", resume + "2"));
  ASSERT_EQ(resumed.status, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("stopped after step 6: 2 evaluations without a better model"));
  EXPECT_EQ(folder_.column("frozen", "loss").size(), 6);
  ASSERT_EQ(run_shell(folder_.train("frozen", resume + "3")).status, 0);
  EXPECT_EQ(folder_.column("frozen", "loss").size(), 8);
}

}  // namespace
}  // namespace trident::testing
