#include "runtime/kernels/convolution.h"
#include "tests/runtime/cuda_kernels.h"

namespace trident {
namespace {

using namespace testing;

template <class T>
class CudaConvolution : public OnGpu {};
using Numbers = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(CudaConvolution, Numbers);

template <class T>
void compare_conv2d(const Conv2dSize& size, bool with_bias, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.batch, " fields of ", size.ny, " x ", size.nx, ", ", size.in, " to ", size.out, " channels, kernel ",
                      size.kernel, ", padding ", size.padding));
  using W = Wide<T>;
  const Tensor x = random_numbers({size.batch, size.in, size.ny, size.nx}, seed);
  const Tensor weight = random_numbers({size.out, size.in, size.kernel, size.kernel}, seed + 1),
               bias = random_numbers({size.out}, seed + 2);
  const Tensor dy = random_numbers({size.batch, size.out, size.out_ny(), size.out_nx()}, seed + 3);
  const Tensor y = empty_like(dy), dx = empty_like(x), dweight = empty_like(weight), dbias = empty_like(bias);
  const auto at = [](const Tensor& tensor) { return tensor.data<double>(); };
  conv2d_forward<double>(Cpu{}, size, at(x), at(weight), with_bias ? at(bias) : nullptr, at(y));
  conv2d_backward_input<double>(Cpu{}, size, at(dy), at(weight), at(dx));
  conv2d_backward_weight<double>(Cpu{}, size, at(x), at(dy), {at(dweight)}, {at(dbias)});
  const auto gat = [](const Tensor& tensor) { return tensor.data<T>(); };
  const Tensor gx = on_gpu<T>(x), gweight = on_gpu<T>(weight), gbias = on_gpu<T>(bias), gdy = on_gpu<T>(dy);
  const Tensor gy = room<T>(y.shape()), gdx = room<T>(x.shape()), gdweight = room<W>(weight.shape()), gdbias = room<W>(bias.shape());
  conv2d_forward<T>(gpu(), size, gat(gx), gat(gweight), with_bias ? gat(gbias) : nullptr, gat(gy));
  conv2d_backward_input<T>(gpu(), size, gat(gdy), gat(gweight), gat(gdx));
  conv2d_backward_weight<T>(gpu(), size, gat(gx), gat(gdy), {gdweight.template data<W>()}, {gdbias.template data<W>()});
  EXPECT_TENSOR_NEAR(back(gy), y, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdx), dx, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdweight), dweight, kTolerance<W>);
  EXPECT_TENSOR_NEAR(back(gdbias), dbias, kTolerance<W>);
}

TYPED_TEST(CudaConvolution, FieldsAgreeWithTheCpu) {
  compare_conv2d<TypeParam>({.batch = 2, .in = 4, .out = 4, .ny = 33, .nx = 35, .kernel = 5, .padding = 2}, false, 1);
  compare_conv2d<TypeParam>({.batch = 1, .in = 3, .out = 9, .ny = 8, .nx = 40, .kernel = 3, .padding = 1}, true, 2);
  compare_conv2d<TypeParam>({.batch = 3, .in = 2, .out = 5, .ny = 12, .nx = 11, .kernel = 9, .padding = 0}, true, 3);
  compare_conv2d<TypeParam>({.batch = 2, .in = 5, .out = 2, .ny = 6, .nx = 7, .kernel = 1, .padding = -1}, true, 4);
}

template <class T>
void compare_depthwise(const DepthwiseSize& size, bool with_bias, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.batch, " grids of ", size.ny, " x ", size.nx, " tokens of ", size.channels, " channels, kernel ", size.kernel,
                      ", padding ", size.padding));
  using W = Wide<T>;
  const Tensor x = random_numbers({size.batch, size.ny, size.nx, size.channels}, seed);
  const Tensor weight = random_numbers({size.channels, 1, size.kernel, size.kernel}, seed + 1),
               bias = random_numbers({size.channels}, seed + 2);
  const Tensor dy = random_numbers({size.batch, size.out_ny(), size.out_nx(), size.channels}, seed + 3);
  const Tensor y = empty_like(dy), dx = empty_like(x), dweight = empty_like(weight), dbias = empty_like(bias);
  const auto at = [](const Tensor& tensor) { return tensor.data<double>(); };
  depthwise_forward<double>(Cpu{}, size, at(x), at(weight), with_bias ? at(bias) : nullptr, at(y));
  depthwise_backward_input<double>(Cpu{}, size, at(dy), at(weight), at(dx));
  depthwise_backward_weight<double>(Cpu{}, size, at(x), at(dy), {at(dweight)}, {at(dbias)});
  const auto gat = [](const Tensor& tensor) { return tensor.data<T>(); };
  const Tensor gx = on_gpu<T>(x), gweight = on_gpu<T>(weight), gbias = on_gpu<T>(bias), gdy = on_gpu<T>(dy);
  const Tensor gy = room<T>(y.shape()), gdx = room<T>(x.shape()), gdweight = room<W>(weight.shape()), gdbias = room<W>(bias.shape());
  depthwise_forward<T>(gpu(), size, gat(gx), gat(gweight), with_bias ? gat(gbias) : nullptr, gat(gy));
  depthwise_backward_input<T>(gpu(), size, gat(gdy), gat(gweight), gat(gdx));
  depthwise_backward_weight<T>(gpu(), size, gat(gx), gat(gdy), {gdweight.template data<W>()}, {gdbias.template data<W>()});
  EXPECT_TENSOR_NEAR(back(gy), y, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdx), dx, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdweight), dweight, kTolerance<W>);
  EXPECT_TENSOR_NEAR(back(gdbias), dbias, kTolerance<W>);
}

TYPED_TEST(CudaConvolution, TokensAgreeWithTheCpu) {
  compare_depthwise<TypeParam>({.batch = 2, .ny = 9, .nx = 18, .channels = 40, .kernel = 7, .padding = 3}, true, 11);
  compare_depthwise<TypeParam>({.batch = 1, .ny = 16, .nx = 8, .channels = 5, .kernel = 7, .padding = 0}, false, 12);
  compare_depthwise<TypeParam>({.batch = 2, .ny = 6, .nx = 5, .channels = 3, .kernel = 3, .padding = 1}, true, 13);
  compare_depthwise<TypeParam>({.batch = 1, .ny = 12, .nx = 11, .channels = 4, .kernel = 7, .padding = -2}, true, 14);
}

TYPED_TEST(CudaConvolution, NoSamplesGiveGradientsOfZero) {
  compare_conv2d<TypeParam>({.batch = 0, .in = 2, .out = 3, .ny = 8, .nx = 8, .kernel = 3, .padding = 1}, true, 21);
  compare_depthwise<TypeParam>({.batch = 0, .ny = 8, .nx = 8, .channels = 4, .kernel = 7, .padding = 3}, true, 22);
}

}  // namespace
}  // namespace trident
