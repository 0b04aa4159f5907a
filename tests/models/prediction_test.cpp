#include "models/prediction.h"

#include <gtest/gtest.h>

#include <limits>

#include "models/normalization.h"
#include "models/problem.h"
#include "models/rollout.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/models/support.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::make_model, testing::random_tensor, testing::SmallModel, testing::small_config;

/// Two channels, one of which is a constant that is not predicted.
Problem masked_problem() {
  Problem problem;
  problem.name = "toy";
  problem.input = {{.name = "u", .mean = 0.5, .std = 2.0}, {.name = "p", .value = 3.0, .mean = 1.0, .std = 4.0, .masked = true}};
  problem.output = problem.input;
  problem.mask = MaskRule::channels;
  problem.time_scale = 20.0;
  return problem;
}

SmallModel inference_model(ScotConfig config = small_config(), DType dtype = DType::f64) {
  return make_model(std::move(config), dtype, Use::inference);
}

PredictionRequest request_of(std::optional<std::int64_t> steps = {}, DType dtype = DType::f64) {
  PredictionRequest request;
  request.input = random_tensor({2, 2, 16, 16}, 1, dtype);
  request.time = random_tensor({2}, 2, dtype);
  request.steps = steps;
  return request;
}

template <class Kind>
std::string error_of(const SmallModel& small, const PredictionRequest& request) {
  try {
    predict(small.model, small.model->prepare(), request, nullptr, DType::f64);
  } catch (const Kind& error) {
    return error.what();
  }
  return "no error";
}

TEST(Prediction, StepsAddAnAxisAlsoWhenThereIsOne) {
  const SmallModel small = inference_model();
  const Tensor plain = predict(small.model, small.model->prepare(), request_of(), nullptr, DType::f64);
  const Tensor one = predict(small.model, small.model->prepare(), request_of(1), nullptr, DType::f64);
  EXPECT_EQ(plain.shape(), (Shape{2, 2, 16, 16}));
  EXPECT_EQ(one.shape(), (Shape{2, 1, 2, 16, 16}));
  EXPECT_EQ(to_host<double>(plain), to_host<double>(one));
}

TEST(Prediction, EachStepAdvancesAPartOfTheTimeAndFeedsBack) {
  const SmallModel small = inference_model();
  const Tensor both = predict(small.model, small.model->prepare(), request_of(2), nullptr, DType::f64);
  PredictionRequest half = request_of();
  half.time = from_values<double>({2, 1}, std::vector{half.time.data<double>()[0] / 2.0, half.time.data<double>()[1] / 2.0});
  const Tensor first = predict(small.model, small.model->prepare(), half, nullptr, DType::f64);
  half.input = first;
  const Tensor second = predict(small.model, small.model->prepare(), half, nullptr, DType::f64);
  EXPECT_TENSOR_NEAR(reshape(contiguous(slice(both, 1, 0, 1)), first.shape()), first, 1e-14);
  EXPECT_TENSOR_NEAR(reshape(contiguous(slice(both, 1, 1, 2)), second.shape()), second, 1e-14);
}

TEST(Prediction, ARollOutCanBeEndedBetweenItsSteps) {
  const SmallModel small = inference_model();
  int calls = 0;
  PredictionRequest request = request_of(3);
  request.between_steps = [&] { ++calls; };
  predict(small.model, small.model->prepare(), request, nullptr, DType::f64);
  EXPECT_EQ(calls, 2);
  request.between_steps = [&] {
    if (++calls == 4) throw ConfigError("enough");
  };
  EXPECT_EQ(error_of<ConfigError>(small, request), "enough");
  EXPECT_EQ(calls, 4);
}

TEST(Prediction, ExtraInputChannelsAreCarriedAlong) {
  ScotConfig config = small_config();
  config.num_channels = 3;
  const SmallModel small = inference_model(config);
  const Recording off(false);
  const Fields fields{.input = random_tensor({1, 3, 16, 16}, 1), .time = random_tensor({1}, 2), .pixel_mask = {}, .label = {}};
  std::vector<Tensor> outputs;
  Pass pass = testing::pass_of(DType::f64);
  roll_out(small.model, small.model->prepare(), fields, {0.75, 0.25}, pass,
           [&](std::size_t, const Tensor& output) { outputs.push_back(output); });
  Fields next = fields;
  next.input = concatenate({outputs[0], slice(fields.input, 1, 2, 3)}, 1);
  next.time = from_values<double>({1}, std::vector{fields.time.data<double>()[0] * 0.25});
  EXPECT_TENSOR_NEAR(outputs[1], small.model(next, small.model->prepare(), pass), 1e-14);
}

TEST(Prediction, AnswersInTheNumberTypeOfTheInput) {
  const SmallModel small = inference_model(small_config(), DType::f32);
  EXPECT_EQ(predict(small.model, small.model->prepare(), request_of(), nullptr, DType::f32).dtype(), DType::f64);
  EXPECT_EQ(predict(small.model, small.model->prepare(), request_of({}, DType::f32), nullptr, DType::f32).dtype(), DType::f32);
}

TEST(Prediction, PixelMaskKeepsTheInputsValuesInEveryStep) {
  const SmallModel small = inference_model(small_config(), DType::f32);
  PredictionRequest request = request_of(2);
  const bool mask[] = {false, true, false, false};
  request.pixel_mask = from_values<bool>({2, 2}, std::span<const bool>(mask));
  const Tensor output = predict(small.model, small.model->prepare(), request, nullptr, DType::f32);
  for (std::int64_t step = 0; step < 2; ++step) {  // exactly, though the model computes in f32
    EXPECT_EQ(output.data<double>()[(step * 2 + 1) * 256 + 5], request.input.data<double>()[256 + 5]);
  }
}

TEST(Prediction, WithAProblemFieldsArePhysicalAndMaskedChannelsItsConstants) {
  const SmallModel small = inference_model();
  const Problem problem = masked_problem();
  PredictionRequest request = request_of(2);
  request.problem = problem.name;
  request.time = from_values<double>({2}, std::vector{14.0, 7.0});
  const Tensor output = predict(small.model, small.model->prepare(), request, &problem, DType::f64);
  EXPECT_EQ(output.data<double>()[256 + 3], 3.0);
  EXPECT_EQ(output.data<double>()[3 * 256 + 3], 3.0);

  PredictionRequest normalized = request_of();
  normalized.input = normalize(request.input, problem.input);
  normalized.time = from_values<double>({2}, std::vector{0.35, 0.175});
  const Tensor first = denormalize(predict(small.model, small.model->prepare(), normalized, nullptr, DType::f64), problem.output);
  EXPECT_TENSOR_NEAR(contiguous(slice(reshape(contiguous(slice(output, 1, 0, 1)), first.shape()), 1, 0, 1)),
                     contiguous(slice(first, 1, 0, 1)), 1e-13);
}

TEST(Prediction, SaysWhatItExpected) {
  const SmallModel small = inference_model();
  PredictionRequest request = request_of();
  request.time = {};
  EXPECT_NE(error_of<ShapeError>(small, request).find("time is missing"), std::string::npos);
  request = request_of();
  request.input = random_tensor({2, 3, 16, 16}, 1);
  EXPECT_NE(error_of<ShapeError>(small, request).find("(batch, 2, n, n)"), std::string::npos);
  request = request_of(0);
  EXPECT_NE(error_of<ShapeError>(small, request).find("steps is 0"), std::string::npos);
  request = request_of(std::numeric_limits<std::int64_t>::max());
  EXPECT_NE(error_of<ShapeError>(small, request).find("expected 1 to 10000"), std::string::npos);
  request = request_of();
  request.input.data<double>()[7] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(error_of<DataError>(small, request).find("input holds numbers that are not finite"), std::string::npos);
  request = request_of();
  request.pixel_mask = from_values<bool>({1, 2}, std::span<const bool>(std::array{true, false}));
  EXPECT_NE(error_of<ShapeError>(small, request).find("pixel_mask is bool (1, 2)"), std::string::npos);
  ScotConfig more_out = small_config();
  more_out.num_out_channels = 3;
  request.pixel_mask = from_values<bool>({2, 2}, std::span<const bool>(std::array{true, false, true, false}));
  EXPECT_NE(error_of<ShapeError>(inference_model(more_out), request).find("expected bool (2, 3)"), std::string::npos)
      << "a mask of fewer channels than come out says nothing of the others";
}

}  // namespace
}  // namespace trident
