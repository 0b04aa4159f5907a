#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/autograd/tape.h"
#include "runtime/device/launch_only.h"
#include "runtime/error.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/channel_mix.h"
#include "runtime/ops/convolution.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/fourier.h"
#include "runtime/ops/group_norm.h"
#include "runtime/ops/layer_norm.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

// The operations of the models in bf16 on a GPU against f32 on the CPU, from the same numbers.
namespace trident {
namespace {

using testing::kGpu;
using testing::random_tensor;
using Inputs = std::vector<Tensor>;

// A number is rounded by 2^-9 of itself at most; a result passes four such places at most (hidden numbers, slopes, probabilities, itself).
constexpr double kBound = 4.0 / 512.0;

/// What an input is, and so in which type its gradient comes.
enum class Kind {
  activation,  // bf16, and so its gradient
  weight,      // bf16, its gradient f32
  wide         // f32 beside bf16, and so its gradient
};

struct Input {
  Shape shape;
  Kind kind = Kind::activation;
};

struct Case {
  std::string name;
  std::vector<Input> inputs;
  std::function<Tensor(const Inputs&)> operation;
  DType result = DType::bf16;
};
void PrintTo(const Case& operation, std::ostream* to) { *to << operation.name; }

/// Numbers that bf16 holds exactly.
Tensor numbers_of(const Shape& shape, std::uint64_t seed) {
  return cast(cast(random_tensor(shape, seed, DType::f32), DType::bf16), DType::f32);
}

struct Outcome {
  Tensor value;
  Inputs gradients;
};

Outcome outcome_on(Device device, const Case& of) {
  const bool rounded = device != Device{};
  Inputs inputs;
  for (std::size_t i = 0; i < of.inputs.size(); ++i) {
    const Input& input = of.inputs[i];
    const Tensor numbers = numbers_of(input.shape, i + 1);
    inputs.push_back(leaf(to_device(rounded && input.kind != Kind::wide ? cast(numbers, DType::bf16) : numbers, device)));
  }
  const Tensor first = of.operation(inputs), direction = to_device(cast(numbers_of(first.shape(), 99), first.dtype()), device);
  gradients(first, direction, inputs);  // brings constants to the device
  const LaunchOnly launching;
  const Tensor y = of.operation(inputs);
  return {y, gradients(y, direction, inputs)};
}

class Bf16Operation : public testing::OnGpu, public ::testing::WithParamInterface<Case> {};

TEST_P(Bf16Operation, AgreesWithF32AndGivesWeightsGradientsInF32) {
  const Outcome expected = outcome_on({}, GetParam()), actual = outcome_on(kGpu, GetParam());
  EXPECT_EQ(actual.value.dtype(), GetParam().result);
  EXPECT_TENSOR_NEAR(cast(to_device(actual.value, {}), DType::f32), expected.value, kBound);
  for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << "gradient of input " << i);
    ASSERT_EQ(actual.gradients[i].defined(), expected.gradients[i].defined());
    EXPECT_EQ(actual.gradients[i].dtype(), GetParam().inputs[i].kind == Kind::activation ? DType::bf16 : DType::f32);
    EXPECT_TENSOR_NEAR(cast(to_device(actual.gradients[i], {}), DType::f32), expected.gradients[i], kBound);
  }
}

constexpr Kind kWeight = Kind::weight, kWide = Kind::wide;

std::vector<Case> pointwise_cases() {
  return {{"add", {{{4, 9}}, {{4, 9}}}, [](const Inputs& in) { return in[0] + in[1]; }},
          {"add_bias", {{{4, 3, 9}}, {{9}, kWeight}}, [](const Inputs& in) { return in[0] + in[1]; }},
          {"subtract", {{{64}}, {{64}}}, [](const Inputs& in) { return in[0] - in[1]; }},
          {"scale_channels", {{{2, 5, 40}}, {{1, 5, 1}, kWeight}}, [](const Inputs& in) { return in[0] * in[1]; }},
          {"affine", {{{5, 67}}}, [](const Inputs& in) { return affine(in[0], -0.3, 0.2); }},
          {"relu", {{{5, 67}}}, [](const Inputs& in) { return relu(in[0]); }},
          {"gelu", {{{5, 67}}}, [](const Inputs& in) { return gelu(in[0]); }},
          {"silu", {{{5, 67}}}, [](const Inputs& in) { return silu(in[0]); }},
          {"tanh", {{{5, 67}}}, [](const Inputs& in) { return tanh(in[0]); }},
          {"cast", {{{5, 67}}}, [](const Inputs& in) { return affine(cast(in[0], DType::f32), 2.0); }, DType::f32},
          {"cast_of_wide",
           {{{5, 67}, kWide}},
           [](const Inputs& in) { return affine(cast(in[0], in[0].is_cuda() ? DType::bf16 : DType::f32), 2.0); }},
          {"dropout", {{{4, 50}}}, [](const Inputs& in) { return dropout(in[0], 0.25, RandomKey(5), 17); }},
          {"sum", {{{5, 1333}}}, [](const Inputs& in) { return sum(in[0]); }, DType::f32},
          {"sum_of_rows",
           {{{5, 33, 6}}},
           [](const Inputs& in) {
             return sum(in[0], {0, 2});
           },
           DType::f32}};
}

std::vector<Case> move_cases() {
  return {{"permute",
           {{{3, 40, 34}}},
           [](const Inputs& in) {
             return contiguous(permute(in[0], {2, 0, 1}));
           }},
          {"slice_pad_roll", {{{3, 8, 10}}}, [](const Inputs& in) { return roll(pad(slice(in[0], 2, 1, 9), 1, 2, 1), 2, 3); }},
          {"concatenate",
           {{{2, 3}}, {{2, 5}}},
           [](const Inputs& in) {
             return concatenate({in[0], in[1], in[0]}, 1);
           }},
          {"merge_cells", {{{2, 5, 6, 7}}}, [](const Inputs& in) { return merge_cells(in[0]); }},
          {"spread_cells", {{{2, 3, 3, 20}}}, [](const Inputs& in) { return spread_cells(in[0], 5, 6); }}};
}

std::vector<Case> norm_cases() {
  return {{"layer_norm",
           {{{2, 3, 5, 24}}, {{24}, kWide}, {{24}, kWide}, {{2, 3, 5, 24}}},
           [](const Inputs& in) {
             return layer_norm(in[0], {in[1], in[2]}, 1e-5, in[3]);
           }},
          {"add_layer_norm",
           {{{2, 3, 24}}, {{24}, kWide}, {{24}, kWide}, {{2, 3, 24}}},
           [](const Inputs& in) {
             return add_layer_norm({in[3], {}}, in[0], {in[1], in[2]}, 1e-5).value;
           }},
          {"conditional_layer_norm",
           {{{2, 7, 40}}, {{40}, kWide}, {{40}, kWide}, {{40, 1}, kWide}, {{40, 1}, kWide}},
           [](const Inputs& in) {
             const Tensor times = full({2, 1}, 0.7, DType::f32, in[0].device());
             return layer_norm(in[0], {in[1], in[2], in[3], in[4], times, times}, 1e-5);
           }},
          {"batch_norm_train",
           {{{3, 4, 5, 6}}, {{4}, kWide}, {{4}, kWide}},
           [](const Inputs& in) {
             BatchStatistics statistics;
             return batch_norm_train(in[0], in[1], in[2], 1e-5, statistics);
           }},
          {"batch_norm_eval",
           {{{3, 4, 5, 6}}, {{4}, kWide}, {{4}, kWide}},
           [](const Inputs& in) {
             return batch_norm_eval(in[0], in[1], in[2], full({4}, 0.1, DType::f32, in[0].device()),
                                    full({4}, 1.3, DType::f32, in[0].device()), 1e-5);
           }},
          {"instance_norm", {{{3, 6, 50}}}, [](const Inputs& in) { return group_norm(in[0], 6, {}, {}, 1e-5); }},
          {"group_norm",
           {{{3, 6, 5, 4}}, {{6}, kWide}, {{6}, kWide}},
           [](const Inputs& in) { return group_norm(in[0], 3, in[1], in[2], 1e-5); }},
          {"group_norm_of_samples", {{{3, 6, 5}}, {{3, 6}, kWide}, {{3, 6}, kWide}}, [](const Inputs& in) {
             return group_norm(in[0], 2, in[1], in[2], 1e-5);
           }}};
}

std::vector<Case> product_cases() {
  return {{"linear", {{{2, 5, 12}}, {{9, 12}, kWeight}, {{9}, kWeight}}, [](const Inputs& in) { return linear(in[0], in[1], in[2]); }},
          {"mlp",
           {{{6, 8}}, {{20, 8}, kWeight}, {{20}, kWeight}, {{8, 20}, kWeight}, {{8}, kWeight}},
           [](const Inputs& in) { return mlp(in[0], in[1], in[2], in[3], in[4]); }},
          {"conv2d",
           {{{2, 3, 9, 8}}, {{4, 3, 3, 3}, kWeight}, {{4}, kWeight}},
           [](const Inputs& in) { return conv2d(in[0], in[1], in[2], 1); }},
          {"depthwise_conv",
           {{{2, 9, 8, 6}}, {{6, 1, 7, 7}, kWeight}, {{6}, kWeight}},
           [](const Inputs& in) { return depthwise_conv(in[0], in[1], in[2], 3); }},
          {"channel_mix",
           {{{2, 5, 4, 6}}, {{7, 5}, kWeight}, {{7}, kWeight}, {{2, 7, 4, 6}}, {{7}, kWeight}},
           [](const Inputs& in) { return channel_mix(in[0], in[1], {.bias = in[2], .addend = in[3], .gate = in[4], .gelu = true}); }},
          {"channel_mix_without_ending", {{{2, 70, 130}}, {{66, 70}, kWeight}}, [](const Inputs& in) { return channel_mix(in[0], in[1]); }},
          {"fourier",
           {{{2, 3, 12, 10}}},
           [](const Inputs& in) {
             const std::vector<FourierAxis> axes{{12, 0, 12, -3, 6}, {10, 0, 10, 0, 4}};
             return fourier_field(fourier_modes(in[0], axes, 1.0 / 120.0), axes, FieldNumbers::real, in[0].dtype());
           }},
          {"fourier_of_a_line",
           {{{4, 10}}},
           [](const Inputs& in) {
             const std::vector<FourierAxis> axes{{10, 0, 10, 0, 4}};
             return fourier_field(fourier_modes(in[0], axes, 0.1), axes, FieldNumbers::real, in[0].dtype());
           }},
          {"recompute",
           {{{5, 6}}, {{6, 6}, kWeight}},
           [](const Inputs& in) { return recompute([x = in[0], w = in[1]] { return gelu(linear(x, w)); }); }},
          {"window_attention", {{{2, 8, 8, 3, 2, 16}}, {{2}, kWide}, {{2, 49}, kWide}}, [](const Inputs& in) {
             return window_attention(in[0], in[1], in[2], {.window = 4, .roll = 2, .mask_shift = 2, .global_rows = 8, .global_columns = 8});
           }}};
}

std::string name_of_case(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Pointwise, Bf16Operation, ::testing::ValuesIn(pointwise_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Moves, Bf16Operation, ::testing::ValuesIn(move_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Norms, Bf16Operation, ::testing::ValuesIn(norm_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Products, Bf16Operation, ::testing::ValuesIn(product_cases()), name_of_case);

class Bf16 : public testing::OnGpu {};

TEST_F(Bf16, SumsManyNumbersWithoutLosingThem) {
  // In bf16 itself a sum of ones stops at 256.
  const Tensor ones = full({3, 5000}, 1.0, DType::bf16, kGpu);
  EXPECT_EQ(to_host<float>(sum(ones, {1})), std::vector<float>(3, 5000.0F));
}

TEST_F(Bf16, ASumThatCarriesItsRestGrowsAsInF32) {
  const Shape rows{6, 40};
  const Tensor scale = full({40}, 0.5, DType::f32), shift = full({40}, 0.3, DType::f32), start = random_tensor(rows, 1, DType::f32);
  const auto x = [&](std::uint64_t step) { return numbers_of(rows, 10 + step); };
  const auto whole = [](const CarriedSum& carrying) {
    return cast(to_device(carrying.value, {}), DType::f32) + cast(to_device(carrying.rest, {}), DType::f32);
  };
  CarriedSum expected = carried(start, DType::f32), sum = carried(to_device(start, kGpu), DType::bf16), short_sum = {sum.value, {}};
  EXPECT_TENSOR_NEAR(whole(sum), start, 0x1p-16);
  const Tensor gain = to_device(scale, kGpu), offset = to_device(shift, kGpu);
  for (std::uint64_t step = 0; step < 20; ++step) {
    const Tensor branch = to_device(cast(x(step), DType::bf16), kGpu);
    expected = add_layer_norm(expected, x(step), {scale, shift}, 1e-5);
    sum = add_layer_norm(sum, branch, {gain, offset}, 1e-5);
    short_sum = {layer_norm(branch, {gain, offset}, 1e-5, short_sum.value), {}};
  }
  EXPECT_FALSE(expected.rest.defined());
  EXPECT_TENSOR_NEAR(whole(sum), expected.value, 0x1p-14);
  const Tensor missed = cast(to_device(short_sum.value, {}), DType::f32) - expected.value;  // without the rest
  EXPECT_GT(to_number(trident::sum(missed * missed)), 0x1p-18 * to_number(trident::sum(expected.value * expected.value)));
}

TEST_F(Bf16, GradientsOfAnF32LeafAddUpInF32WhateverTypeTheyArriveIn) {
  const Tensor master = leaf(full({2}, 1.0, DType::f32, kGpu)), copy = cast(master.detached(), DType::bf16).with_node(master.node());
  // 1 + 2^-8 is no bf16: the second gradient would be lost in a sum of bf16.
  backward(sum(cast(copy, DType::f32) + affine(cast(copy, DType::f32), 1.0 / 256.0)));
  EXPECT_EQ(gradient_of(master).dtype(), DType::f32);
  EXPECT_EQ(to_host<float>(gradient_of(master)), std::vector<float>(2, 1.0F + 1.0F / 256.0F));
}

TEST(Bf16OnTheCpu, IsRefused) {
  const Tensor x = cast(random_tensor({4, 6}, 1, DType::f32), DType::bf16);
  EXPECT_THROW(static_cast<void>(gelu(x)), ShapeError);
  EXPECT_THROW(static_cast<void>(linear(x, x)), ShapeError);
  EXPECT_THROW(static_cast<void>(sum(x)), ShapeError);
}

}  // namespace
}  // namespace trident
