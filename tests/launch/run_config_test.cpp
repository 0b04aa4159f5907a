#include "launch/run_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "launch/data/dataset.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

const char* const kGood =
    "output: out\n"
    "model: {type: scot, image_size: 32}\n"
    "data:\n"
    "  train: [{problem: NS-Sines, path: ns.nc, trajectories: [0, 4]}]\n"
    "  validation: [{problem: NS-Sines, path: /data/ns.nc}]\n"
    "training:\n"
    "  steps: 4\n"
    "evaluation:\n"
    "  every: 2\n"
    "  cases: [{initial_time: 0, final_time: 14, ar_steps: [4, 10]}]\n";

class RunFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / concat("trident_run_config_", ::getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  RunFile read(const std::string& text, const std::vector<std::string>& overrides = {}) {
    std::ofstream(folder_ / "run.yaml") << text;
    return read_run((folder_ / "run.yaml").string(), overrides);
  }
  /// The message, without the folder.
  std::string refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
    try {
      check_for_training(read(text, overrides));
    } catch (const ConfigError& error) {
      std::string message = error.what();
      const std::string folder = folder_.string() + "/";
      if (message.starts_with(folder)) message.erase(0, folder.size());
      return message;
    }
    return "accepted";
  }
  fs::path folder_;
};

TEST_F(RunFileTest, PathsInTheFileAreRelativeToItsFolderAndOnTheCommandLineToTheCurrentOne) {
  const RunFile run = read(kGood, {"data.validation[0].path=v.nc", "training.learning_rate=1e-3"});
  EXPECT_EQ(run.config.output, (folder_ / "out").string());
  EXPECT_EQ(run.config.data.train[0].path, (folder_ / "ns.nc").string());
  EXPECT_EQ(run.config.data.validation[0].path, (fs::current_path() / "v.nc").string());
  EXPECT_EQ(run.config.training.learning_rate, 1e-3);
  EXPECT_EQ(read(kGood, {"model={from: ../m}"}).config.model.find("from")->as_string(),
            (fs::current_path() / "../m").lexically_normal().string());
}

TEST_F(RunFileTest, AMistakeInTheFileNamesItsLine) {
  EXPECT_EQ(refusal("output: o\ntraining:\n  steps: 3\n  warmup: 2\n").substr(0, 41), "run.yaml:4: training.warmup: unknown key;");
  EXPECT_EQ(refusal("output: o\ntraining:\n  steps: 3\n  betas: 0.9\n"), "run.yaml:4: training.betas: expected a list, found 0.9");
  EXPECT_EQ(refusal(""), "run.yaml:1: expected a map of keys, found null");
}

TEST_F(RunFileTest, TheResolvedFileReadsBackToTheSameRun) {
  const RunFile run = read(kGood);
  const std::string written = to_yaml(write_config(run.config));
  EXPECT_EQ(to_yaml(write_config(read(written).config)), written);
}

TEST_F(RunFileTest, FlagsOfTheCommandLineAreOverrides) {
  CommonOptions options;
  options.precision = Precision::f64;
  EXPECT_EQ(read(kGood, overrides_of(options)).config.training.precision, Precision::f64);
}

TEST_F(RunFileTest, StepsOfACaseAreSharesOfItsFrames) {
  const std::string head = "evaluation: {cases: [{initial_time: 2, final_time: 9, ar_steps: ";
  EXPECT_EQ(step_frames(read(head + "2}]}"), 0), (std::vector<double>{3.5, 3.5}));
  EXPECT_EQ(step_frames(read(head + "[3, 4]}]}"), 0), (std::vector<double>{3, 4}));
}

TEST(Durations, AreNumbersWithUnits) {
  EXPECT_EQ(seconds_of("11h30m"), 41400.0);
  EXPECT_EQ(seconds_of("1d"), 86400.0);
  EXPECT_EQ(seconds_of("1.5s"), 1.5);
  for (const char* text : {"", "3", "h", "3x", "-2s", "1h 30m"}) EXPECT_FALSE(seconds_of(text).has_value()) << text;
}

TEST(RunFiles, ThatComeWithTheProgramAreAccepted) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(TRIDENT_RUN_FILES)) {
    const RunFile run = read_run(entry.path().string(), {});
    check_for_training(run);
    check_data_config(run.config.data, run.document);
    ++count;
  }
  EXPECT_GE(count, 5);
}

struct Refusal {
  const char* override_;
  const char* message;
};

class RefusedRunFile : public RunFileTest, public testing::WithParamInterface<Refusal> {};

TEST_P(RefusedRunFile, SaysKeyAndWhatIsAllowed) {
  EXPECT_THAT(refusal(kGood, {GetParam().override_}), testing::HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, RefusedRunFile,
    testing::Values(
        Refusal{"trainin.steps=3",
                "command line:1: trainin: unknown key; did you mean \"training\"? allowed: output, seed, device, model, data, training, "
                "evaluation, checkpoint, parallel"},
        Refusal{"training.learning_rte=3", "did you mean \"learning_rate\"?"},
        Refusal{"steps", "command line: expected key=value such as training.steps=10, found \"steps\""},
        Refusal{"training.steps=many", "command line:1: training.steps: expected a whole number, found \"many\""},
        Refusal{"training.steps=0", "command line:1: training.steps: expected at least 1, found 0"},
        Refusal{"training.epochs=3", "run.yaml:7: training.steps: give either training.steps or training.epochs"},
        Refusal{"training.steps=null", "training.steps: give either training.steps or training.epochs"},
        Refusal{"training.global_batch_size=0", "training.global_batch_size: expected at least 1, found 0"},
        Refusal{"training.global_batch_size=9223372036854775807",
                "training.global_batch_size: expected at most 2147483647, found 9223372036854775807"},
        Refusal{"training.epochs=9223372036854775807", "training.epochs: expected at most 2147483647, found 9223372036854775807"},
        Refusal{"training.gradient_accumulation_steps=0", "training.gradient_accumulation_steps: expected at least 1, found 0"},
        Refusal{"training.gradient_accumulation_steps=2147483647",
                "training.gradient_accumulation_steps: expected at most the samples of training.global_batch_size, found 2147483647"},
        Refusal{"training.learning_rate=-1e-3", "training.learning_rate: expected a number that is not negative, found -0.001"},
        Refusal{"data.train[0].weight=.nan", "data.train[0].weight: expected a finite number, found nan"},
        Refusal{"training.gamma=.inf", "training.gamma: expected a finite number, found inf"},
        Refusal{"training.betas=[0.9, 1]", "training.betas[1]: expected a number from 0 to below 1, found 1.0"},
        Refusal{"training.max_grad_norm=0", "training.max_grad_norm: expected a number above 0, or null for no clipping, found 0.0"},
        Refusal{"training.lr_scheduler=cosin", "did you mean \"cosine\"? allowed: cosine, step, cosine_annealing, plateau, constant"},
        Refusal{"training.lr_scheduler=step", "training.lr_scheduler: the schedule \"step\" needs training.step_size"},
        Refusal{"training.warmup_steps=-1", "training.warmup_steps: expected at least 0, found -1"},
        Refusal{"training.precision=bf16", "training.precision: bf16 needs device: cuda; on the CPU use f32 or f64"},
        Refusal{"training.loss_options={relation: absolute}", "training.loss_options.relation: changes nothing with this training.loss"},
        Refusal{"training={steps: 1, loss: h1, loss_options: {p: 1}}", "training.loss_options.p: changes nothing"},
        Refusal{"training={steps: 1, loss: lp, loss_options: {periodic: false}}", "training.loss_options.periodic: changes nothing"},
        Refusal{"training.restore_optimizer=true", "training.restore_optimizer: needs model.from, the folder"},
        Refusal{"training.correct_bias=false", "training.correct_bias: expected true with the optimizer adamw"},
        Refusal{"evaluation.units=SI", "allowed: normalized, physical"},
        Refusal{"training.max_wall_time=3", "training.max_wall_time: expected text, found 3"},
        Refusal{"training.max_wall_time=3x", "training.max_wall_time: expected a duration such as 11h30m, 90m or 45s, found \"3x\""},
        Refusal{"device=gpu", "device: expected one of the allowed values, found \"gpu\"; did you mean \"cpu\"? allowed: cpu, cuda"},
        Refusal{"model={image_size: 32}", "model: needs `type` (scot, fno, tfno or mg_tfno) with its sizes, or `from`"},
        Refusal{"model.from=3", "command line:1: model.from: expected text, found 3"},
        Refusal{"model=scot", "command line:1: model: expected a map of keys"}, Refusal{"output=null", "output: expected text, found null"},
        Refusal{"data.train=[]", "data.train: is missing; list at least one data set"},
        Refusal{"data.train[0].path=''", "data.train[0].path: a path is missing; give the data file or the folder of chunk files"},
        Refusal{"data.train[1].path=x", "run.yaml:4: data.train[1].path: there is no element 1 in a list of 1"},
        Refusal{"data.train[0=x", "command line:1: data.train[0: this is no path to a key; write it as in data.train[0].path"},
        Refusal{"data..train=x", "data..train: this is no path to a key"},
        Refusal{"data.validation=[]", "run.yaml:9: evaluation.every: needs data.validation, the data to evaluate on"},
        Refusal{"evaluation.every=0", "evaluation.every: expected at least 1, found 0"},
        Refusal{"evaluation.cases[0].final_time=0",
                "run.yaml:10: evaluation.cases[0]: expected 0 <= initial_time < final_time, found 0 and 0"},
        Refusal{"evaluation.cases[0].ar_steps=[4, 11]",
                "evaluation.cases[0].ar_steps: the steps advance 15 frames, but final_time - initial_time is 14"},
        Refusal{"evaluation.cases[0].ar_steps=2000000000", "ar_steps: expected at most 10000 steps, found 2000000000"},
        Refusal{"evaluation.cases[0]={initial_time: 0, final_time: 14, ar_steps: 4, every_step: true}",
                "but 14 frames do not divide into 4 equal steps"},
        Refusal{"checkpoint.keep=0", "checkpoint.keep: expected at least 1, found 0"},
        Refusal{"parallel.order=[data, data, domain_x, tensor]", "parallel.order: needs each axis once: domain_y"},
        Refusal{"parallel.tensor=0", "parallel.tensor: expected at least 1, found 0"}),
    [](const auto& info) { return std::to_string(info.index); });

}  // namespace
}  // namespace trident
