/// Where closures put their gradients.
#include <limits>

#include "runtime/autograd/tape.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/create.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::random_tensor;

Tensor number(double value) { return full({1}, value, DType::f64); }

/// What a closure was told, without holding the memory.
struct Told {
  const void* to = nullptr;
  bool adds = false, returns = false;
};

/// factor x, whose closure says where the tape let it put the gradient.
Tensor scaled(const Tensor& x, double factor, Told* told = nullptr, DType writes = DType::f64) {
  return record("scaled", affine(x.detached(), factor), {x}, [factor, told, writes](const Tensor& dy, Wanted wanted) {
    const GradientPlace place = wanted.place(0, dy.shape(), writes, dy.device());
    if (place.to.defined()) put(place, affine(dy, factor));
    if (told != nullptr) *told = {place.to.defined() ? place.to.bytes() : nullptr, place.adds, place.result.defined()};
    return std::vector{place.result};
  });
}

TEST(GradientPlace, AClosurePutsItsGradientWhereTheLeafCollectsIt) {
  const Tensor memory = full({2}, 100.0, DType::f64), x = leaf(random_tensor({2}, 1), memory);
  Told first, second;
  backward(sum(scaled(x, 3.0, &second) + scaled(x, 5.0, &first)));
  for (const Told& told : {first, second}) {
    EXPECT_EQ(told.to, memory.bytes());
    EXPECT_TRUE(told.adds);
    EXPECT_FALSE(told.returns);
  }
  EXPECT_TENSOR_NEAR(memory, full({2}, 108.0, DType::f64), 0);
}

TEST(GradientPlace, TheFirstGradientOfALeafWithoutMemoryOverwritesWhatItGets) {
  const Tensor x = leaf(number(1));
  Told first, second;
  const Tensor early = scaled(x, 3.0, &second);
  backward(early + scaled(x, 5.0, &first));
  EXPECT_FALSE(first.adds);
  EXPECT_TRUE(second.adds);
  EXPECT_EQ(first.to, gradient_of(x).bytes());
  EXPECT_EQ(to_number(gradient_of(x)), 8.0);
}

TEST(GradientPlace, TheFirstGradientOverwritesABlankOneWhicheverWayItComes) {
  const double what_was_there = std::numeric_limits<double>::quiet_NaN();
  const Tensor placed = leaf(number(1), number(what_was_there)), returned = leaf(number(2), number(what_was_there)),
               unused = leaf(number(3), number(what_was_there));
  for (const Tensor& x : {placed, returned, unused}) x.node()->blank = true;
  backward(scaled(placed, 3.0) + affine(returned, 5.0));
  backward(scaled(placed, 3.0) + affine(returned, 5.0));
  EXPECT_EQ(to_number(gradient_of(placed)), 6.0);
  EXPECT_EQ(to_number(gradient_of(returned)), 10.0);
  EXPECT_TRUE(unused.node()->blank);
  complete_gradient(*unused.node());
  complete_gradient(*placed.node());
  EXPECT_EQ(to_number(gradient_of(unused)), 0.0);
  EXPECT_EQ(to_number(gradient_of(placed)), 6.0);
}

TEST(GradientPlace, ABlankGradientIsZeroWhenItIsFinal) {
  const Tensor x = leaf(number(1), number(100)), y = leaf(number(2));
  x.node()->blank = true;
  const Tensor z = record("drops", number(1), {x, y}, [](const Tensor& dy, Wanted) { return std::vector{Tensor{}, dy}; });
  std::vector<double> values;
  backward(z, [&](const Node& node) { values.push_back(to_number(node.gradient)); });
  EXPECT_EQ(values, (std::vector<double>{0.0, 1.0}));
}

TEST(GradientPlace, AClosureOfAnotherNumberTypeThanTheLeafsReturnsItsGradient) {
  const Tensor x = leaf(full({2}, 1.0, DType::f32));
  Told told;
  backward(sum(scaled(x, 3.0, &told)));
  EXPECT_TRUE(told.returns);
  EXPECT_TENSOR_NEAR(gradient_of(x), full({2}, 3.0, DType::f32), 0);
}

TEST(GradientPlace, AClosureAddsToTheGradientThatItsInputHasGotFromLaterUses) {
  const Tensor x = leaf(number(1)), h = affine(x, 1.0);
  Told first, second;
  const Tensor early = scaled(h, 3.0, &second);
  backward(early + scaled(h, 5.0, &first));
  EXPECT_FALSE(first.adds);
  EXPECT_TRUE(first.returns);
  EXPECT_TRUE(second.adds);
  EXPECT_FALSE(second.returns);
  EXPECT_EQ(second.to, first.to);
  EXPECT_EQ(to_number(gradient_of(x)), 8.0);
}

TEST(GradientPlace, AClosureNeverAddsToMemoryThatAnotherGradientLiesIn) {
  // `add` hands one tensor to both operands, so what h has got is what the closure reads as well.
  const Tensor x = leaf(number(1)), h = affine(x, 1.0);
  Told told;
  backward(affine(scaled(h, 3.0, &told) + h, 2.0));
  EXPECT_TRUE(told.adds);
  EXPECT_EQ(to_number(gradient_of(x)), 8.0);
}

/// x + bias, that says so, and notes whether it is asked for the bias's gradient.
Tensor with_bias_noted(const Tensor& x, const Tensor& bias, bool* asked) {
  const Tensor y = record("biased", x.detached() + bias.detached(), {x, bias}, [asked](const Tensor& dy, Wanted wanted) {
    *asked = wanted[1];
    const GradientPlace place = wanted.place(1, dy.shape(), dy.dtype(), dy.device());
    if (place.to.defined()) put(place, dy);
    return std::vector{dy, place.result};
  });
  return with_bias(y, 1);
}

/// 3 x, that gives a bias in x its gradient where it may.
Tensor tripled(const Tensor& x) {
  return record("tripled", affine(x.detached(), 3.0), {x}, [](const Tensor& dy, Wanted wanted) {
    const Tensor dx = affine(dy, 3.0);
    const GradientPlace place = wanted.place_of_bias(0, dy.shape(), dy.dtype(), dy.device());
    if (place.to.defined()) put(place, dx);
    return std::vector{dx};
  });
}

TEST(GradientPlace, ABiasGetsItsGradientOnceFromWhereItsSumGoes) {
  const Tensor x = leaf(number(1)), bias = leaf(number(2), number(10));
  bool asked = true;
  std::vector<const Node*> finals;
  backward(tripled(with_bias_noted(x, bias, &asked)), [&](const Node& node) { finals.push_back(&node); });
  EXPECT_FALSE(asked);
  EXPECT_EQ(to_number(gradient_of(bias)), 13.0);
  EXPECT_EQ(to_number(gradient_of(x)), 3.0);
  EXPECT_EQ(finals, (std::vector<const Node*>{x.node().get(), bias.node().get()}));
}

TEST(GradientPlace, ASumThatGoesToTwoPlacesGivesItsBiasTheGradientItself) {
  const Tensor x = leaf(number(1)), bias = leaf(number(2));
  bool asked = false;
  const Tensor y = with_bias_noted(x, bias, &asked);
  backward(tripled(y) + tripled(y));
  EXPECT_TRUE(asked);
  EXPECT_EQ(to_number(gradient_of(bias)), 6.0);
}

TEST(GradientPlace, ABiasThatIsNoLeafGetsItsGradientFromItsOwnSum) {
  const Tensor x = leaf(number(1)), under = leaf(number(2));
  bool asked = false;
  backward(tripled(with_bias_noted(x, affine(under, 2.0), &asked)));
  EXPECT_TRUE(asked);
  EXPECT_EQ(to_number(gradient_of(under)), 6.0);
}

TEST(GradientPlace, AnInputThatIsGivenTwiceCollectsBothGradients) {
  for (const bool is_leaf : {true, false}) {
    const Tensor x = leaf(number(1)), h = is_leaf ? x : affine(x, 1.0);
    backward(record("twice", number(1), {h, h}, [](const Tensor& dy, Wanted wanted) {
      std::vector<Tensor> results;
      for (std::size_t i = 0; i < 2; ++i) {
        const GradientPlace place = wanted.place(i, {1}, DType::f64, {});
        put(place, affine(dy, i == 0 ? 3.0 : 5.0));
        results.push_back(place.result);
      }
      return results;
    }));
    EXPECT_EQ(to_number(gradient_of(x)), 8.0);
  }
}

TEST(GradientPlace, GradientsCollectApartFromTheLeafsOwn) {
  const Tensor x = leaf(number(1), number(100)), weight = leaf(number(1), number(100));
  Told first, second, not_wanted{.to = &x};
  const Tensor early = scaled(x, 3.0, &second), late = scaled(x, 5.0, &first);
  const std::vector<Tensor> found = gradients(early + late + scaled(weight, 2.0, &not_wanted), number(1), {x});
  EXPECT_FALSE(first.adds);
  EXPECT_TRUE(second.adds);
  EXPECT_EQ(not_wanted.to, nullptr);
  EXPECT_EQ(to_number(found[0]), 8.0);
  EXPECT_EQ(to_number(gradient_of(x)), 100.0);
  EXPECT_EQ(to_number(gradient_of(weight)), 100.0);
}

}  // namespace
}  // namespace trident
