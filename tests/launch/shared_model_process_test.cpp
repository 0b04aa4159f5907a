// The program on meshes: one model for all ranks, from the file to the answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "launch/field_file.h"
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
  double distance(const std::string& a, const std::string& b) const {
    const auto x = to_host<float>(read_field_file(folder_.path(a).string()).find("output"));
    const auto y = to_host<float>(read_field_file(folder_.path(b).string()).find("output"));
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
  for (const char* mesh : {"parallel.domain_y=2", "parallel.domain_x=2", "parallel.tensor=2", "parallel.domain_y=2 parallel.tensor=2", ""}) {
    const std::string name = concat("b", number++, ".safetensors");
    const Finished done = run_shell(predict(mpirun(std::string(mesh).size() > 20 ? 4 : 2), name, mesh));
    ASSERT_EQ(done.status, 0) << mesh << done.output;
    EXPECT_LT(distance(name, "a.safetensors"), 1e-5) << mesh;
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
  const Finished served = run_shell(concat(program(), " predict --server '", address, "' --model flow ", question(), quoted("served.safetensors")));
  EXPECT_EQ(served.status, 0) << served.output;
  const Finished refused = run_shell(concat(program(), " predict --server '", address, "' --model flow --steps 2 --input ",
                                            quoted("a.safetensors"), " --output ", quoted("refused.safetensors")));
  EXPECT_EQ(refused.status, 0) << refused.output;  // the input's own numbers without a problem: another kind of request
  run_shell(concat("kill -TERM $(cat ", quoted("leader"), ")"));
  EXPECT_EQ(server.wait(std::chrono::seconds(30)), 0);
  EXPECT_LT(distance("served.safetensors", "a.safetensors"), 1e-5);
}

TEST_F(OnAMesh, AFollowerThatDiesEndsTheServiceAndIsNamed) {
  std::filesystem::create_directories(folder_.path("models"));
  std::filesystem::create_directory_symlink(folder_.path("one/model"), folder_.path("models/flow"));
  const Finished run = run_shell(concat(mpirun(2), " sh -c 'if [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then (sleep 2; kill -9 $$) & fi; exec \"",
                                        TRIDENT_PROGRAM, "\" serve --model-repository ", folder_.path("models").string(), " --grpc-address unix:",
                                        folder_.path("socket").string(), " parallel.tensor=2'"));
  EXPECT_NE(run.status, 0);
  EXPECT_THAT(run.output, HasSubstr("rank 1"));
}

}  // namespace
}  // namespace trident::testing
