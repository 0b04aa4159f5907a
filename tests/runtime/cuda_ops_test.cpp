#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/autograd/tape.h"
#include "runtime/ops/attention.h"
#include "runtime/ops/channel_mix.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/contraction.h"
#include "runtime/ops/convolution.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/fft.h"
#include "runtime/ops/field_norm.h"
#include "runtime/ops/fourier.h"
#include "runtime/ops/group_norm.h"
#include "runtime/ops/layer_norm.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/position_bias.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/ops/windows.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

// Every operation on a GPU against the CPU: its value and the gradients of all its inputs, in f64 and f32.
namespace trident {
namespace {

using testing::kGpu;
using testing::random_tensor;
using Inputs = std::vector<Tensor>;

struct OperationCase {
  std::string name;
  std::vector<Shape> inputs;  // standard normal numbers; complex where the last extent is kComplex
  std::function<Tensor(const Inputs&)> operation;
};
constexpr std::int64_t kComplex = -2;

void PrintTo(const OperationCase& operation, std::ostream* to) { *to << operation.name; }

Tensor input_of(Shape shape, std::uint64_t seed, DType dtype) {
  const bool is_complex = shape.rank() > 0 && shape[shape.rank() - 1] == kComplex;
  if (is_complex) shape[shape.rank() - 1] = 2;
  const Tensor numbers = random_tensor(shape, seed, dtype);
  if (!is_complex) return numbers;
  const auto values = to_host<double>(random_tensor(shape, seed));
  Shape leading;
  for (int dim = 0; dim + 1 < shape.rank(); ++dim) leading.push_back(shape[dim]);
  const Tensor x = empty(leading, complex_of(dtype));
  std::vector<c128> pairs;
  for (std::size_t i = 0; i < values.size(); i += 2) pairs.emplace_back(values[i], values[i + 1]);
  copy_into(x, from_values<c128>(leading, pairs));
  return x;
}

struct Outcome {
  Tensor value;
  Inputs gradients;
};

Outcome outcome_on(Device device, const OperationCase& operation, DType dtype) {
  Inputs inputs;
  for (std::size_t i = 0; i < operation.inputs.size(); ++i)
    inputs.push_back(leaf(to_device(input_of(operation.inputs[i], i + 1, dtype), device)));
  const Tensor y = operation.operation(inputs);
  EXPECT_EQ(y.device(), device);
  Outcome outcome{to_device(y, {}), {}};
  if (y.numel() == 0) return outcome;
  Tensor direction = empty(y.shape(), y.dtype());
  if (is_complex(y.dtype())) {
    Shape pairs = y.shape();
    pairs.push_back(kComplex);
    direction = input_of(pairs, 99, real_of(y.dtype()));
  } else {
    direction = random_tensor(y.shape(), 99, y.dtype());
  }
  for (const Tensor& gradient : gradients(y, to_device(direction, device), inputs)) {
    outcome.gradients.push_back(gradient.defined() ? to_device(gradient, {}) : gradient);
  }
  return outcome;
}

class CudaOperation : public testing::OnGpu, public ::testing::WithParamInterface<OperationCase> {};

TEST_P(CudaOperation, AgreesWithTheCpu) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    SCOPED_TRACE(std::string(name_of(dtype)));
    const double bound = dtype == DType::f64 ? 1e-11 : 1e-5;
    const Outcome expected = outcome_on({}, GetParam(), dtype), actual = outcome_on(kGpu, GetParam(), dtype);
    EXPECT_TENSOR_NEAR(actual.value, expected.value, bound);
    ASSERT_EQ(actual.gradients.size(), expected.gradients.size());
    for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
      SCOPED_TRACE(::testing::Message() << "gradient of input " << i);
      ASSERT_EQ(actual.gradients[i].defined(), expected.gradients[i].defined());
      if (!expected.gradients[i].defined()) continue;
      EXPECT_TENSOR_NEAR(actual.gradients[i], expected.gradients[i], bound);
    }
  }
}

Tensor index_on(const Tensor& like, const Shape& shape, const std::vector<std::int64_t>& values) {
  return from_values<std::int64_t>(shape, values, like.device());
}

std::shared_ptr<const WindowIndices> windows_of_a_line() {
  auto indices = std::make_shared<WindowIndices>();
  indices->rows = 2;
  indices->columns = 3;
  indices->sample = {0, 1};
  indices->row_index = {0, -1, 3, 0};
  indices->column_index = {4, 0, 1, 2, 2, -1};
  return indices;
}

std::vector<OperationCase> elementwise_cases() {
  const auto unary = [](const char* name, auto function) {
    return OperationCase{name, {{5, 67}}, [function](const Inputs& in) { return function(in[0]); }};
  };
  return {{"add", {{4, 1, 9}, {3, 9}}, [](const Inputs& in) { return in[0] + in[1]; }},
          {"subtract", {{4, 64}, {64}}, [](const Inputs& in) { return in[0] - in[1]; }},
          {"multiply", {{4, 64}, {4, 1}}, [](const Inputs& in) { return in[0] * in[1]; }},
          {"divide", {{33}, {33}}, [](const Inputs& in) { return in[0] / affine(sigmoid(in[1]), 1.0, 1.0); }},
          {"multiply_complex", {{6, 5, kComplex}, {5, kComplex}}, [](const Inputs& in) { return in[0] * in[1]; }},
          {"nothing", {{0, 4}}, [](const Inputs& in) { return gelu(in[0]) + in[0]; }},
          unary("relu", relu),
          unary("gelu", gelu),
          unary("sigmoid", sigmoid),
          unary("exp", exp),
          unary("tanh", tanh),
          unary("silu", silu),
          unary("softplus", softplus),
          unary("elu", [](const Tensor& x) { return elu(x); }),
          unary("leaky_relu", [](const Tensor& x) { return leaky_relu(x, 0.1); }),
          unary("minimum", [](const Tensor& x) { return minimum(x, 0.2); }),
          unary("power", [](const Tensor& x) { return power(exp(x), 1.5); }),
          unary("cast", [](const Tensor& x) { return cast(x, x.dtype() == DType::f32 ? DType::f64 : DType::f32); }),
          {"where", {{4, 6}, {6}}, [](const Inputs& in) {
             const Tensor mask = empty({4, 1}, DType::boolean, in[0].device());
             copy_into(mask, index_on(in[0], {4, 1}, {1, 0, 0, 1}));
             return where(mask, in[0], in[1]);
           }}};
}

std::vector<OperationCase> move_cases() {
  return {{"permute",
           {{3, 40, 34}},
           [](const Inputs& in) {
             return contiguous(permute(in[0], {2, 0, 1}));
           }},
          {"slice_pad_roll", {{3, 8, 10}}, [](const Inputs& in) { return roll(pad(slice(in[0], 2, 1, 9), 1, 2, 1), 2, 3); }},
          {"concatenate",
           {{2, 3}, {2, 5}},
           [](const Inputs& in) {
             return concatenate({in[0], in[1], in[0]}, 1);
           }},
          {"gather_rows",
           {{7, 5}},
           [](const Inputs& in) {
             return gather_rows(in[0], index_on(in[0], {6}, {3, 0, 3, 6, 3, 1}));
           }},
          {"patchify", {{2, 3, 8, 12}}, [](const Inputs& in) { return patchify(in[0], 4); }},
          {"unpatchify", {{2, 2, 3, 32}}, [](const Inputs& in) { return unpatchify(in[0], 4); }},
          {"merge_cells", {{2, 5, 6, 7}}, [](const Inputs& in) { return merge_cells(in[0]); }},
          {"spread_cells", {{2, 3, 3, 20}}, [](const Inputs& in) { return spread_cells(in[0], 5, 6); }},
          {"dropout", {{4, 50}}, [](const Inputs& in) { return dropout(in[0], 0.25, RandomKey(5), 17); }},
          {"gather_windows", {{2, 3, 4, 5}}, [](const Inputs& in) { return gather_windows(in[0], windows_of_a_line()); }},
          {"complex_parts", {{5, 6, kComplex}}, [](const Inputs& in) { return complex(imag(in[0]), real(conjugate(in[0]))); }}};
}

std::vector<OperationCase> sum_cases() {
  return {{"sum", {{5, 33}}, [](const Inputs& in) { return sum(in[0]); }},
          {"sum_of_rows",
           {{5, 33, 6}},
           [](const Inputs& in) {
             return sum(in[0], {0, 2});
           }},
          {"mean", {{4, 8, 5}}, [](const Inputs& in) { return mean(in[0], {1}); }},
          {"error_sums",
           {{2, 4, 5, 6}},
           [](const Inputs& in) {
             return error_sums(in[0], affine(in[0].detached(), 0.5, 0.3), {{0, 1}, {1, 4}}, 1);
           }},
          {"power_sums", {{2, 3, 40}}, [](const Inputs& in) { return power_sums(in[0], 1, 2.0); }},
          {"power_sums_of_many_points", {{2, 70, 65}}, [](const Inputs& in) { return power_sums(in[0], 1, 2.0); }},
          {"sobolev_sums",
           {{2, 6, 7}},
           [](const Inputs& in) {
             return sobolev_sums(in[0], {0.1, 0.2});
           }},
          {"sobolev_sums_beside_faces", {{2, 6, 7}}, [](const Inputs& in) {
             return sobolev_sums(in[0], {0.1, 0.2}, {one_sided_neighbours(in[0], -2), one_sided_neighbours(in[0], -1)});
           }}};
}

std::vector<OperationCase> norm_cases() {
  return {
      {"layer_norm",
       {{2, 3, 5, 24}, {24}, {24}, {2, 3, 5, 24}},
       [](const Inputs& in) {
         return layer_norm(in[0], {in[1], in[2]}, 1e-5, in[3]);
       }},
      {"conditional_layer_norm",
       {{2, 7, 40}, {40}, {40}, {40, 1}, {40, 1}},
       [](const Inputs& in) {
         const Tensor times = full({2, 1}, 0.7, in[0].dtype(), in[0].device());
         return layer_norm(in[0], {in[1], in[2], in[3], in[4], times, times}, 1e-5);
       }},
      {"batch_norm_train",
       {{3, 4, 5, 6}, {4}, {4}},
       [](const Inputs& in) {
         BatchStatistics statistics;
         return batch_norm_train(in[0], in[1], in[2], 1e-5, statistics);
       }},
      {"batch_norm_of_many_points",
       {{2, 2, 70, 65}, {2}, {2}},
       [](const Inputs& in) {
         BatchStatistics statistics;
         return batch_norm_train(in[0], in[1], in[2], 1e-5, statistics);
       }},
      {"batch_norm_eval",
       {{3, 4, 5, 6}, {4}, {4}},
       [](const Inputs& in) {
         return batch_norm_eval(in[0], in[1], in[2], full({4}, 0.1, in[0].dtype(), in[0].device()),
                                full({4}, 1.3, in[0].dtype(), in[0].device()), 1e-5);
       }},
      {"group_norm", {{3, 6, 5, 4}, {6}, {6}}, [](const Inputs& in) { return group_norm(in[0], 3, in[1], in[2], 1e-5); }},
      {"group_norm_of_many_points", {{2, 2, 70, 65}, {2}, {2}}, [](const Inputs& in) { return group_norm(in[0], 1, in[1], in[2], 1e-5); }},
      {"group_norm_of_samples", {{3, 6, 5}, {3, 6}, {3, 6}}, [](const Inputs& in) { return group_norm(in[0], 2, in[1], in[2], 1e-5); }}};
}

std::vector<OperationCase> product_cases() {
  return {{"matmul", {{3, 7, 10}, {3, 10, 9}}, [](const Inputs& in) { return matmul(in[0], in[1]); }},
          {"matmul_transposed", {{10, 7}, {9, 10}}, [](const Inputs& in) { return matmul(in[0], in[1], Transpose::yes, Transpose::yes); }},
          {"linear", {{2, 5, 12}, {9, 12}, {9}}, [](const Inputs& in) { return linear(in[0], in[1], in[2]); }},
          {"linear_of_nothing", {{0, 12}, {9, 12}, {9}}, [](const Inputs& in) { return linear(in[0], in[1], in[2]); }},
          {"mlp", {{6, 8}, {20, 8}, {20}, {8, 20}, {8}}, [](const Inputs& in) { return mlp(in[0], in[1], in[2], in[3], in[4]); }},
          {"mlp_relu", {{6, 8}, {20, 8}, {8, 20}}, [](const Inputs& in) { return mlp(in[0], in[1], {}, in[2], {}, Activation::relu); }},
          {"conv2d", {{2, 3, 9, 8}, {4, 3, 3, 3}, {4}}, [](const Inputs& in) { return conv2d(in[0], in[1], in[2], 1); }},
          {"conv2d_of_many_points", {{2, 1, 55, 50}, {2, 1, 3, 3}, {2}}, [](const Inputs& in) { return conv2d(in[0], in[1], in[2], 1); }},
          {"depthwise_conv", {{2, 9, 8, 6}, {6, 1, 7, 7}, {6}}, [](const Inputs& in) { return depthwise_conv(in[0], in[1], in[2], 3); }},
          {"convolutions_twice",
           {{2, 8, 8, 6}, {6, 1, 7, 7}, {6}, {8, 8, 3, 3}, {8}},
           [](const Inputs& in) {
             const auto twice = [](const Tensor& x, auto convolve) { return convolve(convolve(x)); };
             const Tensor mixed = twice(in[0], [&](const Tensor& x) { return depthwise_conv(x, in[1], in[2], 3); });
             return twice(mixed, [&](const Tensor& x) { return conv2d(x, in[3], in[4], 1); });
           }},
          {"channel_mix",
           {{2, 5, 4, 6}, {7, 5}, {7}, {2, 7, 4, 6}, {7}},
           [](const Inputs& in) { return channel_mix(in[0], in[1], {.bias = in[2], .addend = in[3], .gate = in[4], .gelu = true}); }},
          {"channel_mix_twice",
           {{2, 5, 4, 6}, {7, 5}, {7}},
           [](const Inputs& in) {
             return channel_mix(in[0], in[1], {.bias = in[2], .gelu = true}) + channel_mix(in[0], in[1], {.bias = in[2]});
           }},
          {"contract",
           {{3, 5, 4, kComplex}, {5, 6, 4, kComplex}},
           [](const Inputs& in) {
             return contract({in[0], "bim"}, {in[1], "iom"}, "bom");
           }},
          {"window_attention",
           {{1, 8, 8, 3, 2, 16}, {2}, {2, 49}},
           [](const Inputs& in) {
             return window_attention(in[0], in[1], in[2], {.window = 4, .roll = 2, .mask_shift = 2, .global_rows = 8, .global_columns = 8});
           }},
          {"position_biases", {{9, 2}, {9}, {3, 9}, {9, 2}, {9}, {2, 9}}, [](const Inputs& in) {
             const Tensor offsets = to_device(random_tensor({25, 2}, 1), in[0].device());
             return concatenate(position_biases(offsets, {{in[0], in[1], in[2]}, {in[3], in[4], in[5]}}), 0);
           }}};
}

std::vector<OperationCase> fourier_cases() {
  const std::vector<FourierAxis> whole{{12, 0, 12, -3, 6}, {10, 0, 10, 0, 4}}, part{{12, 4, 5, -3, 6}, {10, 0, 10, 0, 4}};
  return {
      {"fourier_modes", {{2, 3, 12, 10}}, [=](const Inputs& in) { return fourier_modes(in[0], whole, 0.1); }},
      {"fourier_modes_of_a_part", {{2, 3, 5, 10}}, [=](const Inputs& in) { return fourier_modes(in[0], part); }},
      {"fourier_modes_twice",
       {{2, 3, 12, 10}},
       [=](const Inputs& in) { return fourier_modes(in[0], whole, 0.1) + fourier_modes(in[0], whole, 0.3); }},
      {"fourier_modes_of_a_complex_field_twice",
       {{2, 12, 10, kComplex}},
       [=](const Inputs& in) { return fourier_modes(in[0], whole, 0.1) + fourier_modes(in[0], whole, 0.3); }},
      {"fourier_field", {{2, 3, 6, 4, kComplex}}, [=](const Inputs& in) { return fourier_field(in[0], whole, FieldNumbers::real); }},
      {"fourier_field_complex",
       {{2, 6, 4, kComplex}},
       [=](const Inputs& in) { return fourier_field(in[0], whole, FieldNumbers::complex); }},
      {"resample_down", {{2, 2, 12, 16}}, [](const Inputs& in) { return spectral_resample(in[0], 8, 8); }},
      {"resample_up", {{2, 2, 8, 8}}, [](const Inputs& in) { return spectral_resample(in[0], 12, 16); }},
      {"recompute", {{5, 6}, {6, 6}}, [](const Inputs& in) { return recompute([x = in[0], w = in[1]] { return gelu(linear(x, w)); }); }}};
}

std::string name_of_case(const ::testing::TestParamInfo<OperationCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Elementwise, CudaOperation, ::testing::ValuesIn(elementwise_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Moves, CudaOperation, ::testing::ValuesIn(move_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Sums, CudaOperation, ::testing::ValuesIn(sum_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Norms, CudaOperation, ::testing::ValuesIn(norm_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Products, CudaOperation, ::testing::ValuesIn(product_cases()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Fourier, CudaOperation, ::testing::ValuesIn(fourier_cases()), name_of_case);

}  // namespace
}  // namespace trident
