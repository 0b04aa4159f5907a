#include "runtime/tensor/random.h"
#include "runtime/error.h"
#include "runtime/tensor/stream_key.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace trident {
namespace {

TEST(Random, RoundsGiveThePublishedNumbers) {
  // Known answers of Random123 1.09 for philox4x32-10.
  EXPECT_EQ(philox_rounds({0, 0, 0, 0}, {0, 0}), (RandomWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox_rounds({ones, ones, ones, ones}, {ones, ones}), (RandomWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox_rounds({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (RandomWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, KeyAndIndexFillTheirWords) {
  const RandomKey key(0x0123456789abcdef);
  EXPECT_EQ(philox(key, 0xfedcba9876543210), philox_rounds({0x76543210, 0xfedcba98, 0, 0}, {0x89abcdef, 0x01234567}));
}

TEST(Random, FoldsDiffer) {
  const RandomKey key(1);
  std::set<std::uint64_t> seen{key.bits()};
  for (std::uint64_t i = 0; i < 1000; ++i) seen.insert(key.fold(i).bits());
  seen.insert(key.fold("a").bits());
  seen.insert(key.fold("b").bits());
  seen.insert(key.fold("ab").bits());
  seen.insert(key.fold("a").fold("b").bits());
  EXPECT_EQ(seen.size(), 1005U);
  EXPECT_NE(key.fold(1).fold(2).bits(), key.fold(2).fold(1).bits());
  EXPECT_EQ(key.fold("site").bits(), RandomKey(1).fold("site").bits());
}

TEST(Random, UniformNumbersFillTheUnitInterval) {
  const int count = 100000;
  double total = 0, squares = 0;
  std::vector<int> bins(16, 0);
  for (int i = 0; i < count; ++i) {
    const double u = uniform(RandomKey(5), static_cast<std::uint64_t>(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    total += u;
    squares += u * u;
    ++bins[static_cast<std::size_t>(16 * u)];
  }
  EXPECT_NEAR(total / count, 0.5, 4 * 0.289 / std::sqrt(count));  // four standard deviations
  EXPECT_NEAR(squares / count, 1.0 / 3, 4 * 0.298 / std::sqrt(count));
  for (const int bin : bins) EXPECT_NEAR(bin, count / 16, 5 * std::sqrt(count / 16.0));
  EXPECT_EQ(unit_interval(0xffffffff, 0xffffffff), 1.0 - 0x1p-53);
  EXPECT_EQ(unit_interval(0, 0), 0.0);
}

TEST(Random, NormalNumbersHaveTheMomentsOfTheNormalDistribution) {
  const int count = 100000;
  double moments[4] = {};
  for (int i = 0; i < count; ++i) {
    const double x = normal(RandomKey(6), static_cast<std::uint64_t>(i));
    double power = 1;
    for (double& moment : moments) moment += power *= x;
  }
  const double root = std::sqrt(count);
  EXPECT_NEAR(moments[0] / count, 0, 4 / root);
  EXPECT_NEAR(moments[1] / count, 1, 4 * std::sqrt(2.0) / root);
  EXPECT_NEAR(moments[2] / count, 0, 4 * std::sqrt(15.0) / root);
  EXPECT_NEAR(moments[3] / count, 3, 4 * std::sqrt(96.0) / root);
}

TEST(Random, ManyNormalNumbersAreThoseOfOneAtATime) {
  const RandomKey key(8);
  for (const std::size_t count : {0, 1, 255, 256, 257, 300000}) {  // of the last, dozens lie too close to the middle of two f32 numbers
    const std::uint64_t first = (std::uint64_t{1} << 32) - 1000;   // both words of the index change
    std::vector<float> f32(count);
    std::vector<double> f64(count);
    normals(key, first, 0.02, f32);
    normals(key, first, 0.02, f64);
    for (std::size_t i = 0; i < count; ++i) {
      ASSERT_EQ(f64[i], 0.02 * normal(key, first + i)) << i;
      ASSERT_EQ(f32[i], static_cast<float>(f64[i])) << i;
    }
  }
}

TEST(Random, APermutationMeetsEveryElementOnce) {
  for (const std::uint64_t size : {1, 2, 3, 4, 5, 16, 17, 1000, 4096}) {
    const Permutation permutation(size, RandomKey(7));
    std::set<std::uint64_t> seen;
    for (std::uint64_t position = 0; position < size; ++position) {
      const std::uint64_t element = permutation(position);
      ASSERT_LT(element, size);
      seen.insert(element);
    }
    EXPECT_EQ(seen.size(), size);
  }
}

TEST(Random, PermutationsShuffleAndDependOnTheKey) {
  const Permutation a(1000, RandomKey(1)), b(1000, RandomKey(2));
  int in_place = 0, equal = 0, next_to_each_other = 0;
  for (std::uint64_t position = 0; position < 1000; ++position) {
    in_place += a(position) == position;
    equal += a(position) == b(position);
    next_to_each_other += position > 0 && a(position) == a(position - 1) + 1;
  }
  EXPECT_LT(in_place, 8);  // each is about Poisson of mean 1
  EXPECT_LT(equal, 8);
  EXPECT_LT(next_to_each_other, 8);
}

TEST(StreamKey, OfAPlaceInMemoryIsTheKeyThatLiesThereWhenItIsRead) {
  std::int64_t place = 0;
  const StreamKey later = StreamKey::at(&place).fold(3).fold("a site");
  for (const std::uint64_t step : {1, 2}) {
    const RandomKey known = RandomKey(5).fold(step);
    place = static_cast<std::int64_t>(known.bits());
    EXPECT_EQ(later.key().bits(), known.fold(3).fold("a site").bits());
    EXPECT_EQ(StreamKey(known).fold(3).fold("a site").key().bits(), later.key().bits());
  }
  EXPECT_THROW(static_cast<void>(later.fold(1).fold(2).fold(3)), Error);
}

}  // namespace
}  // namespace trident
