#include "runtime/ops/layer_norm.h"

#include <cmath>

#include "runtime/autograd/tape.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck_on_every_device;
using testing::random_tensor;

TEST(LayerNorm, NormalisesEveryRow) {
  const Tensor x = from_values<double>({2, 2}, {1, 3, 10, 4});  // means 2 and 7, variances 1 and 9
  const Tensor scale = from_values<double>({2}, {1, 10}), shift = from_values<double>({2}, {0, 5});
  EXPECT_TENSOR_NEAR(layer_norm(x, {scale, shift}, 0.0), from_values<double>({2, 2}, {-1, 15, 1, -5}), 1e-15);
  EXPECT_TENSOR_NEAR(layer_norm(x, {scale, shift}, 0.0, x), from_values<double>({2, 2}, {0, 18, 11, -1}), 1e-15);
  EXPECT_TENSOR_NEAR(layer_norm(x, {scale, shift}, 3.0),
                     from_values<double>({2, 2}, {-0.5, 10, 3 / std::sqrt(12.0), 5 - 30 / std::sqrt(12.0)}), 1e-15);
}

TEST(LayerNorm, ScaleAndShiftFollowTheTimeAndTheFactorOfASample) {
  const Tensor x = from_values<double>({2, 1, 2}, {1, 3, 10, 4});
  const NormAffine affine{.scale = from_values<double>({2}, {1, 10}),
                          .shift = from_values<double>({2}, {0, 5}),
                          .scale_slope = from_values<double>({2, 1}, {2, 1}),
                          .shift_slope = from_values<double>({2, 1}, {-1, 3}),
                          .time = from_values<double>({2}, {0, 2})};
  EXPECT_TENSOR_NEAR(layer_norm(x, affine, 0.0), from_values<double>({2, 1, 2}, {-1, 15, 5 - 2, -12 + 11}), 1e-15);
  NormAffine times = affine;
  times.factor = from_values<double>({2, 1}, {3, 0.5});
  EXPECT_TENSOR_NEAR(layer_norm(x, times, 0.0), from_values<double>({2, 1, 2}, {-3, 45, 1.5, -0.5}), 1e-15);
}

/// The affine part of some samples from numbers of a width: plain, by time, and by time and a factor.
NormAffine affine_of(const std::vector<Tensor>& in, std::size_t first, std::int64_t samples, bool conditional, bool with_factor) {
  const auto of_samples = [&](std::uint64_t seed) { return to_device(random_tensor({samples, 1}, seed), in[0].device()); };
  NormAffine affine{.scale = in[first], .shift = in[first + 1]};
  if (conditional) affine.scale_slope = in[first + 2], affine.shift_slope = in[first + 3], affine.time = of_samples(90);
  if (with_factor) affine.factor = of_samples(91);
  return affine;
}

/// The same from operations that are checked by themselves.
Tensor composed(const Tensor& x, const NormAffine& affine, double eps, const Tensor& residual) {
  Shape of_numbers(x.shape()), of_samples(x.shape());
  for (int dim = 0; dim < x.rank() - 1; ++dim) of_numbers[dim] = 1;
  for (int dim = 1; dim < x.rank(); ++dim) of_samples[dim] = 1;
  const Tensor centred = x - mean(x, {-1}), variance = mean(centred * centred, {-1});
  std::vector<double> roots = to_host<double>(variance);
  for (double& value : roots) value = std::sqrt(value + eps);
  const auto at_samples = [&](const Tensor& values, const Tensor& slopes) {
    Tensor result = reshape(values, of_numbers);
    if (affine.time.defined()) result = result + reshape(affine.time, of_samples) * reshape(slopes, of_numbers);
    return affine.factor.defined() ? result * reshape(affine.factor, of_samples) : result;
  };
  return residual + centred / from_values(variance.shape(), roots) * at_samples(affine.scale, affine.scale_slope) +
         at_samples(affine.shift, affine.shift_slope);
}

TEST(LayerNorm, AgreesWithElementwiseOperationsOnManyRows) {
  // Several blocks of rows with a tail, several threads.
  const Tensor x = random_tensor({3, 67, 7, 48}, 1), residual = random_tensor({3, 67, 7, 48}, 2);
  const std::vector<Tensor> numbers{random_tensor({48}, 3), random_tensor({48}, 4), random_tensor({48, 1}, 5), random_tensor({48, 1}, 6)};
  for (const bool conditional : {false, true}) {
    for (const bool with_factor : {false, true}) {
      const NormAffine affine = affine_of(numbers, 0, 3, conditional, with_factor);
      EXPECT_TENSOR_NEAR(layer_norm(x, affine, 1e-5, residual), composed(x, affine, 1e-5, residual), 1e-14);
    }
  }
}

TEST(LayerNorm, RoundsTheStatisticsOfAFloatRowOnce) {
  // What they are wrong by, the whole row is wrong by: seen along the row, where the rounding of its single numbers cancels.
  const Tensor x = cast(random_tensor({512, 1024}, 1), DType::f32);
  const Tensor ones = full({1024}, 1.0, DType::f64), zero = zeros({1024}, DType::f64);
  const Tensor exact = layer_norm(cast(x, DType::f64), {ones, zero}, 1e-5);
  const Tensor rounded = cast(layer_norm(x, {cast(ones, DType::f32), cast(zero, DType::f32)}, 1e-5), DType::f64);
  const std::vector<double> along = to_host<double>(mean((rounded - exact) * exact, {-1}));
  for (const double error : along) EXPECT_LT(std::fabs(error), 0.65 * 0x1p-23);
}

TEST(LayerNorm, RoundsWhatComesOutOnce) {
  const Tensor x = cast(random_tensor({512, 96}, 1), DType::f32), base = cast(random_tensor({512, 96}, 2), DType::f32);
  const Tensor scale = cast(random_tensor({96}, 3), DType::f32), shift = cast(random_tensor({96}, 4), DType::f32);
  const auto wide = [](const Tensor& y) { return cast(y, DType::f64); };
  const Tensor exact = layer_norm(wide(x), {wide(scale), wide(shift)}, 1e-5, wide(base));
  EXPECT_TENSOR_NEAR(wide(layer_norm(x, {scale, shift}, 1e-5, base)), exact, 3e-8);  // 2.5e-8 in the 2-norm; step by step twice that
}

TEST(LayerNorm, Gradients) {
  const Tensor x = random_tensor({2, 3, 5}, 1), residual = random_tensor({2, 3, 5}, 2);
  const std::vector<Tensor> plain{x, random_tensor({5}, 3), random_tensor({5}, 4)};
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return layer_norm(in[0], {in[1], in[2]}, 1e-5); }, plain));
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const auto& in) {
        return layer_norm(in[0], {in[1], in[2]}, 1e-5, in[3]);
      },
      {plain[0], plain[1], plain[2], residual}));
  // By time and factor, with more rows than one block, more blocks than are added up at once, and fewer rows than a sample has.
  const auto checks = [](const Shape& shape, bool with_factor, const std::optional<SampleRows>& part) {
    const Tensor slopes[2]{random_tensor({3, 1}, 8), random_tensor({3, 1}, 9)};
    return gradcheck_on_every_device(
        [&](const auto& in) {
          const std::int64_t samples = part ? part->samples : in[0].size(0);
          return layer_norm(in[0], affine_of(in, 1, samples, true, with_factor), 1e-5, {}, part);
        },
        {random_tensor(shape, 5), random_tensor({3}, 6), random_tensor({3}, 7), slopes[0], slopes[1]});
  };
  EXPECT_TRUE(checks({2, 70, 3}, true, {}));
  EXPECT_TRUE(checks({40, 3, 3}, false, {}));
  EXPECT_TRUE(checks({11, 3}, true, SampleRows{3, 7, 5}));
}

TEST(LayerNorm, GradientsOfNumbersGoStraightIntoWhatLeavesCollect) {
  const Tensor x = random_tensor({3, 4, 5}, 1), time = random_tensor({3}, 2), weights = random_tensor({3, 4, 5}, 7);
  std::vector<Tensor> leaves, alone;
  for (std::uint64_t seed = 3; seed < 7; ++seed) {
    const Tensor value = random_tensor({5}, seed);
    alone.push_back(leaf(value));
    leaves.push_back(leaf(value, full({5}, 2.0, DType::f64)));
  }
  const auto run = [&](const std::vector<Tensor>& in) { return sum(weights * layer_norm(x, {in[0], in[1], in[2], in[3], time}, 1e-5)); };
  backward(run(leaves));
  const std::vector<Tensor> found = gradients(run(alone), full({}, 1.0, DType::f64), alone);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TENSOR_NEAR(gradient_of(leaves[i]), affine(found[i], 1.0, 2.0), 1e-14);
}

TEST(LayerNorm, GivesABiasInItsOperandItsGradient) {
  const Tensor x = random_tensor({2, 90, 5}, 1), up = random_tensor({8, 5}, 2), down = random_tensor({6, 8}, 3);
  const Tensor weight = random_tensor({6, 5}, 4), bias = random_tensor({6}, 5), weights = random_tensor({2, 90, 6}, 6);
  const NormAffine numbers{.scale = random_tensor({6}, 7), .shift = random_tensor({6}, 8), .factor = random_tensor({2}, 9)};
  const auto compare = [&](const auto& operand) {
    const auto run = [&](const Tensor& in) { return sum(weights * layer_norm(operand(in), numbers, 1e-5)); };
    const Tensor collects = leaf(bias, full({6}, 2.0, DType::f64)), alone = leaf(bias);
    int finals = 0;
    backward(run(collects), [&](const Node&) { ++finals; });
    EXPECT_EQ(finals, 1);
    const Tensor expected = gradients(run(alone), full({1}, 1.0, DType::f64), {alone})[0];  // which leave it to who adds the bias
    EXPECT_TENSOR_NEAR(gradient_of(collects), affine(expected, 1.0, 2.0), 1e-13);
  };
  compare([&](const Tensor& in) { return linear(x, weight, in); });
  compare([&](const Tensor& in) { return mlp(x, up, {}, down, in); });
}

TEST(LayerNorm, AScaledSumHasItsGradients) {
  const std::vector<Tensor> in{random_tensor({2, 3, 5}, 1), random_tensor({2, 3, 5}, 2), random_tensor({5}, 3)};
  EXPECT_TENSOR_NEAR(add_scaled(in[0], in[1], in[2]), in[0] + in[1] * in[2], 1e-15);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& at) { return add_scaled(at[0], at[1], at[2]); }, in));
}

TEST(LayerNorm, SinglePrecisionKeepsItsDigitsUnderALargeMean) {
  const Tensor noise = random_tensor({64, 1536}, 1), scale = full({1536}, 1.0, DType::f64), shift = zeros({1536}, DType::f64);
  const Tensor single = cast(affine(noise, 1.0, 100.0), DType::f32);
  const Tensor y = layer_norm(single, {cast(scale, DType::f32), cast(shift, DType::f32)}, 1e-5);
  EXPECT_TENSOR_NEAR(cast(y, DType::f64), layer_norm(cast(single, DType::f64), {scale, shift}, 1e-5), 1e-5);
}

TEST(LayerNorm, TheNumberOfThreadsDoesNotChangeABit) {
  const int before = num_threads();
  const Tensor x = random_tensor({2, 1000, 48}, 1, DType::f32), dy = random_tensor({2, 1000, 48}, 2, DType::f32);
  const Tensor time = random_tensor({2}, 3, DType::f32);
  std::vector<std::vector<Tensor>> results;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    std::vector<Tensor> in{leaf(x)};
    for (std::uint64_t seed = 4; seed < 8; ++seed) in.push_back(leaf(random_tensor({48}, seed, DType::f32)));
    results.push_back(gradients(layer_norm(in[0], {in[1], in[2], in[3], in[4], time}, 1e-5), dy, in));
  }
  set_num_threads(before);
  for (std::size_t run = 1; run < results.size(); ++run) {
    for (std::size_t i = 0; i < 5; ++i) EXPECT_TENSOR_NEAR(results[run][i], results[0][i], 0);
  }
}

TEST(LayerNorm, NoRowsAreLegal) {
  const Tensor x = leaf(zeros({0, 3, 4}, DType::f32)), scale = leaf(zeros({4}, DType::f32)), shift = zeros({4}, DType::f32);
  const Tensor y = layer_norm(x, {scale, shift}, 1e-5);
  EXPECT_TENSOR_NEAR(gradients(y, zeros({0, 3, 4}, DType::f32), {scale})[0], zeros({4}, DType::f32), 0);
}

TEST(LayerNorm, WhatDoesNotFitIsNamed) {
  const Tensor x = zeros({2, 3, 4}, DType::f32), right = zeros({4}, DType::f32), of_samples = zeros({2}, DType::f32);
  try {
    layer_norm(x, {zeros({3, 4}, DType::f32), right}, 1e-5);
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "layer_norm: x (2, 3, 4) takes a scale (4,), got (3, 4)");
  }
  EXPECT_THROW(layer_norm(x, {right, zeros({2, 4}, DType::f32)}, 1e-5), ShapeError);
  EXPECT_THROW(layer_norm(x, {right, right}, 1e-5, zeros({2, 3, 5}, DType::f32)), ShapeError);
  EXPECT_THROW(layer_norm(x, {zeros({4}, DType::f64), zeros({4}, DType::f64)}, 1e-5), ShapeError);
  EXPECT_THROW(layer_norm(x, {right, right, of_samples, right, of_samples}, 1e-5), ShapeError);
  EXPECT_THROW(layer_norm(x, {right, right, right, right, zeros({3}, DType::f32)}, 1e-5), ShapeError);
  const SampleRows all{.samples = 2, .rows_per_sample = 3};
  EXPECT_THROW(layer_norm(reshape(x, {6, 4}), {right, right, right, right, leaf(of_samples)}, 1e-5, {}, all), ShapeError);
  EXPECT_THROW(layer_norm(x, {.scale = right, .shift = right, .factor = zeros({3, 1}, DType::f32)}, 1e-5), ShapeError);
}

TEST(BatchNorm, UsesItsOwnStatisticsAndHandsThemOut) {
  const Tensor x =
      from_values<double>({2, 2, 1, 2}, {1, 3, 10, 20, 5, 7, 10, 20});  // channel 0: mean 4, variance 5; 1: mean 15, variance 25
  const Tensor weight = from_values<double>({2}, {1, 2}), bias = from_values<double>({2}, {0, 1});
  BatchStatistics statistics;
  const Tensor y = batch_norm_train(x, weight, bias, 0.0, statistics);
  const auto& [mean, variance, count] = statistics;
  EXPECT_EQ(count, 4.0);
  EXPECT_TENSOR_NEAR(mean, from_values<double>({2}, {4, 15}), 1e-15);
  EXPECT_TENSOR_NEAR(variance, from_values<double>({2}, {5, 25}), 1e-15);
  const double r = 1 / std::sqrt(5.0);
  EXPECT_TENSOR_NEAR(y, from_values<double>({2, 2, 1, 2}, {-3 * r, -r, -1, 3, r, 3 * r, -1, 3}), 1e-15);
  EXPECT_TENSOR_NEAR(batch_norm_eval(x, weight, bias, mean, variance, 0.0), y, 0);
}

TEST(BatchNorm, Gradients) {
  const Tensor x = random_tensor({2, 3, 2, 4}, 1), weight = random_tensor({3}, 2), bias = random_tensor({3}, 3);
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const auto& in) {
        BatchStatistics statistics;
        return batch_norm_train(in[0], in[1], in[2], 1e-5, statistics);
      },
      {x, weight, bias}));
  const Tensor mean = random_tensor({3}, 4), variance = exp(random_tensor({3}, 5));
  EXPECT_TRUE(gradcheck_on_every_device(
      [&](const auto& in) {
        const Device device = in[0].device();
        return batch_norm_eval(in[0], in[1], in[2], to_device(mean, device), to_device(variance, device), 1e-5);
      },
      {x, weight, bias}));
}

TEST(BatchNorm, WhatDoesNotFitIsNamed) {
  const Tensor x = zeros({2, 3, 4, 4}, DType::f32), right = zeros({3}, DType::f32), wrong = zeros({4}, DType::f32);
  BatchStatistics statistics;
  EXPECT_THROW(batch_norm_train(x, wrong, right, 1e-5, statistics), ShapeError);
  EXPECT_THROW(batch_norm_train(right, right, right, 1e-5, statistics), ShapeError);
  EXPECT_THROW(batch_norm_eval(x, right, right, wrong, right, 1e-5), ShapeError);
}

}  // namespace
}  // namespace trident
