#include "runtime/ops/reduce.h"

#include <cmath>

#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck_on_every_device;
using testing::random_tensor;

Tensor count_to(const Shape& shape) {
  std::vector<double> values(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  return from_values(shape, values);
}

TEST(Reduce, SumsOverEveryChoiceOfDimensions) {
  const Tensor x = count_to({2, 3, 2});
  EXPECT_TENSOR_NEAR(sum(x), from_values<double>({1}, {66}), 0);
  EXPECT_TENSOR_NEAR(sum(x, {0}), from_values<double>({1, 3, 2}, {6, 8, 10, 12, 14, 16}), 0);
  EXPECT_TENSOR_NEAR(sum(x, {1}), from_values<double>({2, 1, 2}, {6, 9, 24, 27}), 0);
  EXPECT_TENSOR_NEAR(sum(x, {-1}), from_values<double>({2, 3, 1}, {1, 5, 9, 13, 17, 21}), 0);
  EXPECT_TENSOR_NEAR(sum(x, {0, 2}), from_values<double>({1, 3, 1}, {14, 22, 30}), 0);
  EXPECT_TENSOR_NEAR(sum(x, {0, 1, 2}), from_values<double>({1, 1, 1}, {66}), 0);
  EXPECT_TENSOR_NEAR(sum(x, {}), x, 0);
  EXPECT_TENSOR_NEAR(mean(x, {1}), from_values<double>({2, 1, 2}, {2, 3, 8, 9}), 0);
}

TEST(Reduce, LargeSumsAgreeWithAPlainLoop) {
  for (const Shape& shape : {Shape{3, 20011, 1}, Shape{1, 1025, 1031}, Shape{2, 131, 515}, Shape{20011, 3, 1}, Shape{1, 4, 50021}}) {
    const Tensor x = random_tensor(shape, 1), y = sum(x, {1});
    const std::vector<double> values = to_host<double>(x);
    const auto inner = static_cast<std::size_t>(shape[2]), count = static_cast<std::size_t>(shape[1]);
    std::vector<double> expected(static_cast<std::size_t>(shape[0]) * inner, 0.0);
    for (std::size_t i = 0; i < values.size(); ++i) expected[i / (count * inner) * inner + i % inner] += values[i];
    EXPECT_TENSOR_NEAR(y, from_values({shape[0], 1, shape[2]}, expected), 1e-12);
  }
}

TEST(Reduce, SinglePrecisionIsAddedUpInDouble) {
  const Tensor x = full({1 << 20}, 0.1, DType::f32);
  EXPECT_EQ(to_host<float>(sum(x))[0], static_cast<float>(static_cast<double>(0.1F) * (1 << 20)));
  EXPECT_EQ(to_host<float>(sum(view::reshape(x, {1 << 18, 4}), {0}))[0], static_cast<float>(static_cast<double>(0.1F) * (1 << 18)));
}

TEST(Reduce, TheNumberOfThreadsDoesNotChangeABit) {
  const int before = num_threads();
  const Tensor x = random_tensor({37, 41, 103}, 1, DType::f64);
  std::vector<Tensor> results;
  for (const int threads : {1, 2, 3, 5}) {
    set_num_threads(threads);
    results.push_back(sum(x));
    results.push_back(sum(x, {0}));
    results.push_back(sum(x, {1}));
    results.push_back(sum(x, {0, 2}));
  }
  set_num_threads(before);
  for (std::size_t i = 4; i < results.size(); ++i) EXPECT_TENSOR_NEAR(results[i], results[i % 4], 0);
}

TEST(Reduce, GradientsOfSumsAndMeans) {
  const Tensor x = random_tensor({2, 3, 4}, 1);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return sum(in[0]); }, {x}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return sum(in[0], {0, 2}); }, {x}));
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return mean(in[0], {1}) * sum(in[0], {1}); }, {x}));
  const Tensor number = random_tensor({}, 2);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return sum(in[0]); }, {number}));
}

TEST(Reduce, EmptySumsAreZero) {
  EXPECT_TENSOR_NEAR(sum(zeros({0, 3}, DType::f32)), zeros({1}, DType::f32), 0);
  EXPECT_TENSOR_NEAR(sum(zeros({0, 3}, DType::f32), {0}), zeros({1, 3}, DType::f32), 0);
  EXPECT_EQ(sum(zeros({0, 3}, DType::f32), {1}).shape(), (Shape{0, 1}));
}

TEST(Reduce, DimensionsOutsideAreRefused) {
  EXPECT_THROW(sum(zeros({2, 3}, DType::f32), {2}), ShapeError);
  EXPECT_THROW(mean(zeros({2, 3}, DType::f32), {-3}), ShapeError);
}

TEST(Reduce, ErrorSumsPerGroupOfChannels) {
  const Tensor a = count_to({2, 3, 1, 2}), b = full({2, 3, 1, 2}, 5.0, DType::f64);  // channels 0: 0 1 6 7, 1: 2 3 8 9, 2: 4 5 10 11
  const std::vector<ChannelGroup> groups{{0, 1}, {1, 3}};
  EXPECT_TENSOR_NEAR(error_sums(a, b, groups, 1), from_values<double>({2}, {12, 24}), 0);
  EXPECT_TENSOR_NEAR(error_sums(a, b, groups, 2), from_values<double>({2}, {46, 100}), 0);
  EXPECT_TENSOR_NEAR(error_sums(a, {}, groups, 1), from_values<double>({2}, {14, 52}), 0);
}

TEST(Reduce, ErrorSumsOfLargeFieldsAgreeWithElementwiseOperations) {
  const Tensor a = random_tensor({2, 3, 131, 127}, 1), b = random_tensor({2, 3, 131, 127}, 2), difference = a - b;
  const Tensor squares = sum(difference * difference, {0, 2, 3});
  EXPECT_TENSOR_NEAR(error_sums(a, b, {{0, 1}, {1, 2}, {2, 3}}, 2), view::reshape(squares, {3}), 1e-13);
}

TEST(Reduce, GradientOfErrorSums) {
  const Tensor a = random_tensor({2, 3, 2, 3}, 1), b = random_tensor({2, 3, 2, 3}, 2);
  for (const int p : {1, 2}) {
    EXPECT_TRUE(gradcheck_on_every_device(
        [&](const auto& in) {
          return error_sums(in[0], to_device(b, in[0].device()), {{0, 1}, {1, 3}}, p);
        },
        {a}));
    EXPECT_TRUE(gradcheck_on_every_device(
        [&](const auto& in) {
          return error_sums(in[0], {}, {{0, 2}, {1, 3}}, p);
        },
        {a}));  // groups may overlap
    EXPECT_TRUE(gradcheck_on_every_device(
        [&](const auto& in) {
          return error_sums(in[0], to_device(b, in[0].device()), {{1, 2}}, p);
        },
        {a}));  // and leave channels out
  }
}

TEST(Reduce, ErrorSumsRefuseWhatDoesNotFit) {
  const Tensor a = zeros({2, 3, 4, 4}, DType::f32);
  EXPECT_THROW(error_sums(a, zeros({2, 3, 4, 5}, DType::f32), {{0, 3}}, 1), ShapeError);
  EXPECT_THROW(error_sums(a, a, {{0, 4}}, 1), ShapeError);
  EXPECT_THROW(error_sums(a, a, {{0, 3}}, 3), ShapeError);
  EXPECT_THROW(error_sums(zeros({4, 4}, DType::f32), {}, {{0, 3}}, 1), ShapeError);
}

TEST(Reduce, OneBadElementIsFound) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor x = random_tensor({70001}, 1, dtype);
    EXPECT_TRUE(all_finite(x));
    for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY), -static_cast<double>(INFINITY)}) {
      const Tensor y = affine(x, 1.0);
      const Tensor last = view::slice(y, 0, 70000, 70001);
      dtype == DType::f32 ? *last.data<float>() = static_cast<float>(bad) : *last.data<double>() = bad;
      EXPECT_FALSE(all_finite(y)) << bad;
    }
  }
  EXPECT_TRUE(all_finite(zeros({0}, DType::f32)));
}

}  // namespace
}  // namespace trident
