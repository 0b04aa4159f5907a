/// The adjoint property of the linear exchanges that models put together: tokens on the tensor axis, margins and paddings of fields, modes,
/// windows of patches.
#include <gtest/gtest.h>

#include <set>

#include "models/layers/field_place.h"
#include "models/layers/spectral_exchange.h"
#include "models/layers/token_stream.h"
#include "models/mg_tfno/patch_exchange.h"
#include "runtime/error.h"
#include "runtime/ops/windows.h"
#include "tests/support/adjoint.h"

namespace trident {
namespace {

using testing::expect_adjoint;
using testing::world;
using Extents = std::vector<std::int64_t>;

/// Every way to arrange this job's ranks as domain_y x domain_x.
std::vector<Mesh> domain_meshes() {
  std::vector<Mesh> meshes;
  for (int y = 1; y <= world()->size(); ++y) {
    if (world()->size() % y == 0) meshes.push_back(Mesh(world(), {1, y, world()->size() / y, 1}));
  }
  return meshes;
}

/// This rank's part of fields (batch, channel, space...).
Shape shape_of(const FieldPlace& place, std::int64_t batch, std::int64_t channels) {
  Shape shape{batch, channels};
  for (std::size_t dim = 0; dim < place.extents().size(); ++dim) shape.push_back(place.own(dim).size());
  return shape;
}

TEST(TokenStreamAdjoint, OfSumsAndOfSharingTokensOut) {
  const Mesh mesh(world(), {1, 1, 1, world()->size()});
  for (const TokensBetween between : {TokensBetween::alike, TokensBetween::shared}) {
    const Shape tokens{3, 2, 5, 4};  // 30 tokens: uneven on 4 ranks
    const TokenStream stream(mesh, between, tokens);
    expect_adjoint([&](const Tensor& x) { return stream.sum(x); }, tokens);
    expect_adjoint([&](const Tensor& x) { return stream.kept(x); }, tokens);
    const Shape kept = stream.kept(zeros(tokens, DType::f64)).shape();
    expect_adjoint([&](const Tensor& x) { return stream.whole(x); }, kept);
  }
}

TEST(FieldPlaceAdjoint, OfMarginsAndPaddings) {
  for (const Mesh& mesh : domain_meshes()) {
    for (const Extents& extents : {Extents{13}, {7, 11}, {3, 9, 6}}) {
      if (extents.size() == 1 && mesh.size(Axis::domain_y) > 1) continue;
      SCOPED_TRACE(concat(to_string(mesh), ", ", extents.size(), " dimensions"));
      const FieldPlace place(Domain(mesh), extents);
      const Shape own = shape_of(place, 2, 3);
      expect_adjoint([&](const Tensor& x) { return place.with_margin(x, 1, 2); }, own);
      const Extents before(extents.size(), 2), after(extents.size(), 3);
      expect_adjoint([&](const Tensor& x) { return place.padded(x, before, after); }, own);
      Extents wide = extents;
      for (std::int64_t& extent : wide) extent += 5;
      expect_adjoint([&](const Tensor& x) { return place.unpadded(x, before, after); }, shape_of(place.of(wide), 2, 3));
    }
  }
}

/// Both ways: a tall field sends less by pencils, one with few modes by partial sums.
TEST(SpectralExchangeAdjoint, OfModesAndOfFields) {
  for (const Mesh& mesh : domain_meshes()) {
    const Domain domain(mesh);
    std::set<SpectralWay> ways;
    for (const auto& [rows, columns, kept_rows, kept_columns] :
         {std::array<std::int64_t, 4>{24, 8, 24, 5}, {11, 13, 6, 4}, {64, 12, 4, 3}}) {
      for (const FieldNumbers numbers : {FieldNumbers::real, FieldNumbers::complex}) {
        SCOPED_TRACE(concat(to_string(mesh), ", ", rows, "x", columns, numbers == FieldNumbers::real ? " reals" : " complex numbers"));
        SpectralExchange exchange{.domain = domain,
                                  .axes = {{rows, 0, rows, -(kept_rows / 2), kept_rows}, {columns, 0, columns, 0, kept_columns}},
                                  .shares = {},
                                  .numbers = numbers};
        for (int rank = 0; rank < domain.ranks(); ++rank) exchange.shares.push_back(part_of(kept_columns, domain.ranks(), rank));
        ways.insert(exchange.way(2 * 3));
        const Shape field = shape_of(FieldPlace(domain, {rows, columns}), 2, 3);
        const Shape modes{2, 3, kept_rows, exchange.shares[static_cast<std::size_t>(domain.rank())].size()};
        expect_adjoint([&](const Tensor& x) { return exchange.to_modes(x, 0.5, ModeOrder::last); }, field,
                       numbers == FieldNumbers::real ? DType::f64 : DType::c128);
        expect_adjoint([&](const Tensor& x) { return exchange.to_field(x, DType::f64); }, modes, DType::c128);
      }
    }
    EXPECT_TRUE(domain.ranks() == 1 || ways.size() == 2) << to_string(mesh);
  }
}

TEST(PatchExchangeAdjoint, OfWindowsOfPatchesOfOtherRanks) {
  for (const MeshSizes& sizes : {MeshSizes{world()->size(), 1, 1, 1}, {1, world()->size(), 1, 1}}) {
    const Mesh mesh(world(), sizes);
    for (const BeyondEdge mode : {BeyondEdge::periodic, BeyondEdge::zeros, BeyondEdge::edge}) {
      for (const int levels : {1, 2}) {
        const PatchGrid grid({.levels = levels, .padding_fraction = {0.125, 0.125}, .padding_mode = mode}, 32, 48);
        const std::int64_t samples = 3;
        const PatchUnits own{.units = part_of(samples * grid.patches(), world()->size(), world()->rank()), .samples = samples};
        expect_adjoint([&](const Tensor& x) { return exchanged_windows(x, grid, own, mesh); },
                       {own.units.size(), 2, grid.rows, grid.columns});
      }
    }
  }
}

}  // namespace
}  // namespace trident
