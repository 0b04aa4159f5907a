#include "runtime/ops/convolution.h"

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::as_f32;
using testing::as_f64;
using testing::gradcheck_on_every_device;
using testing::random_tensor;

/// x at (y, x) of a field whose points lie `step` apart, 0 outside.
double at(const std::vector<double>& values, std::int64_t start, std::int64_t step, std::int64_t ny, std::int64_t nx, std::int64_t y,
          std::int64_t x) {
  return y < 0 || x < 0 || y >= ny || x >= nx ? 0.0 : values[static_cast<std::size_t>(start + (y * nx + x) * step)];
}

Tensor naive_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t padding) {
  const auto values = to_host<double>(x), w = to_host<double>(weight), add = to_host<double>(bias);
  const std::int64_t in = x.size(1), out = weight.size(0), ny = x.size(2), nx = x.size(3), k = weight.size(2);
  const std::int64_t rows = ny + 2 * padding - k + 1, columns = nx + 2 * padding - k + 1;
  std::vector<double> y;
  for (std::int64_t i = 0; i < x.size(0) * out * rows * columns; ++i) {
    const std::int64_t column = i % columns, row = i / columns % rows, o = i / (columns * rows) % out, b = i / (columns * rows * out);
    double sum = add[static_cast<std::size_t>(o)];
    for (std::int64_t tap = 0; tap < in * k * k; ++tap) {
      sum += w[static_cast<std::size_t>(o * in * k * k + tap)] *
             at(values, (b * in + tap / (k * k)) * ny * nx, 1, ny, nx, row + tap / k % k - padding, column + tap % k - padding);
    }
    y.push_back(sum);
  }
  return from_values({x.size(0), out, rows, columns}, y);
}

Tensor naive_depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t padding) {
  const auto values = to_host<double>(x), w = to_host<double>(weight), add = to_host<double>(bias);
  const std::int64_t ny = x.size(1), nx = x.size(2), d = x.size(3), k = weight.size(2);
  const std::int64_t rows = ny + 2 * padding - k + 1, columns = nx + 2 * padding - k + 1;
  std::vector<double> y;
  for (std::int64_t i = 0; i < x.size(0) * rows * columns * d; ++i) {
    const std::int64_t c = i % d, column = i / d % columns, row = i / (d * columns) % rows, b = i / (d * columns * rows);
    double sum = add[static_cast<std::size_t>(c)];
    for (std::int64_t tap = 0; tap < k * k; ++tap) {
      sum += w[static_cast<std::size_t>(c * k * k + tap)] *
             at(values, b * ny * nx * d + c, d, ny, nx, row + tap / k - padding, column + tap % k - padding);
    }
    y.push_back(sum);
  }
  return from_values({x.size(0), rows, columns, d}, y);
}

TEST(Conv2d, WithAKernelOfOnesSumsTheNeighbours) {
  const Tensor x = from_values<double>({1, 1, 2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_TENSOR_NEAR(conv2d(x, full({1, 1, 3, 3}, 1.0, DType::f64), {}, 1), from_values<double>({1, 1, 2, 3}, {12, 21, 16, 12, 21, 16}),
                     1e-15);
}

TEST(Conv2d, AgreesWithSumsTermByTermInBothNumberTypes) {
  struct Case {
    Shape x, weight;
    std::int64_t padding;
  };
  for (const Case& c : {Case{{2, 4, 37, 40}, {4, 4, 5, 5}, 2}, Case{{1, 3, 5, 4}, {17, 3, 3, 3}, 1}, Case{{2, 9, 8, 8}, {1, 9, 7, 7}, 3},
                        Case{{1, 2, 6, 7}, {3, 2, 1, 1}, 0}, Case{{1, 2, 6, 7}, {5, 2, 3, 3}, 0}, Case{{1, 2, 3, 3}, {2, 2, 2, 2}, 3}}) {
    const Tensor x = random_tensor(c.x, 1), weight = random_tensor(c.weight, 2), bias = random_tensor({c.weight[0]}, 3);
    const Tensor expected = naive_conv2d(x, weight, bias, c.padding);
    EXPECT_TENSOR_NEAR(conv2d(x, weight, bias, c.padding), expected, 1e-14);
    EXPECT_TENSOR_NEAR(as_f64(conv2d(as_f32(x), as_f32(weight), as_f32(bias), c.padding)), expected, 1e-6);
  }
}

TEST(Conv2d, HasTheGradientsOfInputWeightAndBias) {
  for (const std::int64_t padding : {0, 1, 3}) {
    const auto fn = [padding](const std::vector<Tensor>& x) { return conv2d(x[0], x[1], x[2], padding); };
    EXPECT_TRUE(gradcheck_on_every_device(fn, {random_tensor({2, 2, 4, 5}, 1), random_tensor({3, 2, 3, 3}, 2), random_tensor({3}, 3)}));
  }
  const auto wide = [](const std::vector<Tensor>& x) { return conv2d(x[0], x[1], {}, 3); };
  EXPECT_TRUE(gradcheck_on_every_device(wide, {random_tensor({1, 1, 3, 18}, 1), random_tensor({5, 1, 7, 7}, 2)}));
}

TEST(Conv2d, NamesShapesThatDoNotFit) {
  const Tensor x = zeros({1, 2, 3, 3}, DType::f32);
  EXPECT_THROW(conv2d(x, zeros({1, 3, 3, 3}, DType::f32), {}, 1), ShapeError);
  EXPECT_THROW(conv2d(x, zeros({1, 2, 3, 1}, DType::f32), {}, 1), ShapeError);
  EXPECT_THROW(conv2d(x, zeros({1, 2, 5, 5}, DType::f32), {}, 0), ShapeError);
  EXPECT_THROW(conv2d(x, zeros({1, 2, 3, 3}, DType::f64), {}, 1), ShapeError);
  EXPECT_THROW(conv2d(x, zeros({1, 2, 3, 3}, DType::f32), zeros({2}, DType::f32), 1), ShapeError);
}

TEST(DepthwiseConv, KeepsChannelsApart) {
  const Tensor x = from_values<double>({1, 1, 3, 2}, {1, 10, 2, 20, 3, 30});
  const Tensor weight = from_values<double>({2, 1, 3, 3}, {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0});
  EXPECT_TENSOR_NEAR(depthwise_conv(x, weight, {}, 1), from_values<double>({1, 1, 3, 2}, {0, 20, 1, 30, 2, 0}), 1e-15);
}

TEST(DepthwiseConv, AgreesWithSumsTermByTermInBothNumberTypes) {
  struct Case {
    Shape x;
    std::int64_t kernel, padding;
  };
  for (const Case& c : {Case{{2, 9, 11, 24}, 7, 3}, Case{{1, 4, 4, 48}, 7, 3}, Case{{1, 2, 3, 5}, 3, 1}, Case{{1, 9, 8, 17}, 5, 0},
                        Case{{2, 3, 3, 33}, 3, 4}}) {
    const Tensor x = random_tensor(c.x, 1), weight = random_tensor({c.x[3], 1, c.kernel, c.kernel}, 2), bias = random_tensor({c.x[3]}, 3);
    const Tensor expected = naive_depthwise(x, weight, bias, c.padding);
    EXPECT_TENSOR_NEAR(depthwise_conv(x, weight, bias, c.padding), expected, 1e-14);
    EXPECT_TENSOR_NEAR(as_f64(depthwise_conv(as_f32(x), as_f32(weight), as_f32(bias), c.padding)), expected, 1e-6);
  }
}

TEST(DepthwiseConv, HasTheGradientsOfInputWeightAndBias) {
  for (const std::int64_t padding : {0, 1, 3}) {
    const auto fn = [padding](const std::vector<Tensor>& x) { return depthwise_conv(x[0], x[1], x[2], padding); };
    EXPECT_TRUE(gradcheck_on_every_device(fn, {random_tensor({2, 3, 4, 3}, 1), random_tensor({3, 1, 3, 3}, 2), random_tensor({3}, 3)}));
  }
  const auto seven = [](const std::vector<Tensor>& x) { return depthwise_conv(x[0], x[1], {}, 3); };
  EXPECT_TRUE(gradcheck_on_every_device(seven, {random_tensor({1, 4, 5, 11}, 1), random_tensor({11, 1, 7, 7}, 2)}));
}

TEST(DepthwiseConv, NamesShapesThatDoNotFit) {
  const Tensor x = zeros({1, 3, 3, 4}, DType::f32);
  EXPECT_THROW(depthwise_conv(x, zeros({3, 1, 3, 3}, DType::f32), {}, 1), ShapeError);
  EXPECT_THROW(depthwise_conv(x, zeros({4, 2, 3, 3}, DType::f32), {}, 1), ShapeError);
  EXPECT_THROW(depthwise_conv(x, zeros({4, 1, 7, 7}, DType::f32), {}, 1), ShapeError);
}

}  // namespace
}  // namespace trident
