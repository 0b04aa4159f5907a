#include "parallel/range.h"

#include <gtest/gtest.h>

namespace trident {
namespace {

TEST(PartOf, EarlierPartsGetMore) {
  EXPECT_EQ(part_sizes(7, 3), (std::vector<std::int64_t>{3, 2, 2}));
  EXPECT_EQ(part_of(7, 3, 1), (Range{3, 5}));
}

TEST(PartOf, PartsMayBeEmpty) { EXPECT_EQ(part_sizes(2, 4), (std::vector<std::int64_t>{1, 0, 1, 0})); }

TEST(PartOf, PartsCoverAllUnitsOnce) {
  for (const std::int64_t n : {0, 1, 5, 64, 1001}) {
    for (const std::int64_t parts : {1, 2, 3, 7, 100}) {
      std::int64_t next = 0;
      for (std::int64_t index = 0; index < parts; ++index) {
        const Range part = part_of(n, parts, index);
        EXPECT_EQ(part.first, next);
        EXPECT_EQ(part.first, (index * n + parts - 1) / parts);
        next = part.last;
      }
      EXPECT_EQ(next, n);
    }
  }
}

TEST(PartOf, DoesNotOverflowOnFlatBuffersOfManyRanks) {
  const std::int64_t n = std::int64_t{1} << 50;
  EXPECT_EQ(part_of(n, std::int64_t{1} << 20, (std::int64_t{1} << 20) - 1).last, n);
}

}  // namespace
}  // namespace trident
