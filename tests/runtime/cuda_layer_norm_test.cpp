#include "runtime/kernels/layer_norm.h"
#include "tests/runtime/cuda_kernels.h"

namespace trident {
namespace {

using namespace testing;

template <class T>
class CudaLayerNorm : public OnGpu {};
using Numbers = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(CudaLayerNorm, Numbers);

/// Forward and backward of rows [first, first + count) of samples x rows of a width, on both devices.
template <class T>
void compare(const NormRows& size, bool with_residual, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.samples, " samples of ", size.rows, " rows of ", size.width, ", ", size.count, " rows from ", size.first));
  using W = Wide<T>;
  const Shape rows{size.count, size.width}, per_sample{size.samples, size.width};
  const Tensor x = random_numbers(rows, seed), residual = random_numbers(rows, seed + 1), dy = random_numbers(rows, seed + 2);
  const Tensor scale = random_numbers(per_sample, seed + 3), shift = random_numbers(per_sample, seed + 4);
  const Tensor y = empty_like(x), mean = empty({size.count}, DType::f64), rstd = empty_like(mean);
  layer_norm<double>(Cpu{}, size, 1e-5, x.data<double>(), scale.data<double>(), shift.data<double>(),
                     {.value = with_residual ? residual.data<double>() : nullptr}, y.data<double>(), mean.data<double>(),
                     rstd.data<double>());
  const Tensor gx = on_gpu<T>(x), gresidual = on_gpu<T>(residual), gdy = on_gpu<T>(dy), gscale = on_gpu<W>(scale),
               gshift = on_gpu<W>(shift);
  const Tensor gy = room<T>(rows), gmean = room<W>({size.count}), grstd = room<W>({size.count});
  layer_norm<T>(gpu(), size, 1e-5, gx.template data<T>(), gscale.template data<W>(), gshift.template data<W>(),
                {.value = with_residual ? gresidual.template data<T>() : nullptr}, gy.template data<T>(), gmean.template data<W>(),
                grstd.template data<W>());
  EXPECT_TENSOR_NEAR(back(gy), y, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gmean), mean, kTolerance<W> * 10);
  EXPECT_TENSOR_NEAR(back(grstd), rstd, kTolerance<W>);

  const Tensor dx = empty_like(x), dscale = empty_like(scale), dshift = empty_like(scale);
  const Tensor workspace = empty({layer_norm_workspace(size)}, DType::f64);
  layer_norm_gradient<double>(Cpu{}, size,
                              {x.data<double>(), dy.data<double>(), scale.data<double>(), mean.data<double>(), rstd.data<double>(),
                               dx.data<double>(), dscale.data<double>(), dshift.data<double>()},
                              workspace.data<double>());
  const Tensor gdx = room<T>(rows), gdscale = room<W>(per_sample), gdshift = room<W>(per_sample),
               gworkspace = room<W>({layer_norm_workspace(size)});
  const NormGradient<T> gradient{gx.template data<T>(),    gdy.template data<T>(), gscale.template data<W>(),  gmean.template data<W>(),
                                 grstd.template data<W>(), gdx.template data<T>(), gdscale.template data<W>(), gdshift.template data<W>()};
  layer_norm_gradient<T>(gpu(), size, gradient, gworkspace.template data<W>());
  EXPECT_TENSOR_NEAR(back(gdx), dx, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdscale), dscale, kTolerance<W>);
  EXPECT_TENSOR_NEAR(back(gdshift), dshift, kTolerance<W>);
  // Either alone gives the same numbers.
  const Tensor dx_alone = room<T>(rows), dscale_alone = room<W>(per_sample), dshift_alone = room<W>(per_sample);
  NormGradient<T> part = gradient;
  part.dx = dx_alone.template data<T>(), part.dscale = part.dshift = nullptr;
  layer_norm_gradient<T>(gpu(), size, part, gworkspace.template data<W>());
  part.dx = nullptr, part.dscale = dscale_alone.template data<W>(), part.dshift = dshift_alone.template data<W>();
  layer_norm_gradient<T>(gpu(), size, part, gworkspace.template data<W>());
  EXPECT_TENSOR_NEAR(back(dx_alone), back(gdx), kTolerance<W>);
  EXPECT_TENSOR_NEAR(back(dscale_alone), back(gdscale), 0);
  EXPECT_TENSOR_NEAR(back(dshift_alone), back(gdshift), 0);
}

TYPED_TEST(CudaLayerNorm, EveryWidthAgreesWithTheCpu) {
  // Widths of every split over lanes and registers, of single numbers (tails), and wider than registers.
  std::uint64_t seed = 1;
  for (const std::int64_t width : {1, 7, 8, 16, 48, 96, 192, 384, 33, 1000, 768, 1536, 3080}) {
    compare<TypeParam>({.samples = 2, .rows = 5, .width = width}, seed % 2 == 0, seed);
    ++seed;
  }
}

TYPED_TEST(CudaLayerNorm, RowsOfManyBlocksAndPartsOfSamplesAgreeWithTheCpu) {
  compare<TypeParam>({.samples = 1, .rows = 333, .width = 48}, true, 21);
  compare<TypeParam>({.samples = 3, .rows = 130, .width = 32}, false, 22);
  compare<TypeParam>({.samples = 3, .rows = 70, .width = 24, .first = 50, .count = 111}, true, 23);
  compare<TypeParam>({.samples = 2, .rows = 40, .width = 10, .first = 50, .count = 3}, true, 24);
}

TYPED_TEST(CudaLayerNorm, NoRowsGiveGradientsOfZero) {
  compare<TypeParam>({.samples = 2, .rows = 0, .width = 8}, true, 31);
  compare<TypeParam>({.samples = 2, .rows = 4, .width = 8, .first = 8, .count = 0}, true, 32);
}

}  // namespace
}  // namespace trident
