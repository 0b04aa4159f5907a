#include <gtest/gtest.h>

#include "runtime/autograd/tape.h"
#include "runtime/kernels/linear_norm.h"
#include "runtime/ops/layer_norm.h"
#include "tests/runtime/cuda_kernels.h"

// Products that end in a norm, in one kernel, against product and norm in f64 on the CPU.
namespace trident {
namespace {

using namespace testing;

class CudaLinearNorm : public OnGpu {};

enum class With { nothing, time, time_and_sum, time_factor_and_sum };

/// What product and norm read, of one number type each.
struct Operands {
  Tensor x, weight, bias, sum, rest, scale, shift, scale_slope, shift_slope, time, factor;

  Operands on_the_device() const {
    const auto narrow = [](const Tensor& numbers) { return on_gpu<bf16>(numbers); };
    const auto wide = [](const Tensor& numbers) { return on_gpu<float>(numbers); };
    return {narrow(x),   narrow(weight),    narrow(bias),      narrow(sum), narrow(rest), wide(scale),
            wide(shift), wide(scale_slope), wide(shift_slope), wide(time),  wide(factor)};
  }
  NormEnding ending(With with) const {
    NormEnding result{.sum = {}, .affine = {scale, shift}, .eps = 1e-5};
    if (with >= With::time) result.affine = {scale, shift, scale_slope, shift_slope, time};
    if (with >= With::time_and_sum) result.sum = {sum, rest};
    if (with == With::time_factor_and_sum) result.affine.factor = factor;
    return result;
  }
};

/// Numbers of bf16; the sum's rest is small beside it.
Operands random_operands(std::int64_t samples, std::int64_t rows, std::int64_t in, std::int64_t out, std::uint64_t seed) {
  const auto numbers = [&seed](const Shape& shape) { return random_numbers(shape, seed++); };
  const Shape of_rows{samples, rows, out};
  Operands result{numbers({samples, rows, in}),
                  numbers({out, in}),
                  numbers({out}),
                  numbers(of_rows),
                  numbers(of_rows),
                  numbers({out}),
                  numbers({out}),
                  numbers({out}),
                  numbers({out}),
                  numbers({samples}),
                  numbers({samples, 1})};
  for (std::int64_t i = 0; i < result.rest.numel(); ++i) result.rest.data<double>()[i] /= 512.0;
  return result;
}

void compare(std::int64_t samples, std::int64_t rows, std::int64_t in, std::int64_t out, With with, bool with_bias, std::uint64_t seed) {
  SCOPED_TRACE(::testing::Message() << samples << " samples of " << rows << " rows, " << in << " to " << out << " numbers, with "
                                    << static_cast<int>(with));
  ASSERT_TRUE(fits_linear_norm({samples * rows, in, out}));
  const Operands on_host = random_operands(samples, rows, in, out, seed), on_device = on_host.on_the_device();
  const Recording off(false);
  NormEnding ending = on_host.ending(with);
  if (ending.sum.value.defined()) {  // in f64 there is nothing to carry
    add_into(ending.sum.value, ending.sum.rest);
    ending.sum.rest = {};
  }
  const Tensor expected = linear_norm(on_host.x, on_host.weight, with_bias ? on_host.bias : Tensor{}, ending).value;
  const CarriedSum actual = linear_norm(on_device.x, on_device.weight, with_bias ? on_device.bias : Tensor{}, on_device.ending(with));
  // Products are sums in f32; the last rounding is to bf16, and in two numbers to twice as many bits.
  EXPECT_TENSOR_NEAR(back(actual.value), expected, 1.0 / 256.0);
  ASSERT_EQ(actual.rest.defined(), with >= With::time_and_sum);
  if (!actual.rest.defined()) return;
  const Tensor both = back(actual.value);
  add_into(both, back(actual.rest));
  EXPECT_TENSOR_NEAR(both, expected, 1e-5);
}

TEST_F(CudaLinearNorm, EverySizeAgreesWithProductAndNormOnTheCpu) {
  std::uint64_t seed = 100;
  int number = 0;
  // Whole rows in a block and columns in parts; fewer numbers than a slice, tails, more slices than lie in shared memory.
  for (const auto& [rows, in, out] : std::vector<std::array<std::int64_t, 3>>{{16, 48, 48},
                                                                              {33, 192, 48},
                                                                              {7, 8, 8},
                                                                              {16, 136, 40},
                                                                              {17, 96, 96},
                                                                              {5, 384, 96},
                                                                              {31, 24, 56},
                                                                              {64, 192, 192},
                                                                              {20, 768, 192},
                                                                              {1, 40, 104},
                                                                              {16, 1536, 384},
                                                                              {9, 520, 200},
                                                                              {3, 128, 768}}) {
    compare(1 + number % 3, rows, in, out, static_cast<With>(number % 4), number % 2 == 0, seed);
    ++number, seed += 20;
  }
}

TEST_F(CudaLinearNorm, CarriesTheSumToTheSameBitsEveryTime) {
  const Operands operands = random_operands(2, 40, 264, 136, 7).on_the_device();
  const Recording off(false);
  const auto run = [&] { return linear_norm(operands.x, operands.weight, operands.bias, operands.ending(With::time_and_sum)); };
  const CarriedSum first = run(), second = run();
  EXPECT_TENSOR_NEAR(back(second.value), back(first.value), 0);
  EXPECT_TENSOR_NEAR(back(second.rest), back(first.rest), 0);
}

TEST_F(CudaLinearNorm, WhereGradientsAreRecordedItIsAProductAndANorm) {
  const Operands operands = random_operands(2, 9, 24, 48, 3).on_the_device();
  const NormEnding ending = operands.ending(With::time_and_sum);
  const CarriedSum recorded = linear_norm(leaf(operands.x), operands.weight, operands.bias, ending);
  EXPECT_NE(recorded.value.node(), nullptr);
  const Recording off(false);
  const CarriedSum predicted = linear_norm(operands.x, operands.weight, operands.bias, ending);
  EXPECT_TENSOR_NEAR(back(predicted.value), back(recorded.value), kTolerance<bf16>);
}

TEST_F(CudaLinearNorm, TheMlpEndsInTheNormToo) {
  const Operands on_host = random_operands(2, 21, 192, 48, 11), on_device = on_host.on_the_device();
  const Tensor x = random_numbers({2, 21, 48}, 1), up = random_numbers({192, 48}, 2), up_bias = random_numbers({192}, 3);
  const Recording off(false);
  const NormEnding on_cpu{{on_host.sum, {}}, {on_host.scale, on_host.shift}, 1e-5},
      on_gpu_too{{on_device.sum, {}}, {on_device.scale, on_device.shift}, 1e-5};
  for (const Activation activation : {Activation::gelu, Activation::relu}) {
    const Tensor expected = mlp_norm(x, up, up_bias, on_host.weight, on_host.bias, activation, on_cpu).value;
    const CarriedSum actual =
        mlp_norm(on_gpu<bf16>(x), on_gpu<bf16>(up), on_gpu<bf16>(up_bias), on_device.weight, on_device.bias, activation, on_gpu_too);
    EXPECT_TENSOR_NEAR(back(actual.value), expected, kTolerance<bf16>);
  }
}

TEST(LinearNormSizes, ManyRowsAndWideOnesKeepTwoKernels) {
  if constexpr (build::kHasCuda) {
    EXPECT_TRUE(fits_linear_norm({1024, 192, 48}));  // Poseidon-T's levels at batch 1
    EXPECT_TRUE(fits_linear_norm({16, 1536, 384}));
    EXPECT_FALSE(fits_linear_norm({64 * 1024, 192, 48}));
    EXPECT_FALSE(fits_linear_norm({16, 48, 1536}));
    EXPECT_FALSE(fits_linear_norm({16, 44, 48}));  // no whole vectors
  }
}

}  // namespace
}  // namespace trident
