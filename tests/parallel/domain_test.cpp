#include "parallel/domain.h"

#include <gtest/gtest.h>

#include "runtime/error.h"

namespace trident {
namespace {

Domain domain_of(int ranks_y, int ranks_x, int rank) {
  return Domain(Mesh::described({1, ranks_y, ranks_x, 1}, {0, rank / ranks_x, rank % ranks_x, 0}));
}

std::vector<WindowedGrid> poseidon(std::int64_t tokens) {
  std::vector<WindowedGrid> grids;
  for (int level = 0; level < 4; ++level, tokens /= 2) {
    grids.push_back(
        {.rows = tokens, .columns = tokens, .window = std::min<std::int64_t>(16, tokens), .shift = tokens > 16 ? 8 : 0, .halo = 3});
  }
  return grids;
}

TEST(WindowPyramid, OwnsEverySiteOfEveryLevelOnce) {
  for (const auto& [ranks_y, ranks_x] : {std::pair{1, 1}, {2, 2}, {3, 1}, {5, 2}, {2, 4}}) {
    for (const std::int64_t samples : {0, 1, 3, 8}) {
      const WindowPyramid pyramid(domain_of(ranks_y, ranks_x, 0), {{13, 13, 2, 1, 3}, {7, 7, 2, 1, 3}, {4, 4, 2, 1, 3}});
      for (const WindowLevel& level : *pyramid.levels(samples)) {
        std::int64_t sites = 0;
        for (const GridBox& box : level.owned) {
          sites += box.sites();
          EXPECT_TRUE(box.sites() == 0 || box.rows.first % level.grid.window == 0) << "not whole windows";
        }
        EXPECT_EQ(sites, samples * level.grid.rows * level.grid.columns);
      }
    }
  }
}

TEST(WindowPyramid, SplitsSamplesWhereWindowsAreScarcerThanRanks) {
  // Poseidon-T at 128 x 128 on 2 x 2 ranks: levels 1 to 3 have one window each, and 8 samples to share.
  const auto levels = WindowPyramid(domain_of(2, 2, 3), poseidon(32)).levels(8);
  EXPECT_EQ((*levels)[0].own, (GridBox{{0, 8}, {16, 32}, {16, 32}}));
  EXPECT_EQ((*levels)[1].own, (GridBox{{6, 8}, {0, 16}, {0, 16}}));
  EXPECT_FALSE((*levels)[1].split_rows);
  EXPECT_EQ((*levels)[1].padding, 3) << "padding is left to the convolution where no axis is split";
  EXPECT_EQ((*levels)[0].padding, 0);
}

TEST(WindowPyramid, LeavesRanksWithoutWindowsWhereOneSampleCannotBeSplit) {
  // 1024 x 1024 on 4 x 2: level 3 has 2 x 2 windows, which 4 of 8 ranks own.
  const auto levels = WindowPyramid(domain_of(4, 2, 0), poseidon(256)).levels(1);
  int owners = 0;
  for (const GridBox& box : (*levels)[3].owned) owners += box.sites() > 0 ? 1 : 0;
  EXPECT_EQ(owners, 4);
}

TEST(WindowPyramid, MovesAsManyTokensAsTheClosedForms) {
  // An interior rank of 4 x 4 with whole windows: s (h + w) - s^2 for windows, 2 r (h + w) + 4 r^2 for halos.
  const auto levels = WindowPyramid(domain_of(4, 4, 5), poseidon(256)).levels(1);
  const WindowLevel& level = (*levels)[0];
  std::int64_t received = 0;
  for (const WindowPart& part : level.shifted) received += part.arriving.sites_received();
  EXPECT_EQ(received, 8 * (64 + 64) - 64);
  EXPECT_EQ(level.halo.sites_received(), 2 * 3 * (64 + 64) + 4 * 9);
  EXPECT_TRUE(level.shifted.front().arriving.is_local()) << "the inner windows need no other rank";
  EXPECT_EQ(level.shifted.front().arriving.target(), (Shape{1, 48, 48}));
  EXPECT_TRUE(level.pairs.is_identity());
  EXPECT_TRUE((*levels)[1].descend.is_identity());
}

TEST(WindowPyramid, SharesItsPlansBetweenCopiesAndCalls) {
  const WindowPyramid pyramid(domain_of(2, 1, 1), poseidon(32));
  const WindowPyramid copy = pyramid;
  EXPECT_EQ(pyramid.levels(4), copy.levels(4));
  EXPECT_NE(pyramid.levels(4), pyramid.levels(3));
}

TEST(WindowPyramid, RefusesMoreRanksThanWindows) {
  EXPECT_THROW(WindowPyramid(domain_of(3, 1, 0), poseidon(32)), ConfigError);
  EXPECT_THROW(WindowPyramid(domain_of(1, 3, 0), poseidon(32)), ConfigError);
}

}  // namespace
}  // namespace trident
