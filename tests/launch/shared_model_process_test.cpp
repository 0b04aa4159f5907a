// The program on meshes: one model for all ranks, from the file to the answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "checkpoint/safetensors_writer.h"
#include "launch/field_file.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/launch/program.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

class OnAMesh : public ::testing::Test {
 protected:
  void SetUp() override {
    const Finished run = run_shell(folder_.train("one", "training.global_batch_size=4 training.steps=2"));
    ASSERT_EQ(run.status, 0) << run.output;
  }
  std::string quoted(const std::string& name) const { return concat("'", folder_.path(name).string(), "'"); }
  std::string question() const {
    return "--input '" TRIDENT_TEST_DATA "' --trajectory 4 --frame 0 --problem NS-Sines --time 14 --steps 2 --output ";
  }
  std::string predict(const std::string& launcher, const std::string& name, const std::string& more = "") const {
    return concat(launcher, " ", program(), " predict --model ", quoted("one/model"), " ", question(), quoted(name), " ", more);
  }
  Tensor field(const std::string& file, const std::string& name) const {
    const Tensor found = read_field_file(folder_.path(file).string()).find(name);
    const Tensor numbers = empty(found.shape(), DType::f32);
    copy_into(numbers, found);
    return numbers;
  }
  /// Of one field in two files, as a 2-norm relative to the second.
  double distance(const std::string& a, const std::string& b, const std::string& name = "output") const {
    const auto x = to_host<float>(field(a, name)), y = to_host<float>(field(b, name));
    EXPECT_EQ(x.size(), y.size());
    double error = 0.0, norm = 0.0;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
      error += (x[i] - y[i]) * (x[i] - y[i]);
      norm += y[i] * y[i];
    }
    return std::sqrt(error / norm);
  }
  std::size_t wait_for(const std::string& name) const {
    for (int tries = 0; tries < 2000 && !std::filesystem::exists(folder_.path(name)); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return std::filesystem::exists(folder_.path(name)) ? 1 : 0;
  }
  RunFolderFixture folder_;
};

TEST_F(OnAMesh, PredictionsDoNotDependOnTheMesh) {
  ASSERT_EQ(run_shell(predict("", "a.safetensors")).status, 0);
  int number = 0;
  for (const char* mesh :
       {"parallel.domain_y=2", "parallel.domain_x=2", "parallel.tensor=2", "parallel.domain_y=2 parallel.tensor=2", ""}) {
    const std::string name = concat("b", number, number % 2 == 0 ? ".safetensors" : ".h5");
    ++number;
    const Finished done = run_shell(predict(mpirun(std::string(mesh).size() > 20 ? 4 : 2), name, mesh));
    ASSERT_EQ(done.status, 0) << mesh << done.output;
    EXPECT_LT(distance(name, "a.safetensors"), 1e-5) << mesh;
    EXPECT_EQ(to_host<float>(field(name, "input")), to_host<float>(field("a.safetensors", "input"))) << mesh;
  }
  // Files are read by parts too, and what a rank cannot write no rank leaves behind.
  for (const char* input : {"b0.safetensors", "b1.h5"}) {
    const std::string ask = concat(program(), " predict --model ", quoted("one/model"),
                                   " --problem NS-Sines --steps 2 --overwrite --input ", quoted(input), " --output ");
    ASSERT_EQ(run_shell(ask + quoted("c.h5")).status, 0);
    const Finished done = run_shell(concat(mpirun(2), " ", ask, quoted("d.h5"), " parallel.domain_x=2"));
    ASSERT_EQ(done.status, 0) << done.output;
    EXPECT_LT(distance("d.h5", "c.h5"), 1e-5) << input;
  }
}

TEST_F(OnAMesh, KeptFieldsOfAnEvaluationAreThoseOfOneRank) {
  const std::string evaluate = concat(program(), " evaluate --model ", quoted("one/model"), " --data ", quoted("run.yaml"),
                                      " 'evaluation.cases=[{initial_time: 0, final_time: 12, ar_steps: 2, every_step: true}]'"
                                      " evaluation.batch_size=2 training.precision=f64 --json --output ");
  const Finished alone = run_shell(evaluate + quoted("alone.safetensors"));
  ASSERT_EQ(alone.status, 0) << alone.output;
  for (const char* mesh : {"parallel.domain_y=2", "parallel.data=2", "parallel.tensor=2"}) {
    const Finished done = run_shell(concat(mpirun(2), " ", evaluate, quoted("shared.safetensors"), " --overwrite ", mesh));
    ASSERT_EQ(done.status, 0) << done.output;
    for (const char* name : {"0/input", "0-12/label", "0-12/2"})
      EXPECT_LT(distance("shared.safetensors", "alone.safetensors", name), 1e-6) << name;
  }
  const Finished done = run_shell(evaluate + quoted("alone.h5"));
  ASSERT_EQ(done.status, 0) << done.output;
  for (const char* name : {"0/input", "0-12/label", "0-12/2"}) EXPECT_EQ(distance("alone.h5", "alone.safetensors", name), 0.0) << name;
}

/// Multi-grid patches are shared out where other models share rectangles.
TEST_F(OnAMesh, PatchesArePredictedAndEvaluatedByAllRanks) {
  const std::string recipe =
      "'model={type: mg_tfno, n_modes: [4, 4], hidden_channels: 4, n_layers: 1, padding_fraction: 0.125}' "
      "training.global_batch_size=4 training.steps=1 training.loss=h1";
  const Finished trained = run_shell(folder_.train("patches", recipe));
  ASSERT_EQ(trained.status, 0) << trained.output;
  const std::string model = concat(" --overwrite --model ", quoted("patches/model"));
  const std::string ask =
      concat(program(), " predict", model, " --input '" TRIDENT_TEST_DATA "' --trajectory 4 --problem NS-Sines --steps 3 --output ");
  const std::string evaluate =
      concat(program(), " evaluate", model, " --data ", quoted("run.yaml"),
             " 'evaluation.cases=[{initial_time: 0, final_time: 12, ar_steps: 2}]' training.precision=f64 --output ");
  ASSERT_EQ(run_shell(ask + quoted("a.h5")).status, 0);
  const Finished alone = run_shell(evaluate + quoted("alone.safetensors"));
  ASSERT_EQ(alone.status, 0) << alone.output;
  for (const auto& [ranks, mesh] : {std::pair{3, " parallel.domain_y=3"}, {2, " parallel.domain_x=2"}, {2, ""}}) {
    const Finished done = run_shell(concat(mpirun(ranks), " ", ask, quoted("b.h5"), mesh));
    ASSERT_EQ(done.status, 0) << done.output;
    EXPECT_LT(distance("b.h5", "a.h5"), 1e-5) << mesh;
    const Finished evaluated = run_shell(concat(mpirun(ranks), " ", evaluate, quoted("shared.safetensors"), mesh));
    ASSERT_EQ(evaluated.status, 0) << evaluated.output;
    EXPECT_EQ(evaluated.output, alone.output) << mesh;
    for (const char* name : {"0/input", "0-12/label", "0-12/2"})
      EXPECT_LT(distance("shared.safetensors", "alone.safetensors", name), 1e-6) << name;
  }
}

TEST_F(OnAMesh, TrainingAndEvaluationDoNotDependOnTheMesh) {
  const std::string recipe = "training.global_batch_size=4 training.steps=2 evaluation.every=2 checkpoint.every=null ";
  ASSERT_EQ(run_shell(folder_.train("reference", recipe)).status, 0);
  const Finished run = run_shell(folder_.train("mesh", recipe + "parallel.domain_y=2 --profile", mpirun(4)));
  ASSERT_EQ(run.status, 0) << run.output;
  const auto expected = folder_.metrics("reference"), found = folder_.metrics("mesh");
  ASSERT_EQ(found.size(), expected.size());
  for (const char* key : {"loss", "grad_norm", "validation_loss", "uv/median_relative_l1_error"}) {
    for (std::size_t row = 0; row < found.size(); ++row) {
      const ConfigValue* value = expected[row].find(key);
      if (value == nullptr) continue;
      EXPECT_NEAR(found[row].find(key)->as_number() / value->as_number(), 1.0, 1e-9) << key << row;
    }
  }
  EXPECT_TRUE(std::filesystem::exists(folder_.path("mesh") / "trace.json"));
  EXPECT_THAT(run.output, HasSubstr("rank 3 | data 1 domain_y 1"));
}

TEST_F(OnAMesh, AMeshThatCannotWorkIsOneErrorThatNamesOneThatDoes) {
  const Finished run = run_shell(folder_.train("never", "parallel.domain_y=3", mpirun(3)));
  EXPECT_NE(run.status, 0);
  EXPECT_THAT(run.output, HasSubstr("the nearest mesh that works is"));
  EXPECT_EQ(run.output.find("error: "), run.output.rfind("error: ")) << run.output;
  EXPECT_FALSE(std::filesystem::exists(folder_.path("never")));
}

TEST_F(OnAMesh, TheServiceOfTwoRanksAnswersAsOneRankDoesAndDrains) {
  std::filesystem::create_directories(folder_.path("models"));
  std::filesystem::create_directory_symlink(folder_.path("one/model"), folder_.path("models/flow"));
  ASSERT_EQ(run_shell(predict("", "a.safetensors")).status, 0);
  const std::string address = "unix:" + folder_.path("socket").string();
  // The signal goes to rank 0 alone: it ends the others.
  Background server(concat(mpirun(2), " sh -c 'if [ \"$OMPI_COMM_WORLD_RANK\" = 0 ]; then echo $$ > ", folder_.path("leader").string(),
                           "; fi; exec \"", TRIDENT_PROGRAM, "\" serve --model-repository ", folder_.path("models").string(),
                           " --grpc-address ", address, " parallel.tensor=2'"));
  ASSERT_TRUE(wait_for("socket"));
  const Finished served =
      run_shell(concat(program(), " predict --server '", address, "' --model flow ", question(), quoted("served.safetensors")));
  EXPECT_EQ(served.status, 0) << served.output;
  const Finished refused = run_shell(concat(program(), " predict --server '", address, "' --model flow --steps 2 --input ",
                                            quoted("a.safetensors"), " --output ", quoted("refused.safetensors")));
  EXPECT_EQ(refused.status, 0) << refused.output;  // the input's own numbers without a problem: another kind of request
  run_shell(concat("kill -TERM $(cat ", quoted("leader"), ")"));
  EXPECT_EQ(server.wait(std::chrono::seconds(30)), 0);
  EXPECT_LT(distance("served.safetensors", "a.safetensors"), 1e-5);
}

TEST_F(OnAMesh, ARequestThatOneRankHasNoMemoryForIsRefusedAndTheServiceGoesOn) {
  std::filesystem::create_directories(folder_.path("models"));
  std::filesystem::create_directory_symlink(folder_.path("one/model"), folder_.path("models/flow"));
  const std::string address = "unix:" + folder_.path("socket").string(), places = folder_.path("process.").string();
  Background server(concat(mpirun(2), " sh -c 'echo $$ > ", places, "$OMPI_COMM_WORLD_RANK; exec \"", TRIDENT_PROGRAM,
                           "\" serve --model-repository ", folder_.path("models").string(), " --grpc-address ", address,
                           " parallel.domain_y=2'"));
  ASSERT_TRUE(wait_for("socket"));
  const auto ask = [&](const std::string& input) {
    return run_shell(concat(program(), " predict --overwrite --server '", address, "' --model flow --input ",
                            quoted(input + ".safetensors"), " --output ", quoted("answer.safetensors")));
  };
  const auto write = [&](const std::string& name, std::int64_t samples, std::int64_t points) {
    write_safetensors(folder_.path(name + ".safetensors"),
                      {{"input", zeros({samples, 4, points, points}, DType::f32)}, {"time", full({samples}, 1.0, DType::f32)}});
  };
  write("small", 1, 32);
  write("large", 32, 256);
  EXPECT_EQ(ask("small").status, 0);

  // The second rank may have hardly more memory than it has now.
  int follower = 0;
  std::ifstream(places + "1") >> follower;
  std::int64_t pages = 0;
  std::ifstream(concat("/proc/", follower, "/statm")) >> pages;
  const auto most = static_cast<rlim_t>(pages * ::sysconf(_SC_PAGESIZE) + (6 << 20));
  const rlimit limit{most, most};
  ASSERT_EQ(::prlimit(follower, RLIMIT_AS, &limit, nullptr), 0);
  const Finished refused = ask("large");
  EXPECT_NE(refused.status, 0);
  EXPECT_THAT(refused.output, HasSubstr("rank 1: "));
  EXPECT_EQ(ask("small").status, 0);

  int leader = 0;
  std::ifstream(places + "0") >> leader;
  ::kill(leader, SIGTERM);
  EXPECT_EQ(server.wait(std::chrono::seconds(30)), 0);
}

TEST_F(OnAMesh, AFollowerThatDiesEndsTheServiceAndIsNamed) {
  std::filesystem::create_directories(folder_.path("models"));
  std::filesystem::create_directory_symlink(folder_.path("one/model"), folder_.path("models/flow"));
  const Finished run = run_shell(concat(mpirun(2), " sh -c 'if [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then (sleep 2; kill -9 $$) & fi; exec \"",
                                        TRIDENT_PROGRAM, "\" serve --model-repository ", folder_.path("models").string(),
                                        " --grpc-address unix:", folder_.path("socket").string(), " parallel.tensor=2'"));
  EXPECT_NE(run.status, 0);
  EXPECT_THAT(run.output, HasSubstr("rank 1"));
}

TEST_F(OnAMesh, AFollowerThatStopsEndsTheServiceAndItsRequestWithinTheTimeOfAnExchange) {
  std::filesystem::create_directories(folder_.path("models"));
  std::filesystem::create_directory_symlink(folder_.path("one/model"), folder_.path("models/flow"));
  const std::string address = "unix:" + folder_.path("socket").string(), places = folder_.path("process.").string();
  const std::string log = folder_.path("log").string();
  Background server(
      concat(mpirun(2), " sh -c 'echo $$ > ", places, "$OMPI_COMM_WORLD_RANK; exec \"", TRIDENT_PROGRAM, "\" serve --model-repository ",
             folder_.path("models").string(), " --grpc-address ", address, " parallel.tensor=2 parallel.timeout_seconds=2'"),
      log);
  ASSERT_TRUE(wait_for("socket"));
  int follower = 0;
  std::ifstream(places + "1") >> follower;
  ASSERT_EQ(::kill(follower, SIGSTOP), 0);
  const Finished asked = run_shell(
      concat("timeout 30 ", program(), " predict --server '", address, "' --model flow ", question(), quoted("never.safetensors")));
  EXPECT_EQ(asked.status, 1) << asked.output;
  EXPECT_THAT(asked.output, HasSubstr("error: "));
  const int status = server.wait(std::chrono::seconds(30));
  ::kill(follower, SIGKILL);  // where it has outlived mpirun
  EXPECT_EQ(status, 1);
  EXPECT_THAT(RunFolderFixture::bytes(log), ::testing::ContainsRegex("for [0-9]+\\.[0-9] s\n"));
  EXPECT_THAT(RunFolderFixture::bytes(log), HasSubstr("rank 1 (tensor 1): does not answer"));
}

}  // namespace
}  // namespace trident::testing
