#include "parallel/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/random_tensor.h"

namespace trident {
namespace {

/// A fused tensor of two pieces in two groups with a hole between them.
struct Fused {
  Parameter tensor{.shape = {9},
                   .pieces = {{.name = "a", .full_shape = {4}, .owned = {{0, 4}}, .offset = 0, .init = Init::constant(0.0)},
                              {.name = "b", .full_shape = {3}, .owned = {{0, 3}}, .offset = 6, .init = Init::constant(0.0)}},
                   .replicated = AxisSet::all(),
                   .prepared = false,
                   .value = {}};
  ParameterList parameters;

  explicit Fused(DType dtype, const std::vector<std::string>& frozen = {}) {
    parameters =
        materialize([this](const ParameterVisitor& visitor) { visitor.parameter("", tensor); }, dtype, Use::training, RandomKey(1), frozen);
  }
};

int group_of(const std::string& name) { return name == "a" ? 0 : 1; }

void set(const Tensor& target, const std::vector<double>& values) { copy_into(target, from_values<double>({target.numel()}, values)); }

std::vector<double> numbers_of(const Tensor& x) {
  const Tensor wide = empty(x.shape(), DType::f64);
  copy_into(wide, x);
  return to_host<double>(wide);
}

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance) << i;
}

struct Case {
  DType dtype;
  double tolerance;
};

class AdamWOfTorch : public ::testing::TestWithParam<Case> {};

// torch 2.x in f64: AdamW with betas (0.9, 0.99), eps 1e-6, decay 0.1 on the first tensor, rates 0.01 k and 0.02 k in step k = 0..3, after
// clip_grad_norm_ at 3.
TEST_P(AdamWOfTorch, FourStepsAgree) {
  Fused fused(GetParam().dtype);
  const double tolerance = GetParam().tolerance;
  const auto& a = fused.parameters.pieces()[0];
  const auto& b = fused.parameters.pieces()[1];
  set(a.value, {0.5, -1.25, 2.0, 0.0});
  set(b.value, {1.5, -0.75, 0.25});
  AdamW optimizer(fused.parameters, {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .max_grad_norm = 3.0}, {0.1, 0.0}, group_of);
  const std::vector<double> norms{4.592385110157902, 3.8223031015344664, 3.2878565966294815, 3.1128766438778137};
  for (int k = 0; k < 4; ++k) {
    set(a.gradient, {0.3 * (k + 1), -2.0, 0.001, 4.0 - k});
    set(b.gradient, {1.0, -0.5 * k, 0.0});
    const Tensor norm = global_norm(fused.parameters, Mesh());
    EXPECT_NEAR(to_number(norm), norms[static_cast<std::size_t>(k)], tolerance);
    optimizer.update(k + 1, std::vector{0.01 * k, 0.02 * k}, norm);
  }
  expect_near(numbers_of(a.value), {0.4413048676447341, -1.1824578581064698, 1.9280409144775925, -0.056967051629792556}, tolerance);
  expect_near(numbers_of(b.value), {1.3796682401553286, -0.6515813936591107, 0.25}, tolerance);
  const auto state = optimizer.state();
  ASSERT_EQ(state.size(), 4U);
  EXPECT_EQ(state[1].name, "b.exp_avg");
  EXPECT_EQ(state[2].name, "a.exp_avg_sq");
  expect_near(numbers_of(state[0].value), {0.2419881516809186, -0.5793814317019323, 0.0002896907158509662, 0.6418264069851022}, tolerance);
  expect_near(numbers_of(state[3].value), {0.027708531122671635, 0.030649572992738915, 0.0}, tolerance);
}

/// As many complex numbers as fill some vectors and a part of one.
TEST(AdamWOfNeuralop, TreatsEachOfManyComplexNumbersAsOneAlone) {
  constexpr std::int64_t kCount = 45;
  Parameter complex = whole_parameter({kCount}, Init::constant(0.0), Numbers::complex);
  const ParameterList parameters =
      materialize([&](const ParameterVisitor& visitor) { visitor.parameter("z", complex); }, DType::f32, Use::training, RandomKey(1));
  const auto re_of = [](std::int64_t i) { return 0.25 * static_cast<double>(i % 7 - 3); };
  const auto im_of = [](std::int64_t i) { return 0.5 * static_cast<double>(i % 5 - 1); };
  float* gradient = parameters.gradients().data<float>();
  for (std::int64_t i = 0; i < kCount; ++i) {
    gradient[2 * i] = static_cast<float>(re_of(i));
    gradient[2 * i + 1] = static_cast<float>(im_of(i));
  }
  AdamW optimizer(parameters, {.rule = AdamWRule::neuralop, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-2}, {0.0},
                  [](const std::string&) { return 0; });
  optimizer.update(1, std::vector{0.1}, from_values<double>({1}, std::vector{1.0}));
  const std::vector<NamedPiece> state = optimizer.state();
  const std::vector<float> second = to_host<float>(state[1].value);
  const float* value = parameters.values().data<float>();
  for (std::int64_t i = 0; i < kCount; ++i) {
    const double square = 0.01 * (re_of(i) * re_of(i) + im_of(i) * im_of(i)), size = 0.1 * std::sqrt(0.01) / 0.1;
    EXPECT_NEAR(second[static_cast<std::size_t>(i)], square, 1e-8) << i;
    EXPECT_NEAR(value[2 * i], -size * 0.1 * re_of(i) / (std::sqrt(square) + 1e-2), 1e-7) << i;
    EXPECT_NEAR(value[2 * i + 1], -size * 0.1 * im_of(i) / (std::sqrt(square) + 1e-2), 1e-7) << i;
  }
}

/// Of a rank without modes: its moments are gathered with those of the others.
TEST(AdamWOfNeuralop, KeepsMomentsOfNoComplexNumbersComplex) {
  Parameter none = whole_parameter({0}, Init::constant(0.0), Numbers::complex);
  const ParameterList parameters =
      materialize([&](const ParameterVisitor& visitor) { visitor.parameter("z", none); }, DType::f64, Use::training, RandomKey(1));
  const std::vector<NamedPiece> state =
      AdamW(parameters, {.rule = AdamWRule::neuralop}, {0.0}, [](const std::string&) { return 0; }).state();
  EXPECT_EQ(state[0].value.dtype(), DType::c128);
  EXPECT_EQ(state[1].value.dtype(), DType::f64);
}

/// One complex number beside a real one.
TEST(AdamWOfNeuralop, SharesOneSecondMomentBetweenThePartsOfAComplexNumberAndDecaysLast) {
  Parameter complex = whole_parameter({1}, Init::constant(0.0), Numbers::complex), real = whole_parameter({1}, Init::constant(0.0));
  const ParameterList parameters =
      materialize([&](const ParameterVisitor& visitor) { visitor.parameter("z", complex), visitor.parameter("x", real); }, DType::f64,
                  Use::training, RandomKey(1));
  for (const NamedPiece& piece : parameters.pieces()) {
    double* value = parameters.values().data<double>() + piece.offset;
    double* gradient = parameters.gradients().data<double>() + piece.offset;
    value[0] = 1.0, gradient[0] = 3.0;
    if (piece.size == 2) value[1] = 2.0, gradient[1] = 4.0;
  }
  AdamW optimizer(parameters, {.rule = AdamWRule::neuralop, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-2}, {0.5},
                  [](const std::string&) { return 0; });
  optimizer.update(1, std::vector{0.1}, from_values<double>({1}, std::vector{1.0}));
  const double size = 0.1 * std::sqrt(0.01) / 0.1, shrink = 1.0 - 0.05;
  const auto number = [&](std::size_t piece, std::int64_t part) {
    return parameters.values().data<double>()[parameters.pieces()[piece].offset + part];
  };
  const double root = std::sqrt(0.01 * 25.0) + 1e-2;
  EXPECT_NEAR(number(0, 0), (1.0 - size * 0.3 / root) * shrink, 1e-14);
  EXPECT_NEAR(number(0, 1), (2.0 - size * 0.4 / root) * shrink, 1e-14);
  EXPECT_NEAR(number(1, 0), (1.0 - size * 0.3 / (std::sqrt(0.01 * 9.0) + 1e-2)) * shrink, 1e-14);
  const std::vector<NamedPiece> state = optimizer.state();  // z.exp_avg, x.exp_avg, z.exp_avg_sq, x.exp_avg_sq
  EXPECT_EQ(state[0].value.dtype(), DType::c128);
  EXPECT_EQ(state[2].value.dtype(), DType::f64);
  EXPECT_NEAR(to_number(state[2].value), 0.01 * 25.0, 1e-15);
  EXPECT_NEAR(to_number(state[3].value), 0.01 * 9.0, 1e-15);
}

TEST(AdamWOfNeuralop, TakesMomentsAsTheyAreWithoutCorrection) {
  Parameter weight = whole_parameter({1}, Init::constant(1.0));
  const ParameterList parameters =
      materialize([&](const ParameterVisitor& visitor) { visitor.parameter("x", weight); }, DType::f64, Use::training, RandomKey(1));
  parameters.gradients().data<double>()[0] = 3.0;
  AdamW optimizer(parameters, {.rule = AdamWRule::neuralop, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-2, .correct_bias = false}, {0.0},
                  [](const std::string&) { return 0; });
  optimizer.update(1, std::vector{0.1}, from_values<double>({1}, std::vector{1.0}));
  EXPECT_NEAR(parameters.values().data<double>()[0], 1.0 - 0.1 * 0.3 / (std::sqrt(0.01 * 9.0) + 1e-2), 1e-14);
}

INSTANTIATE_TEST_SUITE_P(OnTheCpu, AdamWOfTorch, ::testing::Values(Case{DType::f64, 1e-14}, Case{DType::f32, 5e-7}));

TEST(AdamW, NeverTouchesHolesAndFrozenPieces) {
  Fused fused(DType::f64, {"b"});
  set_zero(fused.parameters.gradients());
  copy_into(fused.parameters.gradients(), full(fused.parameters.gradients().shape(), 1.0, DType::f64));  // holes receive gradients too
  AdamW optimizer(fused.parameters, {}, {0.1, 0.1}, group_of);
  const Tensor norm = global_norm(fused.parameters, Mesh());
  EXPECT_EQ(to_number(norm), 2.0);  // the four elements of a
  optimizer.update(1, std::vector{0.5, 0.5}, norm);
  const auto values = numbers_of(fused.tensor.value);
  for (std::size_t i = 0; i < 9; ++i) EXPECT_EQ(values[i] != 0.0, i < 4) << i;
}

TEST(AdamW, WritesNothingIfTheNormIsNotFinite) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Fused fused(DType::f32);
    set(fused.parameters.pieces()[0].value, {1.0, 2.0, 3.0, 4.0});
    set(fused.parameters.pieces()[1].gradient, {1.0, bad, 2.0});
    AdamW optimizer(fused.parameters, {.max_grad_norm = 5.0}, {0.1, 0.1}, group_of);
    const Tensor norm = global_norm(fused.parameters, Mesh());
    EXPECT_FALSE(std::isfinite(to_number(norm)));
    optimizer.update(1, std::vector{0.1, 0.1}, norm);
    EXPECT_EQ(numbers_of(fused.parameters.pieces()[0].value), (std::vector{1.0, 2.0, 3.0, 4.0}));
    for (const NamedPiece& moment : optimizer.state()) {
      for (const double value : numbers_of(moment.value)) EXPECT_EQ(value, 0.0);
    }
  }
}

TEST(AdamW, ARestoredStateContinuesBitForBit) {
  Fused first(DType::f32), second(DType::f32);
  const auto step_of = [](Fused& fused, AdamW& optimizer, int step) {
    set(fused.parameters.pieces()[0].gradient, {0.1 * step, 0.2, -0.3, 0.4});
    optimizer.update(step, std::vector{0.01, 0.02}, global_norm(fused.parameters, Mesh()));
  };
  AdamW a(first.parameters, {}, {0.1, 0.0}, group_of), b(second.parameters, {}, {0.1, 0.0}, group_of);
  for (int step = 1; step <= 3; ++step) step_of(first, a, step);
  copy_into(second.parameters.values(), first.parameters.values());
  const auto saved = a.state();
  for (std::size_t i = 0; i < saved.size(); ++i) copy_into(b.state()[i].value, saved[i].value);
  step_of(first, a, 4);
  step_of(second, b, 4);
  EXPECT_EQ(to_host<float>(first.parameters.values()), to_host<float>(second.parameters.values()));
}

TEST(AdamW, RefusesGroupsThatDoNotExist) {
  Fused fused(DType::f32);
  EXPECT_THROW(AdamW(fused.parameters, {}, {0.1}, group_of), ConfigError);
  AdamW optimizer(fused.parameters, {}, {0.1, 0.1}, group_of);
  EXPECT_THROW(optimizer.update(1, std::vector{0.1}, full({1}, 1.0, DType::f64)), Error);
}

TEST(GlobalNorm, HasTheSameBitsForAnyNumberOfThreads) {
  Parameter weight = whole_parameter({300, 333}, Init::constant(0.0));
  const ParameterList parameters =
      materialize([&](const ParameterVisitor& visitor) { visitor.parameter("w", weight); }, DType::f64, Use::training, RandomKey(1));
  copy_into(parameters.pieces()[0].gradient, testing::random_tensor({300 * 333}, 3));
  const int threads = num_threads();
  set_num_threads(1);
  const double alone = to_number(global_norm(parameters, Mesh()));
  set_num_threads(3);
  const double together = to_number(global_norm(parameters, Mesh()));
  set_num_threads(threads);
  EXPECT_EQ(alone, together);
  EXPECT_NEAR(alone, std::sqrt(300.0 * 333.0), 2.0);
}

}  // namespace
}  // namespace trident
