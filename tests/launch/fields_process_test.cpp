/// Data of the user's own in one and three dimensions and of complex numbers, from the run file to the service and the picture.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <complex>
#include <fstream>
#include <numbers>
#include <thread>

#include "checkpoint/safetensors_writer.h"
#include "launch/data/hdf5_file.h"
#include "launch/field_file.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/launch/program.h"
#include "tests/support/temporary_folder.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;

class OwnFields : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string quoted(const std::string& name) const { return concat("'", path(name), "'"); }
  void write_run(const std::string& model, const std::string& entry, const std::string& rest) const {
    std::ofstream(folder_ / "run.yaml") << "output: run\nmodel: {" << model << "}\ndata:\n  train: [{" << entry << "}]\n  validation: [{"
                                        << entry << "}]\n"
                                        << rest;
  }
  Finished run(const std::string& arguments, const std::string& launcher = "") const {
    return run_shell(concat(launcher, launcher.empty() ? "" : " ", program(), " ", arguments));
  }
  void expect_success(const std::string& arguments, const std::string& launcher = "") const {
    const Finished done = run(arguments, launcher);
    EXPECT_EQ(done.status, 0) << arguments << '\n' << done.output;
  }
  FieldFile fields(const std::string& name) const { return read_field_file(path(name)); }

  /// Predicts one sample here and by a server of its own, both times from the data set; the files must be the same bytes.
  void expect_served_as_predicted(const std::string& arguments) const {
    std::filesystem::create_directories(folder_ / "models");
    std::filesystem::create_directory_symlink(folder_ / "run" / "model", folder_ / "models" / "own");
    expect_success(concat("predict --model ", quoted("run/model"), " ", arguments, " --output ", quoted("here.safetensors")));
    const std::string address = "unix:" + path("socket");
    Background server(concat(program(), " serve --model-repository ", quoted("models"), " --grpc-address '", address, "'"));
    for (int tries = 0; tries < 1000 && !std::filesystem::exists(path("socket")); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    expect_success(concat("predict --server '", address, "' --model own ", arguments, " --output ", quoted("there.safetensors")));
    const Finished unknown = run(concat("predict --server '", address, "' --model own --problem nothing --trajectory 0 --input ",
                                        quoted("x"), " --output ", quoted("never.safetensors")));
    EXPECT_EQ(unknown.status, 1);
    EXPECT_THAT(unknown.output, HasSubstr("the model was trained on "));
    server.signal(SIGTERM);
    EXPECT_EQ(server.wait(std::chrono::seconds(30)), 0);
    EXPECT_EQ(RunFolderFixture::bytes(path("here.safetensors")), RunFolderFixture::bytes(path("there.safetensors")));
  }

  void expect_picture(const std::string& arguments, const std::string& name) const {
    const bool has_gnuplot = run_shell("command -v gnuplot").status == 0;
    const Finished done = run(concat("plot ", arguments, " --output ", quoted("pictures")));
    EXPECT_EQ(done.status, has_gnuplot ? 0 : 1) << done.output;
    for (const char* ending : {".gp", ".dat"}) EXPECT_TRUE(std::filesystem::exists(path("pictures/" + name + ending)));
  }

  std::vector<double> losses() const {
    std::vector<double> values;
    std::ifstream file(folder_ / "run" / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const ConfigValue row = parse_json(line, "metrics.jsonl");
      if (row.find("grad_norm") != nullptr) values.push_back(row.find("loss")->as_number());
    }
    return values;
  }

  TemporaryFolder folder_;
};

TEST_F(OwnFields, OfOneDimensionAreGeneratedTrainedEvaluatedPredictedServedAndDrawn) {
  expect_success("generate Burgers1D --trajectories 12 --resolution 32 --output " + quoted("burgers.h5"));
  write_run("type: tfno, n_modes: [8], hidden_channels: 6, n_layers: 2, rank: 0.5",
            "path: burgers.h5, input: x, output: y, time_axis: 1, channels: [u], fix_input_to_time_step: 0, time_step_size: 16, "
            "max_num_time_steps: 1",
            "training: {global_batch_size: 4, epochs: 8, learning_rate: 1.0e-2, loss: h1}\n"
            "evaluation: {every: 12, cases: [{initial_time: 0, final_time: 16}]}\n");
  expect_success("train " + quoted("run.yaml"));
  const std::vector<double> whole = losses();
  ASSERT_EQ(whole.size(), 24U);
  EXPECT_LT(whole.back(), 0.7 * whole.front());

  const Finished evaluated = run("evaluate --json --model " + quoted("run/best") + " --data " + quoted("run.yaml"));
  ASSERT_EQ(evaluated.status, 0) << evaluated.output;
  EXPECT_THAT(evaluated.output, HasSubstr("\"persistence\""));

  expect_served_as_predicted("--problem burgers --trajectory 3 --input " + quoted("burgers.h5"));
  EXPECT_EQ(fields("here.safetensors").find("output").shape(), (Shape{1, 1, 32}));
  const Hdf5Dataset x = Hdf5File::open(path("burgers.h5")).dataset("x");
  std::vector<float> state(32);
  x.read({3, 0}, {1, 32}, state.data());
  EXPECT_EQ(to_host<float>(fields("here.safetensors").find("input")), state);

  expect_picture(concat(quoted("here.safetensors"), " --truth ", quoted("burgers.h5")), "prediction");
  EXPECT_THAT(RunFolderFixture::bytes(path("pictures/prediction.gp")), HasSubstr("u: prediction - truth"));
  expect_picture(concat(quoted("burgers.h5"), " --data ", quoted("run.yaml")), "data");
  EXPECT_THAT(RunFolderFixture::bytes(path("pictures/data.gp")), HasSubstr("with lines title \"u: frame 16\""));

  // The same numbers on two ranks that share each field; rows it has none.
  expect_success(concat("train ", quoted("run.yaml"), " output=", quoted("split"), " training.epochs=1 parallel.domain_x=2"), mpirun(2));
  const Finished rows = run(concat("train ", quoted("run.yaml"), " output=", quoted("rows"), " parallel.domain_y=2"), mpirun(2));
  EXPECT_EQ(rows.status, 1);
  EXPECT_THAT(rows.output, HasSubstr("the nearest mesh that works is data 1 x domain_y 1 x domain_x 2 x tensor 1"));
}

TEST_F(OwnFields, OfThreeDimensionsAreTrainedEvaluatedPredictedServedAndDrawn) {
  std::vector<float> values;
  for (int k = 0; k < 6 * 8 * 8 * 8; ++k) {
    const double sample = k / 512, z = k / 64 % 8, y = k / 8 % 8, x = k % 8;
    values.push_back(static_cast<float>(std::sin(2.0 * std::numbers::pi * (z + (sample + 1.0) * y + x) / 8.0 + sample)));
  }
  write_safetensors(path("waves.safetensors"), {{"u", from_values<float>({6, 8, 8, 8}, values)}});
  write_run("type: fno, n_modes: [4, 4, 4], hidden_channels: 4, n_layers: 2", "path: waves.safetensors, input: u, channels: [u]",
            "training: {global_batch_size: 3, epochs: 3, learning_rate: 1.0e-2, loss: lp}\nevaluation: {every: 3}\n");
  expect_success("train " + quoted("run.yaml"));
  const std::vector<double> whole = losses();
  EXPECT_LT(whole.back(), whole.front());
  const Finished evaluated = run("evaluate --json --model " + quoted("run/model") + " --data " + quoted("run.yaml"));
  EXPECT_EQ(evaluated.status, 0) << evaluated.output;

  expect_served_as_predicted("--problem waves --trajectory 2 --input " + quoted("waves.safetensors"));
  EXPECT_EQ(fields("here.safetensors").find("output").shape(), (Shape{1, 1, 8, 8, 8}));
  expect_picture(concat(quoted("here.safetensors"), " --truth ", quoted("waves.safetensors")), "prediction");
  EXPECT_THAT(RunFolderFixture::bytes(path("pictures/prediction.gp")), HasSubstr("u, middle z: prediction - truth"));
  expect_picture(concat(quoted("waves.safetensors"), " --data ", quoted("run.yaml")), "data");

  // Rows and columns are shared by ranks, the first axis is whole.
  expect_success(concat("train ", quoted("run.yaml"), " output=", quoted("split"), " parallel.domain_y=2 parallel.domain_x=2"), mpirun(4));
  std::ifstream split(path("split/metrics.jsonl"));
  std::string line;
  std::getline(split, line);
  EXPECT_NEAR(parse_json(line, "metrics").find("loss")->as_number(), whole.front(), 1e-5 * whole.front());
}

TEST_F(OwnFields, OfComplexNumbersAreTrainedEvaluatedPredictedServedAndDrawn) {
  // A free wave packet: every mode turns by its own angle.
  std::vector<c64> before, after;
  for (int sample = 0; sample < 8; ++sample) {
    for (int x = 0; x < 16; ++x) {
      std::complex<double> sums[2];
      for (int k = -3; k <= 3; ++k) {
        const std::complex<double> mode = std::polar(1.0 / (1.0 + k * k), 2.0 * std::numbers::pi * k * (x + sample) / 16.0);
        sums[0] += mode;
        sums[1] += mode * std::polar(1.0, -0.3 * k * k);
      }
      before.emplace_back(sums[0]), after.emplace_back(sums[1]);
    }
  }
  {
    Hdf5File file = Hdf5File::create(path("waves.h5"));
    file.create_dataset("psi", {8, 16}, DType::c64).write({0, 0}, {8, 16}, before.data());
    file.create_dataset("later", {8, 16, 2}, DType::f32).write({0, 0, 0}, {8, 16, 2}, reinterpret_cast<const float*>(after.data()));
  }
  const std::string entry = "path: waves.h5, input: psi, output: later, channels: [psi], mean: [0.1], mean_imag: [-0.1], std: [0.5]";
  write_run("type: fno, n_modes: [8], hidden_channels: 6, n_layers: 2, complex_data: true", entry,
            "training: {global_batch_size: 4, epochs: 10, learning_rate: 1.0e-2}\nevaluation: {every: 10}\n");
  for (const char* loss : {"h1", "relative_l1", "lp"}) {
    expect_success(concat("train ", quoted("run.yaml"), " --dry-run training.loss=", loss));
  }
  expect_success("train " + quoted("run.yaml"));
  EXPECT_LT(losses().back(), 0.7 * losses().front());
  const Finished evaluated = run("evaluate --json --model " + quoted("run/model") + " --data " + quoted("run.yaml"));
  EXPECT_EQ(evaluated.status, 0) << evaluated.output;

  expect_served_as_predicted("--problem waves --trajectory 5 --input " + quoted("waves.h5"));
  const std::vector<c64> input = to_host<c64>(fields("here.safetensors").find("input"));
  for (std::size_t x = 0; x < 16; ++x) EXPECT_NEAR(std::abs(input[x] - before[5 * 16 + x]), 0.0F, 1e-6F);
  expect_success(concat("predict --model ", quoted("run/model"), " --problem waves --trajectory 5 --input ", quoted("waves.h5"),
                        " --output ", quoted("here.h5")));
  EXPECT_EQ(to_host<float>(fields("here.h5").find("output")), to_host<float>(view::as_real(fields("here.safetensors").find("output"))))
      << "HDF5 gets pairs";
  expect_picture(concat(quoted("here.safetensors"), " --truth ", quoted("waves.h5")), "prediction");
  EXPECT_THAT(RunFolderFixture::bytes(path("pictures/prediction.gp")), HasSubstr("Im psi: prediction - truth"));

  expect_success(
      concat("train ", quoted("run.yaml"), " output=", quoted("split"), " training.loss=h1 training.epochs=1 parallel.domain_x=2"),
      mpirun(2));
  expect_success(concat("train ", quoted("run.yaml"), " output=", quoted("one"), " training.loss=h1 training.epochs=1"));
  const auto first_loss = [&](const char* run) {
    std::ifstream file(path(concat(run, "/metrics.jsonl")));
    std::string line;
    std::getline(file, line);
    return parse_json(line, "metrics").find("loss")->as_number();
  };
  EXPECT_NEAR(first_loss("split"), first_loss("one"), 1e-5 * first_loss("one"));
}

TEST_F(OwnFields, ThatDoNotFitTheModelAreRefusedWithTheKeyToChange) {
  write_safetensors(path("x.safetensors"), {{"x", zeros({4, 8, 8}, DType::f32)}, {"z", zeros({4, 8, 8}, DType::c64)}});
  const auto refusal = [&](const std::string& model, const std::string& entry, const std::string& more = "") {
    write_run("hidden_channels: 4, n_layers: 1, " + model, "path: x.safetensors, channels: [u], " + entry, "training: {steps: 1}\n");
    const Finished done = run(concat("train ", quoted("run.yaml"), " ", more));
    EXPECT_EQ(done.status, 1);
    return done.output;
  };
  EXPECT_THAT(refusal("type: fno, n_modes: [4]", "input: x, space_axes: 2"),
              HasSubstr("the model has 1 dimensions, but the fields of \"x\" have 2"));
  EXPECT_THAT(refusal("type: fno, n_modes: [4, 4, 4]", "input: x"), HasSubstr("expected (trajectory, [channel], z, y, x)"));
  const char* const either = "8 channels, of which 1 is named, or fields with 2 axes of space for a model with 1; give space_axes: 1";
  EXPECT_THAT(refusal("type: fno, n_modes: [4]", "input: x"), HasSubstr(either));
  const std::string file = path("x.safetensors");
  EXPECT_THAT(refusal("type: fno, n_modes: [4]", "input: x, space_axes: 1",
                      concat("'data.validation=[{path: ", file, ", channels: [u], input: x, space_axes: 1}, {path: ", file,
                             ", channels: [u], input: x}]'")),
              AllOf(HasSubstr("data.validation[1]"), HasSubstr(either)));
  EXPECT_THAT(refusal("type: fno, n_modes: [4, 4]", "input: z"),
              HasSubstr("model.complex_data: the model takes real fields, but those of \"x\" are complex"));
  EXPECT_THAT(refusal("type: fno, n_modes: [4, 4], complex_data: true", "input: x"),
              HasSubstr("is real where complex fields are expected"));
  EXPECT_THAT(refusal("type: mg_tfno, n_modes: [4, 4]", "input: x, space_axes: 1"),
              HasSubstr("have 1; give 1 number of modes to fno or tfno"));
  EXPECT_FALSE(std::filesystem::exists(path("run")));
}

TEST_F(OwnFields, GeneratorsRefuseOptionsOfOtherProblems) {
  const auto refusal = [&](const std::string& arguments) {
    const Finished done = run(concat("generate ", arguments, " --trajectories 1 --resolution 16 --output ", quoted("never.h5")));
    EXPECT_EQ(done.status, 1);
    EXPECT_FALSE(std::filesystem::exists(path("never.h5")));
    return done.output;
  };
  EXPECT_THAT(refusal("Burgers1D --coefficient log-normal"),
              HasSubstr("--coefficient means nothing for Burgers1D, only for Darcy; leave it out"));
  EXPECT_THAT(refusal("Foo"), HasSubstr("problem \"Foo\" has no solver; there are NS-Sines, "));
  EXPECT_THAT(refusal("Foo"), HasSubstr("Darcy, Burgers1D"));
  EXPECT_THAT(refusal("Darcy --viscosity 0.1"), HasSubstr("--viscosity means nothing for Darcy, only for NS-* and Burgers1D"));
  EXPECT_THAT(refusal("NS-Sines --coefficient two-phase"), HasSubstr("only for Darcy"));
  EXPECT_THAT(refusal("Burgers1D --velocity-std 1"), HasSubstr("only for NS-*"));
  EXPECT_THAT(refusal("Darcy --viscous-above 2"), HasSubstr("only for NS-*"));
}

}  // namespace
}  // namespace trident::testing
