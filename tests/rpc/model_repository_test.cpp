// The model is the reference's small one of tests/golden/scot/hugging_face: 4 channels, 32 x 32 points, conditioned on time.
#include "rpc/model_repository.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "checkpoint/model_directory.h"
#include "models/model_description.h"
#include "rpc/request_error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

const fs::path kModel = fs::path(TRIDENT_GOLDEN_FOLDER) / "scot/hugging_face/safetensors";

/// A repository with the model under two names, and things that are no models.
class ModelRepository : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"b", "a"}) fs::copy(kModel, folder / name, fs::copy_options::recursive);
    fs::create_directory(folder / "notes");
    testing::write_bytes(folder / "readme.txt", "x");
  }

  testing::TemporaryFolder folder;
};

PredictionRequest request_of(DType dtype, std::int64_t batch = 2) {
  PredictionRequest request;
  std::vector<double> values(static_cast<std::size_t>(batch * 4 * 32 * 32));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(0.37 * static_cast<double>(i));
  request.input = cast(from_values({batch, 4, 32, 32}, values), dtype);
  request.time = full({batch}, 0.5, dtype);
  return request;
}

Code code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (...) {
    return outcome_of(std::current_exception()).code;
  }
  return Code::ok;
}

TEST_F(ModelRepository, ServesEveryModelDirectoryByItsName) {
  const std::vector<ServedModel> models = load_repository(folder.path(), DType::f32);
  ASSERT_EQ(models.size(), 2U);
  EXPECT_EQ(models[0].description.name, "a");
  EXPECT_EQ(models[1].description.name, "b");
  EXPECT_EQ(models[0].description.num_channels, 4);
  EXPECT_EQ(models[0].description.num_out_channels, 4);
  EXPECT_TRUE(models[0].description.uses_time);
}

TEST_F(ModelRepository, AnswersAreThoseOfAPredictionBitForBit) {
  const ServedModel served = load_repository(folder.path(), DType::f32)[0];
  const LoadedModel loaded = load_model(kModel, Mesh());
  const Prepared prepared = loaded.model->prepare();
  const Problem sines = problem_named({}, "NS-Sines");
  for (const DType dtype : {DType::f32, DType::f64}) {
    PredictionRequest request = request_of(dtype);
    EXPECT_TENSOR_NEAR(served.predict(request), predict(loaded.model, prepared, request, nullptr, DType::f32), 0.0);
    request.steps = 3;
    request.problem = "NS-Sines";
    const Tensor answer = served.predict(request);
    EXPECT_EQ(answer.shape(), (Shape{2, 3, 4, 32, 32}));
    EXPECT_EQ(answer.shape(), served.answer_shape(request));
    EXPECT_EQ(answer.dtype(), dtype);
    EXPECT_TENSOR_NEAR(answer, predict(loaded.model, prepared, request, &sines, DType::f32), 0.0);
  }
}

TEST_F(ModelRepository, MaskedChannelsKeepTheInputInEveryStep) {
  const ServedModel served = load_repository(folder.path(), DType::f32)[0];
  PredictionRequest request = request_of(DType::f32, 1);
  request.steps = 2;
  bool mask[4] = {false, true, false, true};
  request.pixel_mask = from_memory(mask, {1, 4}, DType::boolean, nullptr);
  const Tensor answer = served.predict(request);
  for (std::int64_t step = 0; step < 2; ++step) {
    for (std::int64_t channel = 0; channel < 4; ++channel) {
      const Tensor predicted = view::slice(view::slice(answer, 1, step, step + 1), 2, channel, channel + 1);
      const Tensor input = view::slice(request.input, 1, channel, channel + 1);
      EXPECT_EQ(to_host<float>(predicted) == to_host<float>(input), mask[channel]) << "step " << step << ", channel " << channel;
    }
  }
}

TEST_F(ModelRepository, UsesTheProblemsThatTheModelWasTrainedOn) {
  ModelDescription description{{problem_named({}, "NS-Sines")}};
  description.problems[0].name = "mine";
  description.problems[0].input[0].mean += 1.0;
  testing::write_bytes(folder / "a" / "trident.json", to_json(write_config(description)));
  const std::vector<ServedModel> models = load_repository(folder.path(), DType::f32);
  PredictionRequest request = request_of(DType::f32);
  request.problem = "mine";
  EXPECT_NO_THROW(models[0].answer_shape(request));
  EXPECT_EQ(code_of([&] { models[1].answer_shape(request); }), Code::invalid_argument);
  PredictionRequest published = request;
  published.problem = "NS-Sines";
  EXPECT_NE(to_host<float>(models[0].predict(request)), to_host<float>(models[0].predict(published)));
}

TEST_F(ModelRepository, RefusesRequestsThatDoNotFitTheModel) {
  const ServedModel served = load_repository(folder.path(), DType::f32)[0];
  const auto code = [&](const std::function<void(PredictionRequest&)>& spoil) {
    PredictionRequest request = request_of(DType::f32);
    spoil(request);
    return code_of([&] {
      served.answer_shape(request);
      served.predict(request);
    });
  };
  EXPECT_EQ(code([](auto&) {}), Code::ok);
  EXPECT_EQ(code([](auto& r) { r.input = view::slice(r.input, 1, 0, 3); }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& r) { r.input = view::slice(r.input, 2, 0, 16); }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& r) { r.time = {}; }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& r) { r.time = full({3}, 0.5, DType::f32); }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& r) { r.problem = "no such problem"; }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& r) { r.problem = "CE-Gauss.tracer"; }), Code::invalid_argument);  // five channels
  EXPECT_EQ(code([](auto& r) { r.pixel_mask = zeros({2, 3}, DType::boolean); }), Code::invalid_argument);
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_EQ(code([&](auto& r) { r.input.template data<float>()[7] = static_cast<float>(bad); }), Code::invalid_argument);
    EXPECT_EQ(code([&](auto& r) { r.time.template data<float>()[1] = static_cast<float>(bad); }), Code::invalid_argument);
  }
}

TEST_F(ModelRepository, PassesOverWhatIsNoFolder) {
  const std::size_t before = model_folders(folder.path()).size();
  std::filesystem::create_symlink("circle", folder / "circle");
  testing::write_bytes(folder / "notes.txt", "not a model");
  EXPECT_EQ(model_folders(folder.path()).size(), before);
}

TEST_F(ModelRepository, NamesTheModelThatIsBroken) {
  fs::resize_file(folder / "b" / "model.safetensors", 1000);
  const std::string message = testing::message_of<Error>([&] { load_repository(folder.path(), DType::f32); });
  EXPECT_NE(message.find("model \"b\""), std::string::npos) << message;
}

TEST_F(ModelRepository, SaysWhatAFolderWithoutModelsIs) {
  EXPECT_THROW(load_repository(folder / "notes", DType::f32), ConfigError);
  EXPECT_THROW(load_repository(folder / "readme.txt", DType::f32), ConfigError);
  EXPECT_THROW(load_repository(folder / "absent", DType::f32), ConfigError);
  const std::string message = testing::message_of<Error>([&] { load_repository(folder / "a", DType::f32); });
  EXPECT_NE(message.find("is a model directory itself"), std::string::npos) << message;
}

}  // namespace
}  // namespace trident
