/// Blocks that are computed again in the backward.
#include <functional>

#include "runtime/autograd/tape.h"
#include "runtime/device/allocator.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::random_tensor;

Tensor number(double value) { return full({1}, value, DType::f64); }

struct Network {
  Tensor input = leaf(random_tensor({4, 6}, 1)), shared = leaf(random_tensor({6}, 2)), own = leaf(random_tensor({4, 1}, 3));

  Tensor block(const Tensor& x) const { return gelu(x * shared + own) * sigmoid(shared * own); }

  /// Two blocks that share parameters, each using them more than once; `wrap` decides how a block runs.
  Tensor loss(const std::function<Tensor(const std::function<Tensor()>&)>& wrap) const {
    const Tensor h = wrap([this] { return block(input); });
    const Tensor z = wrap([this, h, &wrap] {
      const Tensor inner = wrap([this, h] { return block(h); });
      return inner * h + block(inner);
    });
    return sum(z * shared);
  }
};

TEST(Recompute, GivesTheGradientsOfThePlainRunBitForBit) {
  const Network plain, again, nested;
  backward(plain.loss([](const std::function<Tensor()>& block) { return block(); }));
  bool inside = false;
  backward(again.loss([&](const std::function<Tensor()>& block) {  // the outer blocks only
    if (inside) return block();
    inside = true;
    const Tensor y = recompute(block);
    inside = false;
    return y;
  }));
  const std::function<Tensor(const std::function<Tensor()>&)> wrap = [](const std::function<Tensor()>& block) { return recompute(block); };
  backward(nested.loss(wrap));
  for (const Network* network : {&again, &nested}) {
    EXPECT_TENSOR_NEAR(gradient_of(network->input), gradient_of(plain.input), 0);
    EXPECT_TENSOR_NEAR(gradient_of(network->shared), gradient_of(plain.shared), 0);
    EXPECT_TENSOR_NEAR(gradient_of(network->own), gradient_of(plain.own), 0);
  }
}

TEST(Recompute, PassesTheGradientCheck) {
  EXPECT_TRUE(testing::gradcheck_on_every_device(
      [](const std::vector<Tensor>& in) {
        const Tensor h = recompute([in] { return gelu(in[0] * in[1]); });
        return recompute([in, h] { return h * in[1] + in[0]; });
      },
      {random_tensor({2, 3}, 1), random_tensor({3}, 2)}));
}

TEST(Recompute, LeavesAreFinalOnceInTheOrderOfThePlainRun) {
  const auto finals_of = [](const Network& network, const Tensor& loss) {
    std::vector<int> finals;
    backward(loss, [&](const Node& node) {
      finals.push_back(&node == network.input.node().get() ? 0 : &node == network.shared.node().get() ? 1 : 2);
    });
    return finals;
  };
  const Network plain, again;
  const std::vector<int> expected = finals_of(plain, plain.loss([](const std::function<Tensor()>& block) { return block(); }));
  EXPECT_EQ(expected.size(), 3U);
  const std::function<Tensor(const std::function<Tensor()>&)> wrap = [](const std::function<Tensor()>& block) { return recompute(block); };
  EXPECT_EQ(finals_of(again, again.loss(wrap)), expected);
}

TEST(Recompute, KeepsNoIntermediateValues) {
  const Tensor x = leaf(random_tensor({1 << 16}, 1));
  const auto block = [](Tensor y) {
    for (int i = 0; i < 8; ++i) y = sigmoid(y);
    return y;
  };
  const std::int64_t before = memory_counters({}).in_use_bytes;
  const Tensor y = recompute([=] { return block(x); });
  EXPECT_EQ(memory_counters({}).in_use_bytes - before, y.num_bytes());
  EXPECT_EQ(memory_counters({}).in_use_bytes - before, x.num_bytes());
}

TEST(Recompute, ABlockThatDependsOnNothingIsNotRecorded) {
  EXPECT_EQ(recompute([] { return number(1) + number(2); }).node(), nullptr);
}

TEST(Recompute, ABlockMayReturnWhatItWasGiven) {
  const Tensor x = leaf(number(3));
  int calls = 0;
  backward(affine(recompute([x] { return x; }), 2.0), [&](const Node&) { ++calls; });
  EXPECT_EQ(to_number(gradient_of(x)), 2.0);
  EXPECT_EQ(calls, 1);
}

TEST(Recompute, ManyBlocksInAChain) {
  // Nodes of later blocks come to lie where nodes of earlier ones were.
  const Tensor x = leaf(number(1)), weight = leaf(number(1));
  Tensor y = x;
  for (int i = 0; i < 2000; ++i) y = recompute([y, weight] { return affine(y, 1.0) * weight; });
  backward(y);
  EXPECT_EQ(to_number(gradient_of(x)), 1.0);
  EXPECT_EQ(to_number(gradient_of(weight)), 2000.0);
}

}  // namespace
}  // namespace trident
