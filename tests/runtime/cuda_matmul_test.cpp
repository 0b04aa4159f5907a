#include <cmath>
#include <numbers>

#include "runtime/kernels/cuda/products.h"
#include "runtime/kernels/matmul.h"
#include "runtime/kernels/mlp.h"
#include "tests/runtime/cuda_kernels.h"

namespace trident {
namespace {

using namespace testing;

template <class T>
class CudaMatmul : public OnGpu {};
using Numbers = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(CudaMatmul, Numbers);

/// Twice what a product gives: once alone, once added to that.
Tensor doubled(const Tensor& x) {
  const Tensor y = empty_like(x);
  for (std::int64_t i = 0; i < x.numel(); ++i) y.data<double>()[i] = 2 * x.data<double>()[i];
  return y;
}

template <class T>
void compare_products(const Products& size, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.count, " of (", size.m, ", ", size.k, ") times (", size.k, ", ", size.n, "), transposed ", size.transpose_a,
                      size.transpose_b, ", strides ", size.stride_a, " ", size.stride_b, " ", size.stride_c));
  const auto shape_of = [&](std::int64_t stride, std::int64_t rows, std::int64_t columns) {
    return stride == 0 ? Shape{rows, columns} : Shape{size.count, rows, columns};
  };
  const Tensor a = random_numbers(shape_of(size.stride_a, size.m, size.k), seed),
               b = random_numbers(shape_of(size.stride_b, size.k, size.n), seed + 1);
  const Tensor c = empty(shape_of(size.stride_c, size.m, size.n), DType::f64);
  multiply<double>(Cpu{}, size, a.data<double>(), b.data<double>(), {c.data<double>()});
  const Tensor ga = on_gpu<T>(a), gb = on_gpu<T>(b), gc = room<T>(c.shape());
  multiply<T>(gpu(), size, ga.template data<T>(), gb.template data<T>(), {gc.template data<T>()});
  EXPECT_TENSOR_NEAR(back(gc), c, kTolerance<T>);
  const Tensor twice = doubled(c);
  multiply<double>(Cpu{}, size, a.data<double>(), b.data<double>(), {c.data<double>(), Sum::adds});
  multiply<T>(gpu(), size, ga.template data<T>(), gb.template data<T>(), {gc.template data<T>(), Sum::adds});
  EXPECT_TENSOR_NEAR(c, twice, 1e-14);
  EXPECT_TENSOR_NEAR(back(gc), twice, kTolerance<T>);
}

TYPED_TEST(CudaMatmul, ProductsAgreeWithTheCpu) {
  std::uint64_t seed = 1;
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      const Products one{.count = 1, .m = 7, .n = 33, .k = 19, .transpose_a = transpose_a, .transpose_b = transpose_b, .stride_c = 7 * 33};
      compare_products<TypeParam>(one, seed++);
      Products many = one;
      many.count = 3, many.stride_a = 7 * 19, many.stride_b = 33 * 19;
      compare_products<TypeParam>(many, seed++);
      many.stride_b = 0;
      compare_products<TypeParam>(many, seed++);
      many.stride_c = 0;
      compare_products<TypeParam>(many, seed++);
    }
  }
}

TYPED_TEST(CudaMatmul, EmptySumsAreZero) {
  compare_products<TypeParam>({.count = 1, .m = 3, .n = 4, .k = 0, .stride_c = 12}, 41);
  compare_products<TypeParam>({.count = 0, .m = 3, .n = 4, .k = 5, .stride_a = 15, .stride_b = 20}, 42);
  compare_products<TypeParam>({.count = 1, .m = 0, .n = 4, .k = 5, .stride_c = 20}, 43);
}

template <class T>
void compare_linear(LinearSize size, bool with_bias, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.rows, " rows, ", size.in, " to ", size.out));
  using W = Wide<T>;
  const Tensor x = random_numbers({size.rows, size.in}, seed), weight = random_numbers({size.out, size.in}, seed + 1);
  const Tensor bias = random_numbers({size.out}, seed + 2), dy = random_numbers({size.rows, size.out}, seed + 3);
  const Tensor y = empty_like(dy), dx = empty_like(x), dweight = empty_like(weight), dbias = empty_like(bias);
  linear_forward<double>(Cpu{}, size, x.data<double>(), weight.data<double>(), with_bias ? bias.data<double>() : nullptr, y.data<double>());
  linear_backward_input<double>(Cpu{}, size, dy.data<double>(), weight.data<double>(), {dx.data<double>()});
  linear_backward_weight<double>(Cpu{}, size, x.data<double>(), dy.data<double>(), {dweight.data<double>()}, {dbias.data<double>()});
  const Tensor gx = on_gpu<T>(x), gweight = on_gpu<T>(weight), gbias = on_gpu<T>(bias), gdy = on_gpu<T>(dy);
  const Tensor gy = room<T>(y.shape()), gdx = room<T>(x.shape()), gdweight = room<W>(weight.shape()), gdbias = room<W>(bias.shape());
  linear_forward<T>(gpu(), size, gx.template data<T>(), gweight.template data<T>(), with_bias ? gbias.template data<T>() : nullptr,
                    gy.template data<T>());
  EXPECT_TENSOR_NEAR(back(gy), y, kTolerance<T>);
  for (const Sum sum : {Sum::replaces, Sum::adds}) {
    linear_backward_input<T>(gpu(), size, gdy.template data<T>(), gweight.template data<T>(), {gdx.template data<T>(), sum});
    linear_backward_weight<T>(gpu(), size, gx.template data<T>(), gdy.template data<T>(), {gdweight.template data<W>(), sum},
                              {gdbias.template data<W>(), sum});
    const auto expected = [sum](const Tensor& once) { return sum == Sum::adds ? doubled(once) : once; };
    EXPECT_TENSOR_NEAR(back(gdx), expected(dx), kTolerance<T>);
    EXPECT_TENSOR_NEAR(back(gdweight), expected(dweight), kTolerance<W>);  // gradients of weights are never rounded to bf16
    EXPECT_TENSOR_NEAR(back(gdbias), expected(dbias), kTolerance<W>);
  }
}

TYPED_TEST(CudaMatmul, LinearLayersAgreeWithTheCpu) {
  compare_linear<TypeParam>({.rows = 5, .in = 3, .out = 7}, true, 51);
  compare_linear<TypeParam>({.rows = 1000, .in = 16, .out = 40}, false, 52);
  compare_linear<TypeParam>({.rows = 300, .in = 8, .out = 264}, true, 53);
  compare_linear<TypeParam>({.rows = 0, .in = 8, .out = 16}, true, 54);
  compare_linear<TypeParam>({.rows = 1200, .in = 2, .out = 136}, true, 55);  // more parts of a bias' sums than are added up at once
}

template <class T>
void compare_mlp(MlpSize size, bool keeps, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.rows, " rows, ", size.in, " to ", size.hidden, " to ", size.out));
  using W = Wide<T>;
  const Tensor x = random_numbers({size.rows, size.in}, seed), dy = random_numbers({size.rows, size.out}, seed + 1);
  const Tensor parameters[4] = {random_numbers({size.hidden, size.in}, seed + 2), random_numbers({size.hidden}, seed + 3),
                                random_numbers({size.out, size.hidden}, seed + 4), random_numbers({size.out}, seed + 5)};
  const Tensor y = empty_like(dy), before = empty({size.rows, size.hidden}, DType::f64), dx = empty_like(x);
  Tensor gradients[4], on[4], got[4];
  for (int i = 0; i < 4; ++i) {
    gradients[i] = empty_like(parameters[i]);
    on[i] = on_gpu<T>(parameters[i]);
    got[i] = room<W>(parameters[i].shape());
  }
  const auto at = [](const Tensor& tensor) { return tensor.data<double>(); };
  const MlpWeights<double> weights{at(parameters[0]), at(parameters[1]), at(parameters[2]), at(parameters[3])};
  mlp_forward<double>(Cpu{}, size, at(x), weights, {at(before)}, at(y));
  mlp_backward<double>(Cpu{}, size, at(x), {at(before)}, at(dy), weights,
                       {{at(dx)}, {at(gradients[0])}, {at(gradients[1])}, {at(gradients[2])}, {at(gradients[3])}});
  const Tensor gx = on_gpu<T>(x), gdy = on_gpu<T>(dy), gbefore = room<T>(before.shape()), gy = room<T>(y.shape()), gdx = room<T>(x.shape());
  const auto gat = [](const Tensor& tensor) { return tensor.data<T>(); };
  const auto wide = [](const Tensor& tensor) { return tensor.data<W>(); };
  const MlpWeights<T> gweights{gat(on[0]), gat(on[1]), gat(on[2]), gat(on[3])};
  const Tensor gafter = room<T>(before.shape());
  T* after_or_none = keeps && keeps_after(dtype_of<T>, size.activation) ? gat(gafter) : nullptr;
  mlp_forward<T>(gpu(), size, gat(gx), gweights, {keeps ? gat(gbefore) : nullptr, after_or_none}, gat(gy));
  EXPECT_TENSOR_NEAR(back(gy), y, kTolerance<T>);
  if (!keeps) return;
  EXPECT_TENSOR_NEAR(back(gbefore), before, kTolerance<T>);
  for (const Sum sum : {Sum::replaces, Sum::adds}) {
    mlp_backward<T>(gpu(), size, gat(gx), {gat(gbefore), after_or_none}, gat(gdy), gweights,
                    {{gat(gdx), sum}, {wide(got[0]), sum}, {wide(got[1]), sum}, {wide(got[2]), sum}, {wide(got[3]), sum}});
    const auto expected = [sum](const Tensor& once) { return sum == Sum::adds ? doubled(once) : once; };
    EXPECT_TENSOR_NEAR(back(gdx), expected(dx), kTolerance<T>);
    for (int i = 0; i < 4; ++i) EXPECT_TENSOR_NEAR(back(got[i]), expected(gradients[i]), kTolerance<T>);
  }
}

TYPED_TEST(CudaMatmul, MlpsAgreeWithTheCpu) {
  compare_mlp<TypeParam>({.rows = 70, .in = 6, .hidden = 24, .out = 5}, true, 61);
  compare_mlp<TypeParam>({.rows = 9, .in = 4, .hidden = 15, .out = 4, .activation = Activation::relu}, true, 62);
  compare_mlp<TypeParam>({.rows = 140, .in = 8, .hidden = 296, .out = 8}, true, 63);
  compare_mlp<TypeParam>({.rows = 33, .in = 8, .hidden = 32, .out = 8}, false, 64);
  compare_mlp<TypeParam>({.rows = 0, .in = 8, .hidden = 32, .out = 8}, true, 65);
}

/// GELU by tanh of f64, and its slope by differences.
double gelu_by_tanh(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))); }
double slope_of_gelu(double x) { return (gelu_by_tanh(x + 1e-5) - gelu_by_tanh(x - 1e-5)) / 2e-5; }

/// (9, k) x (k, n), with operands of both orders.
void compare_gelu_products(std::int64_t n, std::int64_t k, bool with_bias, std::uint64_t seed) {
  SCOPED_TRACE(concat(n, " columns of ", k, " products", with_bias ? " and a bias" : ""));
  constexpr std::int64_t kRows = 9;
  const Tensor a = random_numbers({kRows, k}, seed), b = random_numbers({n, k}, seed + 1), bias = random_numbers({n}, seed + 2);
  const Tensor c = empty({kRows, n}, DType::f64), expected = empty_like(c);
  const Products size{.count = 1, .m = kRows, .n = n, .k = k, .transpose_b = true, .stride_c = kRows * n};
  multiply<double>(Cpu{}, size, a.data<double>(), b.data<double>(), {c.data<double>()});
  for (std::int64_t i = 0; i < c.numel() && with_bias; ++i) c.data<double>()[i] += bias.data<double>()[i % n];
  for (std::int64_t i = 0; i < c.numel(); ++i) expected.data<double>()[i] = gelu_by_tanh(c.data<double>()[i]);
  const cuda::Product on{.m = kRows, .n = n, .k = k, .lda = k, .ldb = k, .ldc = n, .transpose_b = true};
  const Tensor ga = on_gpu<bf16>(a), gb = on_gpu<bf16>(b), gbias = on_gpu<bf16>(bias);
  const Tensor before = room<bf16>(c.shape()), after = room<bf16>(c.shape()), alone = room<bf16>(c.shape());
  const bf16* bias_or_none = with_bias ? gbias.data<bf16>() : nullptr;
  cuda::product_gelu(gpu(), on, ga.data<bf16>(), gb.data<bf16>(), bias_or_none, before.data<bf16>(), after.data<bf16>());
  cuda::product_gelu(gpu(), on, ga.data<bf16>(), gb.data<bf16>(), bias_or_none, nullptr, alone.data<bf16>());
  EXPECT_TENSOR_NEAR(back(before), c, kTolerance<bf16>);
  EXPECT_TENSOR_NEAR(back(after), expected, kTolerance<bf16>);
  EXPECT_TENSOR_NEAR(back(alone), expected, kTolerance<bf16>);

  multiply<double>(Cpu{}, size, a.data<double>(), b.data<double>(), {expected.data<double>()});
  const Tensor kept = back(before);
  for (std::int64_t i = 0; i < c.numel(); ++i) expected.data<double>()[i] *= slope_of_gelu(kept.data<double>()[i]);
  cuda::product_gelu_slope(gpu(), on, ga.data<bf16>(), gb.data<bf16>(), before.data<bf16>(), after.data<bf16>());
  EXPECT_TENSOR_NEAR(back(after), expected, kTolerance<bf16>);
}

TEST_F(OnGpu, ProductsEndInGelu) {
  compare_gelu_products(32, 24, true, 71);
  compare_gelu_products(32, 24, false, 72);
  compare_gelu_products(13, 5, true, 73);  // no library's epilogue takes columns that are not multiples of 8
  compare_gelu_products(8, 0, true, 74);
}

}  // namespace
}  // namespace trident
