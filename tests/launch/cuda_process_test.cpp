/// The program with --device cuda: the losses, weights and answers of the CPU, on one rank and on two, from one device to the other, and
/// near them in bf16.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "checkpoint/safetensors_reader.h"
#include "launch/field_file.h"
#include "runtime/device/cuda_device.h"
#include "runtime/error.h"
#include "tests/launch/program.h"
#include "tests/support/on_gpu.h"
#include "tests/support/tensor_near.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

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

TEST_F(Cuda, MpiGivesTheSameBitsFromDeviceToDeviceAsThroughTheHost) {
  if (!is_emulated(kGpu)) GTEST_SKIP() << "no CUDA device whose memory is the host's";
  const std::string arguments = "--device cuda parallel.tensor=2 training.global_batch_size=2 training.steps=2";
  run("TRIDENT_CUDA_AWARE_MPI=0 " + folder_.train("staged", arguments, mpirun(2)) + " 2>&1 | grep 'by MPI, through host memory'");
  run("TRIDENT_CUDA_AWARE_MPI=1 " + folder_.train("direct", arguments, mpirun(2)) + " 2>&1 | grep 'by MPI, which is CUDA-aware'");
  for (const char* quantity : {"loss", "grad_norm"}) EXPECT_EQ(folder_.column("direct", quantity), folder_.column("staged", quantity));
  EXPECT_EQ(RunFolderFixture::bytes(folder_.path("direct") / "model/model.safetensors"),
            RunFolderFixture::bytes(folder_.path("staged") / "model/model.safetensors"));
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

/// The largest relative difference between two columns of numbers.
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) largest = std::max(largest, std::fabs(a[i] / b[i] - 1.0));
  return largest;
}

class CudaInBf16 : public Cuda {
 protected:
  static constexpr const char* kBf16 = "--device cuda training.precision=bf16 ";
  /// Of fields; f32 parameters after few steps are nearer.
  static constexpr double kFields = 2e-2;

  double loss_distance(const std::string& name, const std::string& expected) const {
    return distance(folder_.column(name, "loss"), folder_.column(expected, "loss"));
  }
};

TEST_F(CudaInBf16, TrainsAloneOnTwoRanksAndAfterAPause) {
  train("f32", "--device cuda training.precision=f32");
  train("bf16", kBf16);
  EXPECT_LT(loss_distance("bf16", "f32"), 1e-2);
  EXPECT_GT(loss_distance("bf16", "f32"), 0.0);
  std::filesystem::copy(folder_.path("bf16"), folder_.path("again"), std::filesystem::copy_options::recursive);
  std::filesystem::remove_all(folder_.path("again") / "checkpoints/step-00000003");
  train("again", std::string(kBf16) + "--resume");
  EXPECT_EQ(folder_.column("again", "loss"), folder_.column("bf16", "loss"));
  EXPECT_EQ(RunFolderFixture::bytes(folder_.path("again") / "model/model.safetensors"),
            RunFolderFixture::bytes(folder_.path("bf16") / "model/model.safetensors"));
  for (const char* axis : {"data", "tensor", "domain_y"}) {
    train(axis, concat(kBf16, "parallel.", axis, "=2"), mpirun(2));
    EXPECT_LT(loss_distance(axis, "bf16"), 1e-2) << axis;
    EXPECT_THAT(RunFolderFixture::bytes(folder_.path(axis) / "log"), HasSubstr("the ranks exchange by MPI"));
  }
}

TEST_F(CudaInBf16, PredictsEvaluatesAndServes) {
  train("run", "training.precision=f32");
  const std::string predict = concat(program(), " predict"), model = " --model " + quoted("run/model");
  const std::string question = " --input '" TRIDENT_TEST_DATA "' --trajectory 4 --frame 0 --problem NS-Sines --time 14 --steps 2 --output ";
  const auto answer = [&](const char* name) { return read_field_file(folder_.path(name).string()).find("output"); };
  run(predict + model + question + quoted("f32.safetensors"));
  run(predict + model + question + quoted("bf16.safetensors") + " --device cuda --precision bf16");
  EXPECT_TENSOR_NEAR(answer("bf16.safetensors"), answer("f32.safetensors"), kFields);

  const std::string evaluate = concat(program(), " evaluate", model, " --data ", quoted("run/run.yaml"), " --json --output ");
  const std::string cases = " 'evaluation.cases=[{initial_time: 0, final_time: 14, ar_steps: 1}]'";
  run(evaluate + quoted("f32_cases.safetensors") + cases);
  run(evaluate + quoted("bf16_cases.safetensors") + cases + " --device cuda --precision bf16");
  const SafetensorsReader here(folder_.path("f32_cases.safetensors")), there(folder_.path("bf16_cases.safetensors"));
  for (const SafetensorsEntry& entry : here.entries()) EXPECT_TENSOR_NEAR(there.tensor(entry.name), here.tensor(entry.name), kFields);

  std::filesystem::create_directories(folder_.path("models"));
  std::filesystem::create_directory_symlink(folder_.path("run/model"), folder_.path("models/flow"));
  const std::string address = "unix:" + folder_.path("socket").string();
  Background server(
      concat(program(), " serve --device cuda --precision bf16 --model-repository ", quoted("models"), " --grpc-address '", address, "'"));
  for (int tries = 0; tries < 1000 && !std::filesystem::exists(folder_.path("socket")); ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const Finished served = run_shell(concat(predict, " --server '", address, "' --model flow", question, quoted("served.safetensors")));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(std::chrono::seconds(30)), 0);
  ASSERT_EQ(served.status, 0) << served.output;
  EXPECT_TENSOR_NEAR(answer("served.safetensors"), answer("bf16.safetensors"), 0.0);
}

}  // namespace
}  // namespace trident::testing
