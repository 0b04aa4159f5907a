#include "models/mg_tfno/multigrid_patches.h"

#include <gtest/gtest.h>

#include "runtime/error.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/create.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::gradcheck;
using testing::random_tensor;
using Inputs = std::vector<Tensor>;

double at(const std::vector<double>& values, const Shape& shape, std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  return values[static_cast<std::size_t>(((a * shape[1] + b) * shape[2] + c) * shape[3] + d)];
}

TEST(MultigridPatches, AreStridedWrappedWindowsAroundThePatch) {
  const Tensor x = random_tensor({2, 2, 32, 64}, 1);
  const PatchGrid grid({.levels = 2, .padding_fraction = {0.0625, 0.125}}, 32, 64);
  const Tensor patches = multigrid_patches(x, grid);
  ASSERT_EQ(patches.shape(), (Shape{32, 6, 8 + 4, 16 + 16}));
  const auto fields = to_host<double>(x), windows = to_host<double>(patches);
  for (const std::int64_t unit : {0, 5, 15, 16, 30}) {
    const std::int64_t i = unit % 16 / 4, j = unit % 4;
    for (const std::int64_t a : {0, 3, 11}) {
      for (const std::int64_t e : {0, 7, 31}) {
        // Patches of 8 x 16 points; level 1 has a step of 4 x 8 and starts 2 x 4 before it, level 2 a step of 2 x 4 and 3 x 6 before.
        EXPECT_EQ(at(windows, patches.shape(), unit, 1, a, e),
                  at(fields, x.shape(), unit / 16, 1, (i * 8 + a - 2 + 32) % 32, (j * 16 + e - 8 + 64) % 64));
        EXPECT_EQ(at(windows, patches.shape(), unit, 2, a, e),
                  at(fields, x.shape(), unit / 16, 0, 2 * ((i * 4 + a - 2 - 2 + 16) % 16), 2 * ((j * 8 + e - 4 - 8 + 32) % 32)));
        EXPECT_EQ(at(windows, patches.shape(), unit, 5, a, e),
                  at(fields, x.shape(), unit / 16, 1, 4 * ((i * 2 + a - 3 - 2 + 8) % 8), 4 * ((j * 4 + e - 6 - 8 + 32) % 16)));
      }
    }
  }
}

TEST(MultigridPatches, PadWithZerosOrTheLastPointWhereAsked) {
  const Tensor x = random_tensor({1, 1, 16, 16}, 2);
  const auto fields = to_host<double>(x);
  for (const BeyondEdge mode : {BeyondEdge::zeros, BeyondEdge::edge}) {
    const PatchGrid grid({.levels = 1, .padding_fraction = {0.125, 0.125}, .padding_mode = mode}, 16, 16);
    const Tensor patches = multigrid_patches(x, grid);
    const auto windows = to_host<double>(patches);
    const double corner = mode == BeyondEdge::zeros ? 0.0 : fields[0];
    EXPECT_EQ(at(windows, patches.shape(), 0, 0, 0, 0), corner);
    EXPECT_EQ(at(windows, patches.shape(), 0, 1, 3, 3), corner);              // level 1 starts 2 + 2 coarse points before the field
    EXPECT_EQ(at(windows, patches.shape(), 0, 1, 5, 6), fields[2 * 16 + 4]);  // 2 (5 - 4), 2 (6 - 4)
    EXPECT_EQ(at(windows, patches.shape(), 3, 0, 0, 0), fields[6 * 16 + 6]);
  }
}

TEST(MultigridPatches, StitchingUndoesCutting) {
  for (const int levels : {1, 2, 3}) {
    const std::int64_t ny = 2LL << (2 * levels), nx = 2 * ny;
    const PatchGrid grid({.levels = levels, .padding_fraction = {0.1, 0.05}}, ny, nx);
    const Tensor x = random_tensor({2, 3, ny, nx}, 3);
    EXPECT_TENSOR_NEAR(stitched(cut_into_patches(x, grid.per_side), grid), x, 0.0);
    EXPECT_TENSOR_NEAR(stitched(without_padding(slice(multigrid_patches(x, grid), 1, 0, 3), grid), grid), x, 0.0);
  }
}

TEST(MultigridPatches, HaveTheRightGradient) {
  for (const BeyondEdge mode : {BeyondEdge::periodic, BeyondEdge::zeros, BeyondEdge::edge}) {
    const PatchGrid grid({.levels = 1, .padding_fraction = {0.125, 0.2}, .padding_mode = mode}, 8, 12);
    EXPECT_TRUE(gradcheck([&](const Inputs& v) { return multigrid_patches(v[0], grid); }, {random_tensor({2, 2, 8, 12}, 4)}));
  }
  const PatchGrid grid({.levels = 1}, 8, 8);
  EXPECT_TRUE(gradcheck([&](const Inputs& v) { return stitched(v[0], grid); }, {random_tensor({4, 2, 4, 4}, 5)}));
}

TEST(MultigridPatches, CoordinatesAreThoseOfThePointsInTheField) {
  const PatchGrid grid({.levels = 1}, 8, 16);
  const Tensor coordinates = window_coordinates(grid, *multigrid_windows(grid, {0, 4}), DType::f64);
  ASSERT_EQ(coordinates.shape(), (Shape{4, 4, 4, 8}));
  const auto values = to_host<double>(coordinates);
  EXPECT_EQ(at(values, coordinates.shape(), 3, 0, 1, 2), 5.0 / 8.0);        // level 0, row 4 + 1
  EXPECT_EQ(at(values, coordinates.shape(), 3, 1, 1, 2), 10.0 / 16.0);      // column 8 + 2
  EXPECT_EQ(at(values, coordinates.shape(), 0, 2, 0, 0), 2.0 * 3.0 / 8.0);  // level 1 wraps: row 2 (-1 mod 4)
}

TEST(MultigridPatches, RefuseSizesThatDoNotFitWithTheNearestThatDo) {
  const auto message = [](int levels, std::int64_t ny, double padding = 0.0) {
    return testing::message_of<ConfigError>([&] { PatchGrid({.levels = levels, .padding_fraction = {padding, 0.0}}, ny, 128); });
  };
  EXPECT_NE(message(1, 10).find("8 and 12"), std::string::npos);
  EXPECT_NE(message(2, 16).find("the nearest that work: 32"), std::string::npos);
  EXPECT_NE(message(2, 36).find("32 and 48"), std::string::npos);
  EXPECT_NE(message(3, 120).find("the nearest that work: 128"), std::string::npos);
  EXPECT_NE(message(4, 512).find("model.levels"), std::string::npos);
  EXPECT_NE(message(1, 16, 16.0).find("padding_fraction"), std::string::npos);
}

}  // namespace
}  // namespace trident
