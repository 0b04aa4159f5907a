/// neuraloperator's recipes from run files: going on from its checkpoints, and its normalisation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "checkpoint/model_directory.h"
#include "checkpoint/safetensors_writer.h"
#include "runtime/tensor/create.h"
#include "tests/launch/program.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

std::string quoted(const std::filesystem::path& path) { return concat("'", path.string(), "'"); }

std::vector<double> column(const std::filesystem::path& run, const std::string& key) {
  std::vector<double> values;
  std::istringstream lines(read_bytes(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    if (const ConfigValue* value = parse_json(line, "metrics.jsonl").find(key)) values.push_back(value->as_number());
  }
  return values;
}

void expect_close(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i] / expected[i], 1.0, tolerance) << i;
}

/// What the reference's trainer saved after its first epoch of two steps, and the next two.
class FromNeuralop : public ::testing::TestWithParam<std::string> {
 protected:
  FromNeuralop() {
    write_bytes(folder / "run.yaml", R"(
output: run
model: {}
data:
  train: [{path: data.safetensors, input: train/input, output: train/target, channels: [u]}]
  shuffle: false
training:
  global_batch_size: 4
  epochs: 2
  optimizer: neuralop_adamw
  restore_optimizer: true
  learning_rate: 0.005
  weight_decay: 1.0e-4
  max_grad_norm: null
  lr_scheduler: step
  schedule_unit: epoch
  step_size: 1
  gamma: 0.5
  loss: lp
)");
    std::filesystem::copy(checkpoint / "tensors.safetensors", folder / "data.safetensors");
  }

  Finished train(const std::string& arguments) const {
    const std::string channels = GetParam() == "tfno_tucker" ? " 'data.train[0].input_channels=[a, b]'" : "";
    return run_shell(
        concat(program(), " train ", quoted(folder / "run.yaml"), " 'model.from=", checkpoint.string(), "'", channels, " ", arguments));
  }

  TemporaryFolder folder;
  std::filesystem::path checkpoint = std::filesystem::path(TRIDENT_NEURALOP_CHECKPOINTS) / GetParam();
};

TEST_P(FromNeuralop, TrainingGoesOnAsItsOwnWould) {
  const Finished run = train("");
  ASSERT_EQ(run.status, 0) << run.output;
  EXPECT_THAT(run.output, HasSubstr("going on after step 2"));
  const ConfigValue recorded = parse_json(read_bytes(checkpoint / "case.json"), "case.json");
  std::vector<double> losses;
  for (const ConfigValue& loss : recorded.find("resumed_losses")->elements()) losses.push_back(loss.as_number());
  expect_close(column(folder / "run", "loss"), losses, 1e-5);
  expect_close(column(folder / "run", "step"), {2.0, 3.0}, 0.0);
  expect_close(column(folder / "run", "learning_rate"), {0.0025, 0.0025}, 1e-12);
  const WeightFiles numbers(checkpoint / "tensors.safetensors");
  for (const StoredTensor& tensor : model_tensors(folder / "run/model")) {
    const StoredTensor* expected = numbers.find("resumed/" + tensor.name);
    ASSERT_NE(expected, nullptr) << tensor.name;
    EXPECT_TENSOR_NEAR(tensor.load(), expected->load(), 1e-5);
  }
}

TEST_P(FromNeuralop, SaysWhatIsMissingOrDoesNotFit) {
  EXPECT_THAT(train("training.epochs=1").output, HasSubstr("has 2 steps behind it"));
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
  EXPECT_THAT(train("training.betas=[0.8,0.999] training.steps=3 training.epochs=null").output, HasSubstr("betas[0] is 0.8 now"));
  std::filesystem::copy(folder / "run/model", folder / "plain", std::filesystem::copy_options::recursive);
  EXPECT_THAT(run_shell(concat(program(), " train ", quoted(folder / "run.yaml"), " output=again 'model.from=", (folder / "plain").string(),
                               GetParam() == "tfno_tucker" ? "' 'data.train[0].input_channels=[a, b]'" : "'"))
                  .output,
              HasSubstr("has no optimizer.pt"));
}

TEST_P(FromNeuralop, BecomesATrainingCheckpointToGoOnFrom) {
  const std::filesystem::path checkpoints = folder / "run/checkpoints";
  const Finished converted = run_shell(concat(program(), " convert ", quoted(checkpoint), " ", quoted(checkpoints), " --to checkpoint"));
  ASSERT_EQ(converted.status, 0) << converted.output;
  const Finished run = train("--resume");
  ASSERT_EQ(run.status, 0) << run.output;
  EXPECT_THAT(run.output, HasSubstr("going on after step 0"));
  EXPECT_EQ(column(folder / "run", "loss").size(), 4u);
  ASSERT_EQ(train("output=" + quoted(folder / "anew") + " training.restore_optimizer=false").status, 0);
  EXPECT_EQ(column(folder / "run", "loss"), column(folder / "anew", "loss"));
}

INSTANTIATE_TEST_SUITE_P(Models, FromNeuralop, ::testing::Values("fno_dense", "tfno_tucker"));

/// Fields far from mean 0 and deviation 1.
class Normalized : public ::testing::Test {
 protected:
  Normalized() {
    const auto fields = [](std::uint64_t seed, double factor, double mean) {
      const Tensor unit = random_tensor({6, 8, 8}, seed);
      std::vector<float> values;
      for (const double value : to_host<double>(unit)) values.push_back(static_cast<float>(factor * value + mean));
      return from_values<float>({6, 8, 8}, values);
    };
    write_safetensors(folder / "data.safetensors", {{"x", fields(1, 3.0, 5.0)}, {"y", fields(2, 0.5, -20.0)}});
    write_bytes(folder / "run.yaml", R"(
output: run
model: {type: fno, n_modes: [4, 4], hidden_channels: 4}
data:
  train: [{path: data.safetensors, input: x, output: y, input_channels: [a], channels: [u]}]
  validation: [{path: data.safetensors, input: x, output: y, input_channels: [a], channels: [u]}]
  normalization: fitted
training: {global_batch_size: 3, steps: 3, loss: lp, precision: f64}
evaluation: {batch_size: 6, every: 3}
)");
  }
  Finished run(const std::string& command, const std::string& arguments, const std::string& launcher = "") const {
    return run_shell(concat(launcher, " ", program(), " ", command, " ", quoted(folder / "run.yaml"), " ", arguments));
  }
  std::string output(const std::string& name) const { return "output=" + quoted(folder / name) + " "; }
  double loss_of(const std::string& arguments) const {
    const Finished found =
        run_shell(concat(program(), " evaluate --json --model ", quoted(folder / "run/model"), " --data ", arguments, " 2>/dev/null"));
    return parse_json(found.output, "evaluation").find("validation")->elements()[0].find("validation_loss")->as_number();
  }
  TemporaryFolder folder;
};

TEST_F(Normalized, ByTheTrainingDataOnAnyNumberOfRanksAndInEvaluation) {
  const Finished alone = run("train", "");
  ASSERT_EQ(alone.status, 0) << alone.output;
  EXPECT_THAT(alone.output, HasSubstr("normalisation: input a "));
  ASSERT_EQ(run("train", output("ranks"), mpirun(2)).status, 0);
  EXPECT_EQ(read_bytes(folder / "ranks/model/trident.json"), read_bytes(folder / "run/model/trident.json"));
  expect_close(column(folder / "ranks", "loss"), column(folder / "run", "loss"), 1e-11);
  // The resolved run file has the constants, and the run file as it was written takes the model's.
  ASSERT_EQ(run_shell(concat(program(), " train ", quoted(folder / "run/run.yaml"), " ", output("again"))).status, 0);
  EXPECT_EQ(column(folder / "again", "loss"), column(folder / "run", "loss"));
  const double expected = column(folder / "run", "validation_loss")[0];
  EXPECT_NEAR(loss_of(quoted(folder / "run.yaml")) / expected, 1.0, 1e-12);
  EXPECT_NEAR(loss_of(quoted(folder / "run/run.yaml")) / expected, 1.0, 1e-12);
}

TEST_F(Normalized, LossesMayBePhysical) {
  ASSERT_EQ(run("train", "").status, 0);
  // y is near -20: relative errors of physical fields are far smaller than those of normalised ones.
  const double normalized = loss_of(quoted(folder / "run.yaml")),
               physical = loss_of(quoted(folder / "run.yaml") + " evaluation.units=physical");
  EXPECT_LT(physical, 0.05 * normalized);
  ASSERT_EQ(run("train", output("physical") + "training.loss_units=physical training.steps=1 evaluation.every=1").status, 0);
  const double first = column(folder / "physical", "loss")[0];
  EXPECT_LT(first, 0.05 * column(folder / "run", "loss")[0]);
  // Without normalisation, absolute errors of the same model are those of physical units: the two ways meet.
  const std::string absolute = " 'training.loss_options={relation: absolute}'";
  const double in_units = loss_of(quoted(folder / "run.yaml") + absolute + " evaluation.units=physical");
  const double std = parse_json(read_bytes(folder / "run/model/trident.json"), "trident.json")
                         .find("problems")
                         ->elements()[0]
                         .find("output")
                         ->elements()[0]
                         .find("std")
                         ->as_number();
  EXPECT_NEAR(in_units / (std * loss_of(quoted(folder / "run.yaml") + absolute)), 1.0, 1e-9);
}

}  // namespace
}  // namespace trident::testing
