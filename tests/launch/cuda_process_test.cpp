/// The program with --device cuda: the losses, weights and answers of the CPU, on one rank and on two, and from one device to the other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/safetensors_reader.h"
#include "launch/field_file.h"
#include "runtime/device/cuda_device.h"
#include "runtime/error.h"
#include "tests/launch/program.h"
#include "tests/support/tensor_near.h"

namespace trident::testing {
namespace {

constexpr double kTolerance = 1e-11;

class Cuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device";
  }

  static void run(const std::string& command) {
    const Finished done = run_shell(command);
    ASSERT_EQ(done.status, 0) << done.output;
  }
  void train(const std::string& name, const std::string& arguments, const std::string& launcher = "") {
    run(folder_.train(name, "training.global_batch_size=2 training.steps=3 checkpoint.every=2 " + arguments, launcher));
  }
  std::string quoted(const std::string& name) const { return concat("'", folder_.path(name).string(), "'"); }

  void expect_same_run(const std::string& name, const std::string& expected) {
    for (const char* quantity : {"loss", "grad_norm"}) {
      const std::vector<double> a = folder_.column(name, quantity), b = folder_.column(expected, quantity);
      ASSERT_EQ(a.size(), b.size()) << name;
      for (std::size_t step = 0; step < a.size(); ++step)
        EXPECT_NEAR(a[step] / b[step], 1.0, kTolerance) << name << ' ' << quantity << ' ' << step;
    }
    const SafetensorsReader mine(folder_.path(name) / "model/model.safetensors"),
        theirs(folder_.path(expected) / "model/model.safetensors");
    for (const SafetensorsEntry& entry : theirs.entries())
      EXPECT_TENSOR_NEAR(mine.tensor(entry.name), theirs.tensor(entry.name), kTolerance);
  }
  RunFolderFixture folder_;
};

TEST_F(Cuda, TrainsAndGoesOnAsTheCpuDoes) {
  const std::string fixed = "model.drop_path_rate=0 ";
  train("cpu", fixed);
  train("cuda", fixed + "--device cuda training.gradient_accumulation_steps=2");
  expect_same_run("cuda", "cpu");
  for (const auto& [first, second] : {std::pair{"cpu", "cuda"}, std::pair{"cuda", "cpu"}}) {
    const std::string name = concat("from_", first);
    std::filesystem::copy(folder_.path(first), folder_.path(name), std::filesystem::copy_options::recursive);
    std::filesystem::remove_all(folder_.path(name) / "checkpoints/step-00000003");
    train(name, fixed + "--resume --device " + second);
    expect_same_run(name, "cpu");
  }
}

TEST_F(Cuda, TwoRanksGiveWhatOneGives) {
  train("one", "");
  for (const char* axis : {"data", "tensor", "domain_y"}) {
    train(axis, concat("--device cuda parallel.", axis, "=2"), mpirun(2));
    expect_same_run(axis, "one");
  }
}

TEST_F(Cuda, PredictsAndEvaluatesAsTheCpuDoes) {
  train("run", "training.steps=1");
  const std::string model = concat(" --precision f64 --model ", quoted("run/model"));
  const std::string evaluate = concat(program(), " evaluate", model, " --data ", quoted("run/run.yaml"), " --json --output ");
  const std::string cases = " 'evaluation.cases=[{initial_time: 0, final_time: 14, ar_steps: 7}]'";
  const std::string predict =
      concat(program(), " predict", model,
             " --input '" TRIDENT_TEST_DATA "' --trajectory 4 --frame 0 --problem NS-Sines --time 14 --steps 4 --output ");
  for (const std::string device : {"cpu", "cuda"}) {
    run(concat(evaluate, quoted(device + "_cases.safetensors"), " --device ", device, cases));
    run(concat(predict, quoted(device + "_answer.safetensors"), " --device ", device));
  }
  const SafetensorsReader here(folder_.path("cpu_cases.safetensors")), there(folder_.path("cuda_cases.safetensors"));
  ASSERT_FALSE(here.entries().empty());
  for (const SafetensorsEntry& entry : here.entries()) EXPECT_TENSOR_NEAR(there.tensor(entry.name), here.tensor(entry.name), kTolerance);
  const auto answer = [&](const std::string& device) {
    return read_field_file(folder_.path(device + "_answer.safetensors").string()).find("output");
  };
  EXPECT_TENSOR_NEAR(answer("cuda"), answer("cpu"), 1e-6);  // f32 in the data, so the answer is
}

}  // namespace
}  // namespace trident::testing
