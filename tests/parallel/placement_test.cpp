#include "parallel/placement.h"

#include <gtest/gtest.h>

#include "tests/support/test_world.h"

namespace trident {
namespace {

TEST(Placement, RanksThatTheLauncherDealtOutInTurnStandSideBySide) {
  EXPECT_EQ(places_by_host({7, 9, 7, 9, 7}), (std::vector{0, 3, 1, 4, 2}));
}

TEST(Placement, RanksOfAHostThatStandSideBySideStay) { EXPECT_EQ(places_by_host({2, 2, 0, 0, 5}), (std::vector{0, 1, 2, 3, 4})); }

TEST(Placement, OnOneHostTheJobKeepsItsOrder) { EXPECT_EQ(ranks_by_host(testing::session()), testing::world()); }

}  // namespace
}  // namespace trident
