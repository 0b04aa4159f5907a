#include "parallel/gradient_reducer.h"

#include <gtest/gtest.h>

#include "parallel/optimizer.h"
#include "parallel/range.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::random_tensor;
using testing::world;

constexpr std::int64_t kWidth = 40;
constexpr std::int64_t kTinyBucket = 64;  // bytes: every parameter has a bucket of its own

/// gelu(x * up + shift) * down + offset, summed: the parameters become final one after the other, `offset` first.
struct Toy {
  Parameter up = whole_parameter({kWidth}, Init::normal(1.0)), shift = whole_parameter({kWidth}, Init::normal(1.0)),
            down = whole_parameter({kWidth}, Init::normal(1.0)), offset = whole_parameter({kWidth}, Init::normal(1.0)),
            unused = whole_parameter({3}, Init::constant(1.0));
  ParameterList parameters;

  explicit Toy(DType dtype = DType::f64) {
    unused.prepared = true;
    parameters = materialize(
        [this](const ParameterVisitor& visitor) {
          visitor.parameter("up", up);
          visitor.parameter("shift", shift);
          visitor.parameter("down", down);
          visitor.parameter("unused", unused);
          visitor.parameter("offset", offset);
        },
        dtype, Use::training, RandomKey(3));
  }

  /// This rank's share of the mean over the global batch.
  Tensor share(const Tensor& samples, std::int64_t global_batch) const {
    const Tensor y = gelu(samples * up.value + shift.value) * down.value + offset.value;
    return affine(sum(y * y), 1.0 / static_cast<double>(global_batch));
  }
  /// The same, keeping nothing of the product with `up`.
  Tensor recomputed_share(const Tensor& samples, std::int64_t global_batch) const {
    const Tensor inner = recompute([this, samples] { return gelu(samples * up.value + shift.value); });
    const Tensor y = inner * down.value + offset.value;
    return affine(sum(y * y), 1.0 / static_cast<double>(global_batch));
  }
};

Mesh data_mesh(StreamMode mode = StreamMode::overlapped) { return Mesh(world(), {world()->size(), 1, 1, 1}, kDefaultOrder, mode); }

Tensor batch_of(std::int64_t size, DType dtype) {
  const Tensor batch = empty({size, kWidth}, dtype);
  copy_into(batch, random_tensor({size, kWidth}, 11));
  return batch;
}

/// This rank's samples of the batch, in `micro_batches` parts.
void run_backward(const Toy& toy, GradientReducer& reducer, const Tensor& batch, std::int64_t micro_batches = 1) {
  const Range own = part_of(batch.size(0), world()->size(), world()->rank());
  for (std::int64_t i = 0; i < micro_batches; ++i) {
    const Range part = part_of(own.size(), micro_batches, i);
    const Tensor samples = view::slice(batch, 0, own.first + part.first, own.first + part.last);
    backward(toy.share(samples, batch.size(0)), i + 1 == micro_batches ? reducer.on_final() : OnFinal{});
  }
}

/// The gradients of the whole batch on one rank.
Tensor whole_gradients(const Tensor& batch) {
  const Toy toy(batch.dtype());
  backward(toy.share(batch, batch.size(0)));
  return toy.parameters.gradients();
}

TEST(GradientReducer, AnyNumberOfRanksHasTheGradientsOfOne) {
  for (const std::int64_t batch_size : {2, 5, 12}) {  // two: some ranks have no sample
    const Tensor batch = batch_of(batch_size, DType::f64);
    for (const std::int64_t bucket_bytes : {kTinyBucket, std::int64_t{1} << 20}) {
      const Toy toy;
      GradientReducer reducer(toy.parameters, FlatShares(toy.parameters, data_mesh(), Sharding::none, bucket_bytes));
      for (int step = 0; step < 3; ++step) {  // the order of the buckets is learned in the first
        toy.parameters.zero_gradients();
        run_backward(toy, reducer, batch);
        reducer.finish();
        EXPECT_TENSOR_NEAR(toy.parameters.gradients(), whole_gradients(batch), 1e-14);
      }
    }
  }
}

TEST(GradientReducer, SumsOnceHoweverManyMicroBatches) {
  const Tensor batch = batch_of(9, DType::f64);
  const Toy toy;
  GradientReducer reducer(toy.parameters, FlatShares(toy.parameters, data_mesh(), Sharding::none, kTinyBucket));
  for (int step = 0; step < 2; ++step) {
    toy.parameters.zero_gradients();
    run_backward(toy, reducer, batch, 3);
    reducer.finish();
    EXPECT_TENSOR_NEAR(toy.parameters.gradients(), whole_gradients(batch), 1e-14);
  }
}

TEST(GradientReducer, ParametersOfRecomputedBlocksLeaveWhenTheBlockHasRunAgain) {
  const Tensor batch = batch_of(6, DType::f64);
  const Toy toy;
  GradientReducer reducer(toy.parameters, FlatShares(toy.parameters, data_mesh(), Sharding::none, kTinyBucket));
  const Range own = part_of(batch.size(0), world()->size(), world()->rank());
  for (int step = 0; step < 2; ++step) {
    toy.parameters.zero_gradients();
    backward(toy.recomputed_share(view::slice(batch, 0, own.first, own.last), batch.size(0)), reducer.on_final());
    reducer.finish();
    EXPECT_TENSOR_NEAR(toy.parameters.gradients(), whole_gradients(batch), 1e-14);
  }
}

std::vector<float> trained(StreamMode mode, std::int64_t bucket_bytes) {
  const Toy toy(DType::f32);
  const Mesh mesh = data_mesh(mode);
  const Tensor batch = batch_of(7, DType::f32);
  GradientReducer reducer(toy.parameters, FlatShares(toy.parameters, mesh, Sharding::none, bucket_bytes));
  AdamW optimizer(toy.parameters, {.max_grad_norm = 1.0}, {0.01}, [](const std::string&) { return 0; });
  for (int step = 1; step <= 4; ++step) {
    toy.parameters.zero_gradients();
    run_backward(toy, reducer, batch, 2);
    reducer.finish();
    optimizer.update(step, std::vector{0.01}, global_norm(toy.parameters, mesh));
  }
  return to_host<float>(toy.parameters.values());
}

TEST(GradientReducer, OverlapAndBucketsDoNotChangeABit) {
  const std::vector<float> serialised = trained(StreamMode::serialised, kTinyBucket);
  EXPECT_EQ(trained(StreamMode::overlapped, kTinyBucket), serialised);
  EXPECT_EQ(trained(StreamMode::overlapped, 1 << 20), serialised);
  // All ranks hold the same bits.
  const Tensor largest = from_values<float>({static_cast<std::int64_t>(serialised.size())}, serialised);
  world()->all_reduce(largest, ReduceOp::max);
  EXPECT_EQ(to_host<float>(largest), serialised);
}

TEST(GradientReducer, BucketsLeaveBeforeTheBackwardEnds) {
  const Tensor batch = batch_of(8, DType::f64);
  const Toy toy;
  const Mesh mesh = data_mesh();
  GradientReducer reducer(toy.parameters, FlatShares(toy.parameters, mesh, Sharding::none, kTinyBucket));
  run_backward(toy, reducer, batch);
  reducer.finish();
  toy.parameters.zero_gradients();
  const Range own = part_of(batch.size(0), world()->size(), world()->rank());
  const OnFinal on_final = reducer.on_final();
  if (world()->size() == 1) {
    EXPECT_FALSE(on_final);
    return;
  }
  const Tensor expected =
      view::slice(whole_gradients(batch), 0, toy.parameters.pieces()[4].offset, toy.parameters.pieces()[4].offset + kWidth);
  int final_leaves = 0;
  backward(toy.share(view::slice(batch, 0, own.first, own.last), batch.size(0)), [&](const Node& leaf) {
    on_final(leaf);
    if (++final_leaves > 1) return;
    mesh.background().stream().synchronize();  // only `offset` is final yet, and its sum is complete
    EXPECT_TENSOR_NEAR(toy.parameters.pieces()[4].gradient, expected, 1e-14);
    EXPECT_TENSOR_NEAR(toy.parameters.pieces()[0].gradient, zeros({kWidth}, DType::f64), 0.0);
  });
  reducer.finish();
  EXPECT_EQ(final_leaves, 4);
  EXPECT_TENSOR_NEAR(toy.parameters.gradients(), whole_gradients(batch), 1e-14);
}

TEST(GradientReducer, SumsOnlyOverTheAxesThatReplicate) {
  if (world()->size() % 2 != 0) GTEST_SKIP() << "needs an even number of ranks";
  const Mesh mesh(world(), {world()->size() / 2, 1, 1, 2});
  Parameter split = whole_parameter({4}, Init::constant(0.0)), replicated = whole_parameter({4}, Init::constant(0.0));
  split.replicated = AxisSet(Axis::data) | Axis::domain_y | Axis::domain_x;
  const ParameterList parameters = materialize(
      [&](const ParameterVisitor& visitor) {
        visitor.parameter("split", split);
        visitor.parameter("replicated", replicated);
      },
      DType::f64, Use::training, RandomKey(1));
  GradientReducer reducer(parameters, FlatShares(parameters, mesh));
  const double tensor_rank = mesh.coordinate(Axis::tensor), data_ranks = mesh.size(Axis::data);
  backward(sum(split.value) * full({1}, 1.0 + tensor_rank, DType::f64) + sum(replicated.value), reducer.on_final());
  reducer.finish();
  EXPECT_EQ(to_host<double>(parameters.pieces()[0].gradient), std::vector<double>(4, data_ranks * (1.0 + tensor_rank)));
  EXPECT_EQ(to_host<double>(parameters.pieces()[1].gradient), std::vector<double>(4, 2.0 * data_ranks));
  // Both halves of the split one, and the replicated one once.
  const double squares = 4 * data_ranks * data_ranks * (1.0 + 4.0) + 4 * 4.0 * data_ranks * data_ranks;
  EXPECT_NEAR(to_number(global_norm(parameters, mesh)), std::sqrt(squares), 1e-12);
}

}  // namespace
}  // namespace trident
