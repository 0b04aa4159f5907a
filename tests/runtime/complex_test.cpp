#include "runtime/ops/complex.h"

#include <complex>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
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

TEST(Complex, PartsComeBackOut) {
  const Tensor re = random_tensor({2, 3}, 1), im = random_tensor({2, 3}, 2), z = complex(re, im);
  EXPECT_EQ(z.dtype(), DType::c128);
  EXPECT_EQ(z.data<c128>()[4], c128(re.data<double>()[4], im.data<double>()[4]));
  EXPECT_TENSOR_NEAR(packed(real(z)), re, 0);
  EXPECT_TENSOR_NEAR(packed(imag(z)), im, 0);
  EXPECT_EQ(view::as_real(z).shape(), (Shape{2, 3, 2}));
  EXPECT_THROW(complex(re, random_tensor({3, 2}, 1)), ShapeError);
  EXPECT_THROW(real(re), ShapeError);
}

TEST(Complex, ConjugatesTurnImaginaryParts) {
  const Tensor z = complex(random_tensor({2, 3}, 1), random_tensor({2, 3}, 2));
  EXPECT_TENSOR_NEAR(packed(real(conjugate(z))), packed(real(z)), 0);
  EXPECT_TENSOR_NEAR(packed(imag(conjugate(z))), affine(imag(z), -1.0), 0);
}

TEST(Complex, ProductsAndQuotientsHaveComplexGradients) {
  const Tensor a = random_tensor({2, 3}, 1), b = random_tensor({2, 3}, 2), c = random_tensor({3}, 3), d = random_tensor({3}, 4);
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const auto& in) {
        const Tensor left = complex(in[0], in[1]), right = complex(in[2], in[3]);
        const Tensor z = left * right / (right + right * conjugate(right)) - affine(left, 0.5);
        return real(z) * imag(z);
      },
      {a, b, c, d}));
}

TEST(Complex, Gradients) {
  const Tensor a = random_tensor({2, 3}, 1), b = random_tensor({2, 3}, 2);
  EXPECT_TRUE(gradcheck_on_every_device(
      [](const auto& in) {
        const Tensor z = complex(in[0], in[1]);
        return real(z) * imag(z) + gelu(imag(z));
      },
      {a, b}));
}

TEST(Complex, TheGradientIsThatOfBothParts) {
  const Tensor z = leaf(complex(from_values<double>({1}, std::vector<double>{3}), from_values<double>({1}, std::vector<double>{5})));
  backward(real(z) * real(z) + affine(imag(z), 7.0));
  EXPECT_EQ(gradient_of(z).data<c128>()[0], c128(6, 7));
}

TEST(Complex, MagnitudesHaveGradientsAndNoneAtZero) {
  const Tensor a = random_tensor({2, 3}, 1), b = random_tensor({2, 3}, 2);
  EXPECT_TRUE(gradcheck_on_every_device([](const auto& in) { return magnitude(complex(in[0], in[1])); }, {a, b}));
  const Tensor z = leaf(from_values<c128>({2}, std::vector<c128>{{3, -4}, {0, 0}}));
  const Tensor y = magnitude(z);
  EXPECT_TENSOR_NEAR(y, from_values<double>({2}, std::vector<double>{5, 0}), 0);
  backward(sum(y));
  EXPECT_NEAR(std::abs(gradient_of(z).data<c128>()[0] - c128(0.6, -0.8)), 0.0, 1e-15);
  EXPECT_EQ(gradient_of(z).data<c128>()[1], c128(0, 0));
}

}  // namespace
}  // namespace trident
