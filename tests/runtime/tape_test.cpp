#include "runtime/autograd/tape.h"

#include <functional>

#include "runtime/device/allocator.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::random_tensor;

Tensor number(double value) { return full({1}, value, DType::f64); }

/// x itself, with a name on the tape and a look at its backward.
Tensor watched(const Tensor& x, const std::function<void()>& on_backward) {
  return record("watched", x, {x}, [on_backward](const Tensor& dy, Wanted) {
    on_backward();
    return std::vector{dy};
  });
}

TEST(Tape, NothingIsRecordedWithoutALeaf) {
  EXPECT_EQ((number(1) + number(2)).node(), nullptr);
  EXPECT_NE((leaf(number(1)) + number(2)).node(), nullptr);
}

TEST(Tape, NothingIsRecordedWhileRecordingIsOff) {
  const Tensor x = leaf(number(1));
  {
    const Recording off(false);
    EXPECT_EQ((x + x).node(), nullptr);
    {
      const Recording on(true);
      EXPECT_NE((x + x).node(), nullptr);
    }
    EXPECT_FALSE(Recording::is_on());
  }
  EXPECT_NE((x + x).node(), nullptr);
}

TEST(Tape, GradientsOfALeafUsedTwiceAddUp) {
  const Tensor x = leaf(number(3));
  backward(x * x + affine(x, 5.0));
  EXPECT_EQ(to_number(gradient_of(x)), 11.0);
}

TEST(Tape, DiamondsRunEveryNodeOnce) {
  const Tensor x = leaf(number(2));
  int runs = 0;
  const Tensor top = watched(x * x, [&] { ++runs; });
  Tensor y = top;
  for (int i = 0; i < 10; ++i) y = y + y;  // 2^10 paths to the top
  backward(y + top);
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(to_number(gradient_of(x)), 1025 * 4.0);
}

TEST(Tape, GradientsAreAddedNeverOverwritten) {
  const Tensor memory = full({1}, 100.0, DType::f64);
  const Tensor x = leaf(number(3), memory);
  backward(x * x);
  backward(affine(x, 2.0));
  EXPECT_EQ(to_number(memory), 108.0);
}

TEST(Tape, UpstreamGradientsThatAreSharedAreNotOverwritten) {
  // add hands one tensor to both operands; the second use of `a` must not change what `b` has got.
  const Tensor a = leaf(random_tensor({3}, 1)), b = leaf(random_tensor({3}, 2));
  const Tensor one = affine(a, 1.0), two = affine(b, 1.0);
  backward(sum(one + two) + sum(affine(one, 7.0)));
  EXPECT_TENSOR_NEAR(gradient_of(a), full({3}, 8.0, DType::f64), 0);
  EXPECT_TENSOR_NEAR(gradient_of(b), full({3}, 1.0, DType::f64), 0);
}

TEST(Tape, LeavesAreFinalOnceAfterTheirLastUseInDescendingOrder) {
  const Tensor early = leaf(number(2)), late = leaf(number(3)), both = leaf(number(5)), unused = leaf(number(7));
  const Tensor h = early * both, y = h * late + both;
  std::vector<const Node*> finals;
  std::vector<double> values;
  backward(y, [&](const Node& node) {
    finals.push_back(&node);
    values.push_back(to_number(node.gradient));
  });
  EXPECT_EQ(finals, (std::vector<const Node*>{late.node().get(), early.node().get(), both.node().get()}));
  EXPECT_EQ(values, (std::vector<double>{10, 15, 7}));
  EXPECT_FALSE(gradient_of(unused).defined());
}

TEST(Tape, OneUseTwiceInANodeIsFinalOnce) {
  const Tensor x = leaf(number(3));
  int calls = 0;
  backward(x * x, [&](const Node&) { ++calls; });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(to_number(gradient_of(x)), 6.0);
}

TEST(Tape, ANodeWithoutAGradientPassesOnNothingButEndsItsUses) {
  const Tensor x = leaf(number(3));
  const Tensor dead = affine(x, 2.0);
  const Tensor y = record("drops", number(1), {dead, x}, [](const Tensor& dy, Wanted) { return std::vector{Tensor{}, dy}; });
  int calls = 0;
  backward(y, [&](const Node&) { ++calls; });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(to_number(gradient_of(x)), 1.0);
}

TEST(Tape, OnlyInputsOnTheTapeAreWanted) {
  const Tensor x = leaf(number(1)), frozen = number(2);
  bool first = false, second = true;
  const Tensor y = record("two", number(0), {x, frozen}, [&](const Tensor& dy, Wanted wanted) {
    first = wanted[0];
    second = wanted[1];
    return std::vector{dy, Tensor{}};
  });
  backward(y);
  EXPECT_TRUE(first);
  EXPECT_FALSE(second);
}

TEST(Tape, MoreThanSixtyFourInputs) {
  std::vector<Tensor> parts;
  for (int i = 0; i < 100; ++i) parts.push_back(i % 2 == 0 ? number(i) : leaf(number(i)));
  backward(sum(concatenate(parts, 0)));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(gradient_of(parts[static_cast<std::size_t>(i)]).defined(), i % 2 == 1) << i;
}

/// 2 x and 3 x, of one operation. `times`: how often it ran backward.
std::vector<Tensor> twice_and_thrice(const Tensor& x, int* times) {
  return record_all("twice_and_thrice", {affine(x.detached(), 2.0), affine(x.detached(), 3.0)}, {x},
                    [times](const std::vector<Tensor>& dys, Wanted) {
                      ++*times;
                      Tensor dx = zeros({1}, DType::f64);
                      for (std::size_t i = 0; i < 2; ++i)
                        if (dys[i].defined()) dx = dx + affine(dys[i], i == 0 ? 2.0 : 3.0);
                      return std::vector{dx};
                    });
}

TEST(Tape, AnOperationOfSeveralOutputsRunsBackwardOnceWithAllTheirGradients) {
  const Tensor x = leaf(number(1));
  int times = 0;
  const std::vector<Tensor> y = twice_and_thrice(x, &times);
  backward(affine(y[0], 10.0) + y[1] + affine(y[0], 100.0));
  EXPECT_EQ(times, 1);
  EXPECT_EQ(to_number(gradient_of(x)), 223.0);
}

TEST(Tape, AnOutputThatNobodyUsesHasNoGradient) {
  const Tensor x = leaf(number(1));
  int times = 0;
  backward(twice_and_thrice(x, &times)[1]);
  EXPECT_EQ(times, 1);
  EXPECT_EQ(to_number(gradient_of(x)), 3.0);
}

TEST(Tape, ATapeRunsBackwardOnce) {
  const Tensor x = leaf(number(1));
  const Tensor y = affine(affine(x, 2.0), 3.0);
  backward(y);
  EXPECT_THROW(backward(y), Error);
  EXPECT_EQ(to_number(gradient_of(x)), 6.0);
}

TEST(Tape, BackwardStartsFromOneNumberOnTheTape) {
  EXPECT_THROW(backward(leaf(zeros({2}, DType::f64))), ShapeError);
  EXPECT_THROW(backward(number(1)), ShapeError);
}

TEST(Tape, AWrongNumberOfGradientsIsNamed) {
  const Tensor x = leaf(number(1));
  try {
    backward(record("careless", number(1), {x, x}, [](const Tensor& dy, Wanted) { return std::vector{dy}; }));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "backward: \"careless\" returned 1 gradients for 2 inputs");
  }
}

TEST(Tape, ClosuresAreFreedAsTheBackwardProceeds) {
  const auto held = std::make_shared<int>(1);
  const Tensor x = leaf(number(1));
  long holders_below = 0;
  Tensor y = watched(x, [&] { holders_below = held.use_count(); });
  y = watched(y, [held] {});
  EXPECT_EQ(held.use_count(), 2);
  backward(y);
  EXPECT_EQ(holders_below, 1);
}

TEST(Tape, MemoryOfAChainDoesNotGrowWithItsLengthInTheBackward) {
  const Tensor x = leaf(random_tensor({1 << 16}, 1));
  Tensor y = x;
  for (int i = 0; i < 8; ++i) y = sigmoid(y);
  const Tensor loss = sum(y);
  y = {};
  reset_peak({});
  const std::int64_t before = memory_counters({}).in_use_bytes, field = x.num_bytes();
  backward(loss);
  EXPECT_LE(memory_counters({}).peak_bytes - before, 3 * field);  // two gradients, and the leaf's
  EXPECT_LE(memory_counters({}).in_use_bytes, before - 7 * field);
}

TEST(Tape, LongChainsDoNotOverflowTheStack) {
  const Tensor x = leaf(number(1));
  for (const bool runs_backward : {true, false}) {
    Tensor y = x;
    for (int i = 0; i < 50000; ++i) y = affine(y, 1.0);
    if (runs_backward) backward(y);
  }
  EXPECT_EQ(to_number(gradient_of(x)), 1.0);
}

TEST(Gradients, StopAtTheirInputsAndTouchNoLeaf) {
  const Tensor x = leaf(number(2)), weight = leaf(number(3));
  const Tensor h = x * weight;
  const Tensor y = h * h * weight;
  const std::vector<Tensor> found = gradients(y, number(1), {h, weight});
  EXPECT_EQ(to_number(found[0]), 2 * 6 * 3.0);
  EXPECT_EQ(to_number(found[1]), 36.0);  // the path through h is not followed
  EXPECT_FALSE(gradient_of(x).defined());
  EXPECT_FALSE(gradient_of(weight).defined());
}

TEST(Gradients, AreUndefinedWhereNothingArrives) {
  const Tensor x = leaf(number(2)), other = leaf(number(3));
  EXPECT_FALSE(gradients(affine(x, 2.0), number(1), {other})[0].defined());
  EXPECT_FALSE(gradients(number(1), number(1), {x})[0].defined());
}

}  // namespace
}  // namespace trident
