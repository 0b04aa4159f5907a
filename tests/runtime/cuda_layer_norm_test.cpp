#include "runtime/kernels/layer_norm.h"
#include "runtime/tensor/view.h"
#include "tests/runtime/cuda_kernels.h"

namespace trident {
namespace {

using namespace testing;

template <class T>
class CudaLayerNorm : public OnGpu {};
using Numbers = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(CudaLayerNorm, Numbers);

enum class By { nothing, time, time_and_factor, scale_alone };  // the last without statistics

/// Numbers of the affine part, and the sums that their gradients are added to, on one device.
template <class W>
struct Affine {
  Tensor numbers, time, factor, sums;  // (4, width), (samples,), (samples,), (5, width)

  NormNumbers<W> given(By by) const {
    const auto row = [&](std::int64_t i) { return numbers.data<W>() + i * numbers.size(1); };
    if (by == By::scale_alone) return {row(0), nullptr};
    if (by == By::nothing) return {row(0), row(1)};
    return {row(0), row(1), row(2), row(3), time.data<W>(), by == By::time ? nullptr : factor.data<W>()};
  }
  NormSums<W> wanted(By by) const {
    const auto row = [&](std::int64_t i) { return sums.data<W>() + i * sums.size(1); };
    NormSums<W> to{{row(0), Sum::adds}, {row(1)}, {row(2)}, {row(3), Sum::adds}, {row(4), Sum::adds}};
    if (by == By::nothing || by == By::scale_alone) to.scale_slope = to.shift_slope = {};
    if (by == By::scale_alone) to.shift = {};
    return to;
  }
};

/// Forward and backward of rows [first, first + count) of samples x rows of a width, on both devices.
template <class T>
void compare(const NormRows& size, By by, bool with_residual, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.samples, " samples of ", size.rows, " rows of ", size.width, ", ", size.count, " rows from ", size.first));
  using W = Wide<T>;
  const auto statistics = [by]<class Number>(Number* numbers) { return by == By::scale_alone ? nullptr : numbers; };
  const Shape rows{size.count, size.width}, of_numbers{4, size.width}, of_sums{5, size.width}, of_samples{size.samples};
  const Tensor x = random_numbers(rows, seed), residual = random_numbers(rows, seed + 1), dy = random_numbers(rows, seed + 2);
  const Affine<double> affine{random_numbers(of_numbers, seed + 3), random_numbers(of_samples, seed + 4),
                              random_numbers(of_samples, seed + 5), full(of_sums, 1.0, DType::f64)};
  const Tensor y = empty_like(x), mean = empty({size.count}, DType::f64), rstd = empty_like(mean);
  layer_norm<double>(Cpu{}, size, 1e-5, x.data<double>(), affine.given(by), {.value = with_residual ? residual.data<double>() : nullptr},
                     y.data<double>(), statistics(mean.data<double>()), statistics(rstd.data<double>()));
  const Tensor gx = on_gpu<T>(x), gresidual = on_gpu<T>(residual), gdy = on_gpu<T>(dy);
  const Affine<W> gaffine{on_gpu<W>(affine.numbers), on_gpu<W>(affine.time), on_gpu<W>(affine.factor), on_gpu<W>(affine.sums)};
  const Tensor gy = room<T>(rows), gmean = room<W>({size.count}), grstd = room<W>({size.count});
  layer_norm<T>(gpu(), size, 1e-5, gx.template data<T>(), gaffine.given(by),
                {.value = with_residual ? gresidual.template data<T>() : nullptr}, gy.template data<T>(),
                statistics(gmean.template data<W>()), statistics(grstd.template data<W>()));
  EXPECT_TENSOR_NEAR(back(gy), y, kTolerance<T>);
  if (by != By::scale_alone) {
    EXPECT_TENSOR_NEAR(back(gmean), mean, kTolerance<W> * 10);
    EXPECT_TENSOR_NEAR(back(grstd), rstd, kTolerance<W>);
  }

  const Tensor dx = empty_like(x);
  layer_norm_gradient<double>(Cpu{}, size,
                              {x.data<double>(), dy.data<double>(), affine.given(by), statistics(mean.data<double>()),
                               statistics(rstd.data<double>()), dx.data<double>(), affine.wanted(by)});
  const Tensor gdx = room<T>(rows);
  const NormGradient<T> gradient{gx.template data<T>(),
                                 gdy.template data<T>(),
                                 gaffine.given(by),
                                 statistics(gmean.template data<W>()),
                                 statistics(grstd.template data<W>()),
                                 gdx.template data<T>(),
                                 gaffine.wanted(by)};
  layer_norm_gradient<T>(gpu(), size, gradient);
  EXPECT_TENSOR_NEAR(back(gdx), dx, kTolerance<T>);
  const auto of_affine = [](const Tensor& sums) { return view::slice(sums, 0, 0, 4); };
  EXPECT_TENSOR_NEAR(of_affine(back(gaffine.sums)), of_affine(affine.sums), kTolerance<W>);
  // Where rows do not fit in registers, the bias's are sums of what was rounded.
  EXPECT_TENSOR_NEAR(view::slice(back(gaffine.sums), 0, 4, 5), view::slice(affine.sums, 0, 4, 5), kTolerance<T>);
  // Either alone gives the same numbers.
  const Tensor dx_alone = room<T>(rows);
  const Affine<W> sums_alone{gaffine.numbers, gaffine.time, gaffine.factor, on_gpu<W>(full(of_sums, 1.0, DType::f64))};
  NormGradient<T> part = gradient;
  part.dx = dx_alone.template data<T>(), part.sums = {};
  layer_norm_gradient<T>(gpu(), size, part);
  part.dx = nullptr, part.sums = sums_alone.wanted(by), part.sums.bias = {};
  layer_norm_gradient<T>(gpu(), size, part);
  EXPECT_TENSOR_NEAR(back(dx_alone), back(gdx), kTolerance<W>);
  EXPECT_TENSOR_NEAR(of_affine(back(sums_alone.sums)), of_affine(back(gaffine.sums)), 0);
}

TYPED_TEST(CudaLayerNorm, EveryWidthAgreesWithTheCpu) {
  // Widths of every split over lanes and registers, of single numbers (tails), and wider than registers.
  std::uint64_t seed = 1;
  for (const std::int64_t width : {1, 7, 8, 16, 48, 96, 192, 384, 33, 1000, 768, 1536, 3080}) {
    compare<TypeParam>({.samples = 2, .rows = 5, .width = width}, static_cast<By>(seed % 3), seed % 2 == 0, seed);
    compare<TypeParam>({.samples = 1, .rows = 5, .width = width}, By::scale_alone, true, seed);
    ++seed;
  }
}

TYPED_TEST(CudaLayerNorm, RowsOfManyBlocksAndPartsOfSamplesAgreeWithTheCpu) {
  compare<TypeParam>({.samples = 1, .rows = 333, .width = 48}, By::nothing, true, 21);
  compare<TypeParam>({.samples = 40, .rows = 9, .width = 8}, By::time, true, 25);  // more blocks than are added up at once
  compare<TypeParam>({.samples = 3, .rows = 130, .width = 32}, By::time, false, 22);
  compare<TypeParam>({.samples = 3, .rows = 70, .width = 24, .first = 50, .count = 111}, By::time_and_factor, true, 23);
  compare<TypeParam>({.samples = 2, .rows = 40, .width = 10, .first = 50, .count = 3}, By::time, true, 24);
}

}  // namespace
}  // namespace trident
