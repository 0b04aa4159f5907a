#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "checkpoint/safetensors_writer.h"
#include "launch/field_file.h"
#include "runtime/tensor/create.h"
#include "tests/launch/program.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

class Predict : public ::testing::Test {
 protected:
  void SetUp() override {
    const Finished run = run_shell(folder_.train("run", "training.precision=f32 evaluation.every=2"));
    ASSERT_EQ(run.status, 0) << run.output;
  }
  std::string quoted(const std::string& name) const { return concat("'", folder_.path(name).string(), "'"); }
  std::string predict(const std::string& arguments) const { return program() + " predict " + arguments; }
  std::string question() const {
    return "--input '" TRIDENT_TEST_DATA "' --trajectory 4 --frame 0 --problem NS-Sines --time 14 --steps 2 --output ";
  }
  RunFolderFixture folder_;
};

TEST_F(Predict, OfADataSetGivesPhysicalFieldsOfEveryStep) {
  const Finished done = run_shell(predict("--model " + quoted("run/model") + " " + question() + quoted("a.safetensors")));
  ASSERT_EQ(done.status, 0) << done.output;
  const FieldFile file = read_field_file(folder_.path("a.safetensors").string());
  EXPECT_EQ(file.find("output").shape(), (Shape{1, 2, 4, 32, 32}));
  EXPECT_EQ(to_host<float>(file.find("output"))[3 * 32 * 32], 0.0F) << "the pressure is masked: its constant";
  EXPECT_EQ(file.notes.at("trajectory"), "4");
  const Finished refused = run_shell(predict("--model " + quoted("run/model") + " " + question() + quoted("a.safetensors")));
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.output, HasSubstr("--overwrite"));
}

TEST_F(Predict, ReadsAndWritesHdf5WithTheSameNumbers) {
  const std::string model = "--model " + quoted("run/model") + " ";
  ASSERT_EQ(run_shell(predict(model + question() + quoted("a.safetensors"))).status, 0);
  ASSERT_EQ(run_shell(predict(model + question() + quoted("a.h5"))).status, 0);
  const std::string again = "--problem NS-Sines --steps 2 --input " + quoted("a.h5") + " --output " + quoted("b.h5");
  const Finished done = run_shell(predict(model + again));
  ASSERT_EQ(done.status, 0) << done.output;
  const auto numbers = [&](const char* name) { return to_host<float>(read_field_file(folder_.path(name).string()).find("output")); };
  EXPECT_EQ(numbers("a.h5"), numbers("a.safetensors"));
  EXPECT_EQ(numbers("b.h5"), numbers("a.h5"));
  const Notes notes = read_field_file(folder_.path("a.h5").string()).notes;
  EXPECT_EQ(notes.at("trajectory"), "4");
  EXPECT_EQ(notes.at("description"), read_field_file(folder_.path("a.safetensors").string()).notes.at("description"));
}

TEST_F(Predict, WithoutATimeOrWithAFileThatHasNoInputSaysWhatIsMissing) {
  const std::string model = "--model " + quoted("run/model") + " ";
  const Finished timeless =
      run_shell(predict(model + "--problem NS-Sines --input '" TRIDENT_TEST_DATA "' --trajectory 4 --output " + quoted("a.h5")));
  EXPECT_EQ(timeless.status, 1);
  EXPECT_THAT(timeless.output, HasSubstr("time"));
  const Finished empty = run_shell(predict(model + "--input " + quoted("run/model/model.safetensors") + " --output " + quoted("a.h5")));
  EXPECT_EQ(empty.status, 1);
  EXPECT_THAT(empty.output, HasSubstr("has no tensor \"input\""));
  write_safetensors(folder_.path("whole.safetensors"), {NamedTensor{"input", zeros({1, 4, 8, 8}, DType::i64)}});
  const Finished whole = run_shell(predict(model + "--time 1 --input " + quoted("whole.safetensors") + " --output " + quoted("a.h5")));
  EXPECT_EQ(whole.status, 1);
  EXPECT_THAT(whole.output, HasSubstr("input is i64 (1, 4, 8, 8); expected f32 or f64"));
}

TEST_F(Predict, AFolderThatIsMissingIsFoundBeforeAnythingIsRead) {
  const Finished run = run_shell(predict("--model nowhere --input nowhere --output " + quoted("missing/a.h5")));
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.output, HasSubstr("there is no folder"));
}

TEST_F(Predict, TheServiceAnswersTheSameBytes) {
  std::filesystem::create_directories(folder_.path("models"));
  std::filesystem::create_directory_symlink(folder_.path("run/model"), folder_.path("models/flow"));
  const std::string address = "unix:" + folder_.path("socket").string();
  Background server(concat(program(), " serve --model-repository ", quoted("models"), " --grpc-address '", address, "'"));
  for (int tries = 0; tries < 1000 && !std::filesystem::exists(folder_.path("socket")); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const Finished served = run_shell(predict(concat("--server '", address, "' --model flow ", question(), quoted("served.safetensors"))));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(std::chrono::seconds(30)), 0);
  ASSERT_EQ(served.status, 0) << served.output;
  ASSERT_EQ(run_shell(predict("--model " + quoted("run/model") + " " + question() + quoted("local.safetensors"))).status, 0);
  EXPECT_EQ(RunFolderFixture::bytes(folder_.path("served.safetensors")), RunFolderFixture::bytes(folder_.path("local.safetensors")));
}

TEST_F(Predict, PlotsLeaveDataAndScriptBesideThePicture) {
  ASSERT_EQ(run_shell(predict("--model " + quoted("run/model") + " " + question() + quoted("a.safetensors"))).status, 0);
  const std::string to = " --output " + quoted("pictures");
  const std::string truth = " --truth '" TRIDENT_TEST_DATA "'";
  const bool has_gnuplot = run_shell("command -v gnuplot").status == 0;
  const std::vector<std::pair<std::string, std::string>> pictures{
      {quoted("a.safetensors") + truth, "prediction"}, {quoted("run"), "curves"}, {"'" TRIDENT_TEST_DATA "' --problem NS-Sines", "data"}};
  for (const auto& [what, name] : pictures) {
    const Finished done = run_shell(program() + " plot " + what + to);
    EXPECT_EQ(done.status, has_gnuplot ? 0 : 1) << done.output;
    EXPECT_TRUE(std::filesystem::exists(folder_.path("pictures/" + name + ".gp")));
    EXPECT_TRUE(std::filesystem::exists(folder_.path("pictures/" + name + ".dat")));
    EXPECT_EQ(std::filesystem::exists(folder_.path("pictures/" + name + ".png")), has_gnuplot);
  }
  const Finished missing = run_shell("PATH=/nowhere; export PATH; " + program() + " plot " + quoted("run") + to);
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.output, HasSubstr("apt-get install gnuplot-nox"));
}

TEST_F(Predict, PlotsOfOddFilesSayWhatIsOdd) {
  const Tensor fields = zeros({1, 4, 8, 8}, DType::f32), numbers = zeros({4}, DType::f32), coarse = zeros({1, 4, 2, 2}, DType::f32);
  const auto refusal = [&](const std::vector<NamedTensor>& tensors, const std::map<std::string, std::string>& notes = {}) {
    write_safetensors(folder_.path("odd.safetensors"), tensors, notes);
    const Finished run = run_shell(concat(program(), " plot ", quoted("odd.safetensors"), notes.empty() ? "" : " --truth x.nc"));
    EXPECT_EQ(run.status, 1) << run.output;
    return run.output;
  };
  EXPECT_THAT(refusal({{"output", fields}}), HasSubstr("\"input\" is missing"));
  EXPECT_THAT(refusal({{"input", fields}, {"output", numbers}}), HasSubstr("\"output\" is f32 (4,)"));
  EXPECT_THAT(refusal({{"input", zeros({1, 4, 0, 8}, DType::f32)}, {"output", fields}}), HasSubstr("\"input\" is f32 (1, 4, 0, 8)"));
  EXPECT_THAT(refusal({{"input", fields}, {"output", fields}}, {{"problem", "NS-Sines"}, {"trajectory", "one"}}),
              HasSubstr("note \"trajectory\" is \"one\""));
  EXPECT_THAT(refusal({{"0/input", fields}, {"0-1/label", fields}}), HasSubstr("\"0-1/...\" is missing"));
  EXPECT_THAT(refusal({{"0/input", fields}, {"0-1/label", fields}, {"0-1/model", coarse}}), HasSubstr("has 2x2 points"));
}

}  // namespace
}  // namespace trident::testing
