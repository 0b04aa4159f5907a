#include "runtime/ops/fourier.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
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

/// All points of a grid; modes from `first` on.
FourierAxis whole(std::int64_t points, std::int64_t first, std::int64_t modes) { return {points, 0, points, first, modes}; }

/// The definition, mode by mode, for fields (count, n0, n1, n2).
Tensor by_definition(const Tensor& x, const std::vector<FourierAxis>& axes, double scale) {
  Shape shape{x.size(0)};
  for (const FourierAxis& axis : axes) shape.push_back(axis.modes);
  const Tensor y = zeros(shape, DType::c128);
  const Tensor in = packed(x);
  c128* out = y.data<c128>();
  for (std::int64_t field = 0; field < x.size(0); ++field) {
    for (std::int64_t mode = 0; mode < y.numel() / x.size(0); ++mode) {
      for (std::int64_t point = 0; point < x.numel() / x.size(0); ++point) {
        double turns = 0.0;
        std::int64_t k = mode, n = point;
        for (std::size_t i = axes.size(); i-- > 0;) {
          turns += static_cast<double>((axes[i].first_mode + k % axes[i].modes) * (axes[i].first_point + n % axes[i].points)) /
                   static_cast<double>(axes[i].period);
          k /= axes[i].modes, n /= axes[i].points;
        }
        const std::int64_t at = field * (x.numel() / x.size(0)) + point;
        const c128 value = is_complex(x.dtype()) ? in.data<c128>()[at] : c128(in.data<double>()[at]);
        out[field * (y.numel() / x.size(0)) + mode] += scale * value * std::polar(1.0, -2.0 * std::numbers::pi * turns);
      }
    }
  }
  return y;
}

struct Case {
  std::vector<FourierAxis> axes;
};

const std::vector<Case> kCases{
    {{whole(16, 0, 9)}},
    {{whole(7, 0, 3)}},
    {{whole(12, -3, 7), whole(10, 0, 6)}},
    {{whole(5, -2, 5), whole(33, 0, 17)}},
    {{whole(6, -2, 4), whole(3, -1, 3), whole(8, 0, 3)}},
    {{whole(40, -4, 8), whole(40, 0, 21)}},
    {{whole(4, -2, 4), whole(2, 0, 2)}},  // the smallest that have points at N/2 - n, and modes at half the period
    {{whole(2, -1, 2), whole(1, 0, 1)}},
    {{whole(14, -7, 14), whole(18, 0, 10)}},  // N/4 between points, and an odd frequency at half the period
    {{{12, 3, 4, -3, 6}, {10, 7, 3, 1, 4}}},  // a part of the grid, and modes from 1 on
    {{whole(16, -8, 16), whole(16, 0, 9)}},   // 16, 32 and 64 points go by radix 2, with all modes or few
    {{whole(16, -8, 17), whole(32, 1, 4)}},   // half the period twice, and modes from 1 on
    {{whole(64, -3, 5), whole(16, 0, 9)}},
    {{whole(32, 2, 3), whole(64, 0, 33)}},
    {{whole(16, -7, 18), whole(16, -2, 5)}},  // modes that are beyond half the period, or those of a real field below 0
};

TEST(Fourier, ModesAreTheDefinitionsForRealAndComplexFields) {
  for (const Case& c : kCases) {
    Shape shape{3};
    for (const FourierAxis& axis : c.axes) shape.push_back(axis.points);
    const Tensor x = random_tensor(shape, 1), z = complex(x, random_tensor(shape, 2));
    EXPECT_TENSOR_NEAR(fourier_modes(x, c.axes, 0.5), by_definition(x, c.axes, 0.5), 1e-13);
    EXPECT_TENSOR_NEAR(fourier_modes(z, c.axes, 0.5), by_definition(z, c.axes, 0.5), 1e-13);
  }
}

TEST(Fourier, AllModesGiveTheFieldBack) {
  for (const std::vector<std::int64_t>& extents :
       {std::vector<std::int64_t>{8}, {7}, {6, 9}, {5, 8}, {4, 3, 6}, {20, 18}, {16, 64}, {32}}) {
    std::vector<FourierAxis> real_axes, complex_axes;
    Shape shape{2, 3};
    double points = 1.0;
    for (std::size_t i = 0; i < extents.size(); ++i) {
      const std::int64_t n = extents[i];
      shape.push_back(n);
      points *= static_cast<double>(n);
      complex_axes.push_back(whole(n, -(n / 2), n));
      real_axes.push_back(i + 1 == extents.size() ? whole(n, 0, n / 2 + 1) : complex_axes.back());
    }
    const Tensor x = random_tensor(shape, 3), z = complex(x, random_tensor(shape, 4));
    EXPECT_TENSOR_NEAR(fourier_field(fourier_modes(x, real_axes, 1.0 / points), real_axes, FieldNumbers::real), x, 1e-13);
    EXPECT_TENSOR_NEAR(fourier_field(fourier_modes(z, complex_axes, 1.0 / points), complex_axes, FieldNumbers::complex), z, 1e-13);
  }
}

TEST(Fourier, ImaginaryPartsThatARealFieldCannotHaveAreDropped) {
  const Tensor modes = from_values({1, 3}, std::vector<c128>{{2, 5}, {0, -1}, {3, 7}});  // frequencies 0, 1 and 2 of 4 points
  EXPECT_TENSOR_NEAR(fourier_field(modes, {whole(4, 0, 3)}, FieldNumbers::real),
                     from_values<double>({1, 4}, std::vector<double>{5, 1, 5, -3}), 1e-15);
}

TEST(Fourier, PartsOfAGridAddUpToTheWhole) {
  const Tensor x = random_tensor({2, 10, 12}, 5);
  const std::vector<FourierAxis> axes{whole(10, -3, 6), whole(12, 0, 5)};
  const Tensor all = fourier_modes(x, axes);
  Tensor sum = zeros_like(all);
  for (const auto& [row, rows] : {std::pair<std::int64_t, std::int64_t>{0, 3}, {3, 7}, {10, 0}}) {
    const Tensor part = view::slice(x, 1, row, row + rows);
    sum = sum + fourier_modes(part, {{10, row, rows, -3, 6}, axes[1]});
    EXPECT_TENSOR_NEAR(fourier_field(all, {{10, row, rows, -3, 6}, axes[1]}, FieldNumbers::real),
                       packed(view::slice(fourier_field(all, axes, FieldNumbers::real), 1, row, row + rows)), 1e-13);
  }
  EXPECT_TENSOR_NEAR(sum, all, 1e-13);
}

TEST(Fourier, AnAxisCanBeLeftAsItIs) {
  const Tensor x = random_tensor({2, 6, 8}, 6);
  const std::vector<FourierAxis> rows_only{{0, 0, 6}, whole(8, 0, 3)}, columns_only{whole(6, -2, 5), {0, 0, 3}};
  const std::vector<FourierAxis> both{columns_only[0], rows_only[1]};
  const Tensor modes = fourier_modes(fourier_modes(x, rows_only), columns_only);
  EXPECT_TENSOR_NEAR(modes, fourier_modes(x, both), 1e-13);
  EXPECT_TENSOR_NEAR(fourier_field(fourier_field(modes, columns_only, FieldNumbers::complex), rows_only, FieldNumbers::real),
                     fourier_field(modes, both, FieldNumbers::real), 1e-13);
}

TEST(Fourier, GradientsOfAFieldThatIsReadTwiceMeet) {
  struct Case {
    std::vector<FourierAxis> axes;
    DType dtype;
  };
  for (const auto& [axes, dtype] : {Case{{whole(12, -3, 7), whole(34, 0, 9)}, DType::f64},
                                    {{whole(12, -3, 7), whole(10, -2, 6)}, DType::c128},
                                    {{whole(16, -3, 7), whole(32, 0, 9)}, DType::f64},
                                    {{whole(9, 0, 3)}, DType::f64},
                                    {{whole(6, 0, 0), whole(8, 0, 3)}, DType::f64},
                                    {{whole(4, -2, 3), whole(6, -1, 3), whole(8, 0, 3)}, DType::f64}}) {
    Shape shape{3, 7};  // more fields than one vector has, and a rest
    for (const FourierAxis& axis : axes) shape.push_back(axis.points);
    const Tensor x = leaf(is_complex(dtype) ? complex(random_tensor(shape, 1), random_tensor(shape, 3)) : random_tensor(shape, 1));
    const auto gradient_of = [&](const Tensor& y) {
      return gradients(y, complex(random_tensor(y.shape(), 2), random_tensor(y.shape(), 4)), {x})[0];
    };
    EXPECT_TENSOR_NEAR(gradient_of(fourier_modes(x, axes, 0.5) + fourier_modes(x, axes, 0.25)), gradient_of(fourier_modes(x, axes, 0.75)),
                       1e-13);
  }
}

/// With mode 0 at hand or not, and over more axes than take a bias along with it.
TEST(Fourier, ABiasIsAddedToAllPointsOfAChannel) {
  for (const std::vector<FourierAxis>& axes : {std::vector{whole(12, -3, 7), whole(10, 0, 6)},
                                               {whole(12, -3, 7), {10, 4, 3, 0, 6}},
                                               {whole(16, -3, 7), whole(16, 0, 6)},
                                               {whole(9, 0, 3)},
                                               {whole(12, 1, 4), whole(10, 0, 6)},
                                               {whole(4, -2, 3), whole(6, -1, 3), whole(8, 0, 3)}}) {
    Shape shape{3, 7}, points{3, 7}, per_channel{7};  // more fields than one vector has, and a rest
    for (const FourierAxis& axis : axes) shape.push_back(axis.modes), points.push_back(axis.points), per_channel.push_back(1);
    for (const ModeOrder order : {ModeOrder::last, ModeOrder::first}) {
      const Tensor all = fourier_modes(random_tensor(points, 1), axes, 0.1, order);
      const std::vector<Tensor> first{leaf(all), leaf(random_tensor(per_channel, 2))},
          second{leaf(all), leaf(random_tensor(per_channel, 2))};
      const Tensor y = fourier_field(first[0], axes, FieldNumbers::real, {}, first[1]),
                   expected = fourier_field(second[0], axes, FieldNumbers::real) + second[1];
      EXPECT_TENSOR_NEAR(y.detached(), expected.detached(), 1e-13);
      const Tensor dy = random_tensor(points, 3);
      const std::vector<Tensor> found = gradients(y, dy, first), wanted = gradients(expected, dy, second);
      EXPECT_TENSOR_NEAR(packed(found[0]), packed(wanted[0]), 0);
      EXPECT_TENSOR_NEAR(found[1], wanted[1], 1e-12);
    }
  }
}

TEST(Fourier, ModesMayLieInEitherOrder) {
  for (const std::vector<FourierAxis>& axes : {std::vector{whole(12, -3, 7), whole(10, 0, 6)},
                                               {whole(16, -8, 16), whole(16, 0, 9)},
                                               {whole(4, -2, 3), whole(6, -1, 3), whole(8, 0, 3)}}) {
    Shape shape{3, 7};  // more fields than one vector has, and a rest
    for (const FourierAxis& axis : axes) shape.push_back(axis.points);
    const Tensor x = random_tensor(shape, 1), last = fourier_modes(x, axes, 0.5), first = fourier_modes(x, axes, 0.5, ModeOrder::first);
    EXPECT_EQ(first.strides()[1], 1);
    EXPECT_TENSOR_NEAR(packed(first), last, 0);
    EXPECT_TENSOR_NEAR(fourier_field(first, axes, FieldNumbers::real), fourier_field(last, axes, FieldNumbers::real), 0);
    const Tensor modes = leaf(first), dy = random_tensor(shape, 2);
    const Tensor gradient = gradients(fourier_field(modes, axes, FieldNumbers::real), dy, {modes})[0];
    EXPECT_EQ(gradient.strides()[1], 1);
    const Tensor point = leaf(x);
    EXPECT_TENSOR_NEAR(gradients(fourier_modes(point, axes, 0.5), first, {point})[0],
                       gradients(fourier_modes(point, axes, 0.5), last, {point})[0], 0);
  }
}

TEST(Fourier, SinglePrecisionAgrees) {
  for (const std::vector<FourierAxis>& axes :
       {std::vector{whole(48, -10, 21), whole(50, 0, 26)}, {whole(32, -16, 32), whole(64, 0, 33)}, {whole(16, -8, 16), whole(16, 0, 9)}}) {
    const Tensor x = random_tensor({3, axes[0].points, axes[1].points}, 7), exact = fourier_modes(x, axes, 0.01);
    const Tensor rounded = fourier_modes(testing::as_f32(x), axes, 0.01), wide = empty_like(exact), back = empty_like(x);
    copy_into(wide, rounded);
    EXPECT_TENSOR_NEAR(wide, exact, 1e-6);
    copy_into(back, fourier_field(rounded, axes, FieldNumbers::real));
    EXPECT_TENSOR_NEAR(back, fourier_field(exact, axes, FieldNumbers::real), 1e-6);
  }
}

TEST(Fourier, Gradients) {
  const auto energy = [](const Tensor& z) { return real(z) * imag(z) + real(z) * real(z); };
  for (const std::vector<FourierAxis>& axes :
       {std::vector<FourierAxis>{{6, 1, 4, -2, 3}, whole(8, 0, 5)}, {whole(16, -3, 5), whole(16, 0, 9)}}) {
    const Shape points{axes[0].points, axes[1].points}, modes{axes[0].modes, axes[1].modes};
    EXPECT_TRUE(gradcheck_on_every_device([&](const auto& in) { return energy(fourier_modes(in[0], axes, 0.3)); },
                                          {random_tensor({2, points[0], points[1]}, 8)}));
    EXPECT_TRUE(gradcheck_on_every_device([&](const auto& in) { return energy(fourier_modes(complex(in[0], in[1]), axes)); },
                                          {random_tensor(points, 8), random_tensor(points, 9)}));
    EXPECT_TRUE(gradcheck_on_every_device([&](const auto& in) { return fourier_field(complex(in[0], in[1]), axes, FieldNumbers::real); },
                                          {random_tensor(modes, 8), random_tensor(modes, 9)}));
    EXPECT_TRUE(
        gradcheck_on_every_device([&](const auto& in) { return energy(fourier_field(complex(in[0], in[1]), axes, FieldNumbers::complex)); },
                                  {random_tensor(modes, 8), random_tensor(modes, 9)}));
  }
}

TEST(Fourier, NoPointsMakeNoModesAndNoModesNoField) {
  EXPECT_TENSOR_NEAR(fourier_modes(zeros({2, 0, 4}, DType::f64), {{6, 0, 0, -1, 3}, whole(4, 0, 3)}), zeros({2, 3, 3}, DType::c128), 0);
  EXPECT_TENSOR_NEAR(fourier_field(zeros({2, 3, 0}, DType::c128), {whole(6, -1, 3), {4, 0, 4, 2, 0}}, FieldNumbers::real),
                     zeros({2, 6, 4}, DType::f64), 0);
}

TEST(Fourier, RefusesWhatDoesNotFit) {
  EXPECT_THROW(fourier_modes(zeros({4}, DType::f64), {whole(5, 0, 2)}), ShapeError);
  EXPECT_THROW(fourier_modes(zeros({4}, DType::f64), {{0, 0, 4}}), ShapeError);
  EXPECT_THROW(fourier_modes(zeros({4}, DType::f64), {whole(4, 0, 2), whole(4, 0, 2)}), ShapeError);
  EXPECT_THROW(fourier_field(zeros({2}, DType::f64), {whole(4, 0, 2)}, FieldNumbers::real), ShapeError);
}

}  // namespace
}  // namespace trident
