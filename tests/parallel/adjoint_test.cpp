/// One property for every exchange: <A x, y> = <x, A' y>, summed over ranks.
#include <gtest/gtest.h>

#include <numeric>

#include "parallel/collectives.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/support/adjoint.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::expect_adjoint;
using testing::random_tensor;
using testing::world;
using Counts = std::vector<std::int64_t>;

constexpr AxisSet kAxes = AxisSet(Axis::data);

Mesh mesh() { return Mesh(world(), {world()->size(), 1, 1, 1}); }

Counts uneven() {
  Counts counts;
  for (int rank = 0; rank < world()->size(); ++rank) counts.push_back(rank == 1 ? 0 : rank + 2);
  return counts;
}

std::int64_t total(const Counts& counts) { return std::accumulate(counts.begin(), counts.end(), std::int64_t{0}); }
std::int64_t own(const Counts& counts) { return counts[static_cast<std::size_t>(world()->rank())]; }

TEST(Adjoint, OfAllReduce) {
  expect_adjoint([](const Tensor& x) { return all_reduce_sum(mesh(), kAxes, x); }, {3, 5});
}

TEST(Adjoint, OfAllGatherWithUnevenRows) {
  const Counts counts = uneven();
  expect_adjoint([&](const Tensor& x) { return all_gather(mesh(), kAxes, x, counts); }, {own(counts), 2, 3});
}

TEST(Adjoint, OfReduceScatterWithUnevenRows) {
  const Counts counts = uneven();
  expect_adjoint([&](const Tensor& x) { return reduce_scatter(mesh(), kAxes, x, counts); }, {total(counts), 3});
}

TEST(Adjoint, OfAllToAllWithUnevenRows) {
  Counts sent, received;
  for (int peer = 0; peer < world()->size(); ++peer) {
    sent.push_back((world()->rank() + 2 * peer + 1) % 3);
    received.push_back((peer + 2 * world()->rank() + 1) % 3);
  }
  expect_adjoint([&](const Tensor& x) { return all_to_all(mesh(), kAxes, x, sent, received); }, {total(sent), 4});
}

TEST(Adjoint, OfBroadcast) {
  const int root = world()->size() - 1;
  expect_adjoint([&](const Tensor& x) { return broadcast(mesh(), kAxes, x, root); }, {4});
}

TEST(Collectives, GatheringWhatWasScatteredIsTheSum) {
  const Counts counts = uneven();
  const Tensor x = random_tensor({total(counts), 3}, static_cast<std::uint64_t>(world()->rank()), DType::f32);
  const Tensor gathered = all_gather(mesh(), kAxes, reduce_scatter(mesh(), kAxes, x, counts), counts);
  EXPECT_TENSOR_NEAR(gathered, all_reduce_sum(mesh(), kAxes, x), 0.0);
}

TEST(Collectives, TakeStridedTensors) {
  const auto seed = static_cast<std::uint64_t>(world()->rank());
  const Tensor x = random_tensor({3, 4}, seed);
  const Tensor strided = testing::strided_copy_of(x);
  const Counts counts(static_cast<std::size_t>(world()->size()), 3);
  EXPECT_TENSOR_NEAR(all_reduce_sum(mesh(), kAxes, strided), all_reduce_sum(mesh(), kAxes, x), 0.0);
  EXPECT_TENSOR_NEAR(all_gather(mesh(), kAxes, strided, counts), all_gather(mesh(), kAxes, x, counts), 0.0);
}

TEST(Collectives, RefuseCountsThatDoNotFit) {
  const Counts counts(static_cast<std::size_t>(world()->size()), 2);
  EXPECT_THROW(all_gather(mesh(), kAxes, zeros({3, 2}, DType::f64), counts), ShapeError);
  EXPECT_THROW(reduce_scatter(mesh(), kAxes, zeros({1, 2}, DType::f64), counts), ShapeError);
  EXPECT_THROW(all_to_all(mesh(), kAxes, zeros({}, DType::f64), counts, counts), ShapeError);
}

}  // namespace
}  // namespace trident
