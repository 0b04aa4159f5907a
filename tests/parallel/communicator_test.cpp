#include "parallel/communicator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::world;

/// What rank `rank` contributes: numbers whose sum depends on the order of addition.
template <class T>
std::vector<T> numbers_of(int rank, std::int64_t size) {
  std::vector<T> numbers(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<T>((static_cast<std::int64_t>(i) * 7919 + rank * 104729) % 2003 - 1001) / static_cast<T>(7);
  }
  return numbers;
}

template <class T>
Tensor tensor_of(int rank, std::int64_t size) {
  return from_values<T>({size}, numbers_of<T>(rank, size));
}

/// Combined over ranks in their order.
template <class T, class Combine>
std::vector<T> combined(std::int64_t size, Combine combine) {
  std::vector<T> result = numbers_of<T>(0, size);
  for (int rank = 1; rank < world()->size(); ++rank) {
    const std::vector<T> other = numbers_of<T>(rank, size);
    std::transform(result.begin(), result.end(), other.begin(), result.begin(), combine);
  }
  return result;
}

template <class T>
class AllReduce : public ::testing::Test {};
using Numbers = ::testing::Types<float, double, std::int64_t>;
TYPED_TEST_SUITE(AllReduce, Numbers);

TYPED_TEST(AllReduce, AddsInRankOrderWhateverTheSize) {
  // Around the sizes where one gather becomes exchanges in chunks, and uneven over the ranks.
  for (const std::int64_t size : {0, 1, 5, 1024, 1025, 2049, 300001}) {
    const Tensor x = tensor_of<TypeParam>(world()->rank(), size);
    world()->all_reduce(x, ReduceOp::sum);
    EXPECT_EQ(to_host<TypeParam>(x), combined<TypeParam>(size, [](TypeParam a, TypeParam b) { return a + b; })) << size;
  }
}

TYPED_TEST(AllReduce, FindsLargestAndSmallest) {
  for (const std::int64_t size : {3, 5000}) {
    const Tensor x = tensor_of<TypeParam>(world()->rank(), size), y = tensor_of<TypeParam>(world()->rank(), size);
    world()->all_reduce(x, ReduceOp::max);
    world()->all_reduce(y, ReduceOp::min);
    EXPECT_EQ(to_host<TypeParam>(x), combined<TypeParam>(size, [](TypeParam a, TypeParam b) { return std::max(a, b); }));
    EXPECT_EQ(to_host<TypeParam>(y), combined<TypeParam>(size, [](TypeParam a, TypeParam b) { return std::min(a, b); }));
  }
}

TEST(Communicator, CuttingABufferDoesNotChangeItsSum) {
  constexpr std::int64_t kSize = 20000;
  const Tensor whole = tensor_of<float>(world()->rank(), kSize), cut = tensor_of<float>(world()->rank(), kSize);
  world()->all_reduce(whole, ReduceOp::sum);
  for (const auto& [begin, end] : {std::pair{0, 17}, {17, 9000}, {9000, 20000}})
    world()->all_reduce(view::slice(cut, 0, begin, end), ReduceOp::sum);
  EXPECT_EQ(to_host<float>(whole), to_host<float>(cut));
}

TEST(Communicator, AllReduceKnowsComplexAndBool) {
  const auto rank = static_cast<float>(world()->rank());
  const Tensor x = from_values<c64>({2}, std::vector<c64>{{rank, 1.0F}, {0.0F, -rank}});
  world()->all_reduce(x, ReduceOp::sum);
  const auto n = static_cast<float>(world()->size());
  EXPECT_EQ(to_host<c64>(x), (std::vector<c64>{{n * (n - 1) / 2, n}, {0.0F, -n * (n - 1) / 2}}));
  const Tensor flags = from_memory(nullptr, {0}, DType::boolean, nullptr);
  EXPECT_THROW(world()->all_reduce(zeros({2}, DType::bf16), ReduceOp::sum), ShapeError);
  world()->all_reduce(flags, ReduceOp::max);
}

TEST(Communicator, ReduceScatterIsAPartOfTheSum) {
  for (const std::int64_t scale : {1, 60000}) {
    std::vector<std::int64_t> counts;
    for (int rank = 0; rank < world()->size(); ++rank) counts.push_back(rank == 1 ? 0 : (rank + 2) * scale);
    const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    const std::int64_t own = counts[static_cast<std::size_t>(world()->rank())];
    const std::int64_t first = std::accumulate(counts.begin(), counts.begin() + world()->rank(), std::int64_t{0});
    const Tensor target = empty({own}, DType::f32);
    world()->reduce_scatter(tensor_of<float>(world()->rank(), total), target, counts);
    const auto sum = combined<float>(total, [](float a, float b) { return a + b; });
    EXPECT_EQ(to_host<float>(target), std::vector<float>(sum.begin() + first, sum.begin() + first + own));
  }
}

TEST(Communicator, AllGatherConcatenatesInRankOrder) {
  std::vector<std::int64_t> counts;
  std::vector<double> expected;
  for (int rank = 0; rank < world()->size(); ++rank) {
    counts.push_back(rank == 0 ? 3 : 2 * (rank - 1));
    const auto part = numbers_of<double>(rank, counts.back());
    expected.insert(expected.end(), part.begin(), part.end());
  }
  const Tensor target = empty({static_cast<std::int64_t>(expected.size())}, DType::f64);
  world()->all_gather(tensor_of<double>(world()->rank(), counts[static_cast<std::size_t>(world()->rank())]), target, counts);
  EXPECT_EQ(to_host<double>(target), expected);
}

TEST(Communicator, AllToAllGivesEveryRankItsPart) {
  const int ranks = world()->size(), here = world()->rank();
  const auto count = [](int from, int to) { return std::int64_t{(from + 2 * to) % 3}; };
  std::vector<std::int64_t> send_counts, receive_counts, sent, expected;
  for (int peer = 0; peer < ranks; ++peer) {
    send_counts.push_back(count(here, peer));
    receive_counts.push_back(count(peer, here));
    for (std::int64_t i = 0; i < count(here, peer); ++i) sent.push_back(100 * here + 10 * peer + i);
    for (std::int64_t i = 0; i < count(peer, here); ++i) expected.push_back(100 * peer + 10 * here + i);
  }
  const Tensor target = empty({static_cast<std::int64_t>(expected.size())}, DType::i64);
  world()->all_to_all(from_values<std::int64_t>({static_cast<std::int64_t>(sent.size())}, sent), send_counts, target, receive_counts);
  EXPECT_EQ(to_host<std::int64_t>(target), expected);
}

TEST(Communicator, SendReceiveRunsAroundARing) {
  const int ranks = world()->size(), here = world()->rank();
  const Tensor target = zeros({4}, DType::f32);
  world()->send_receive(full({4}, here, DType::f32), (here + 1) % ranks, target, (here + ranks - 1) % ranks);
  EXPECT_EQ(to_host<float>(target), std::vector<float>(4, static_cast<float>((here + ranks - 1) % ranks)));
  world()->send_receive(target, -1, target, -1);
}

TEST(Communicator, BroadcastReachesEveryRank) {
  const Tensor x = tensor_of<double>(world()->rank(), 1000);
  world()->broadcast(x, world()->size() - 1);
  EXPECT_EQ(to_host<double>(x), numbers_of<double>(world()->size() - 1, 1000));
}

TEST(Communicator, SplitMakesGroupsThatDoNotMix) {
  const int here = world()->rank();
  const auto group = world()->split(here % 2, -here);
  const int members = (world()->size() + (here % 2 == 0 ? 1 : 0)) / 2;
  EXPECT_EQ(group->size(), members);
  EXPECT_EQ(group->rank(), members - 1 - here / 2);
  const Tensor x = full({1}, here, DType::f64);
  group->duplicate()->all_reduce(x, ReduceOp::max);
  EXPECT_EQ(to_number(x), here % 2 + 2 * (members - 1));
}

TEST(Communicator, RefusesTensorsThatDoNotFit) {
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(world()->size()), 2);
  const Tensor small = zeros({1}, DType::f32);
  EXPECT_THROW(world()->all_to_all(small, counts, small, counts), ShapeError);
  EXPECT_THROW(world()->reduce_scatter(small, small, counts), ShapeError);
  EXPECT_THROW(world()->all_reduce(view::permute(zeros({2, 3}, DType::f32), {1, 0}), ReduceOp::sum), ShapeError);
}

TEST(Communicator, CountsTheBytesOfARing) {
  const std::int64_t before = world()->bytes_sent();
  world()->all_reduce(zeros({1200}, DType::f64), ReduceOp::sum);
  const std::int64_t n = world()->size();
  EXPECT_EQ(world()->bytes_sent() - before, 2 * (n - 1) * 9600 / n);
}

}  // namespace
}  // namespace trident
