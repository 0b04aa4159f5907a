/// Plans and exchanges: every rank gets what it wants, the adjoint is exact, and as many bytes travel as the closed formula says.
#include "parallel/exchange.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "parallel/domain.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/create.h"
#include "tests/support/adjoint.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::random_tensor;
using testing::world;

constexpr AxisSet kDomain = Axis::domain_y | Axis::domain_x;

/// Every way to arrange this job's ranks as domain_y x domain_x.
std::vector<Mesh> meshes() {
  std::vector<Mesh> result;
  for (int y = 1; y <= world()->size(); ++y) {
    if (world()->size() % y == 0) result.push_back(Mesh(world(), {1, y, world()->size() / y, 1}));
  }
  return result;
}

/// A pyramid as scOT makes it: `tokens` per side at the top.
struct Grids {
  std::int64_t tokens, window;
  int levels;
};

std::vector<WindowedGrid> grids_of(const Grids& pyramid) {
  std::vector<WindowedGrid> grids;
  std::int64_t tokens = pyramid.tokens;
  for (int level = 0; level < pyramid.levels; ++level, tokens = (tokens + 1) / 2) {
    const std::int64_t halved = pyramid.tokens >> level;
    grids.push_back({.rows = tokens,
                     .columns = tokens,
                     .window = std::min(pyramid.window, halved),
                     .shift = halved > pyramid.window ? pyramid.window / 2 : 0,
                     .halo = 3});
  }
  return grids;
}

constexpr Grids kPyramids[] = {{8, 2, 3}, {13, 4, 3}, {16, 4, 3}, {10, 2, 3}, {24, 3, 4}, {11, 3, 2}};

/// One plan of one rank: what it owns, and the (sample, row, column) that it should get at each place; anything outside of the grid is 0.
struct Case {
  std::string name;
  ExchangePlan plan;
  GridBox own;
  std::int64_t rows, columns;  // of the grid
  std::function<std::array<std::int64_t, 3>(std::int64_t, std::int64_t, std::int64_t)> index;
};

double number_at(const Case& test, std::int64_t sample, std::int64_t row, std::int64_t column) {
  if (row < 0 || column < 0 || row >= test.rows || column >= test.columns) return 0.0;
  return 1.0 + static_cast<double>((sample * 100 + row) * 100 + column);
}

Tensor numbers_of(const Case& test, const Shape& extents, const auto& index) {
  const Tensor x = empty({extents[0], extents[1], extents[2], 2}, DType::f64);
  double* to = x.data<double>();
  for (std::int64_t s = 0; s < extents[0]; ++s) {
    for (std::int64_t r = 0; r < extents[1]; ++r) {
      for (std::int64_t c = 0; c < extents[2]; ++c) {
        const auto [sample, row, column] = index(s, r, c);
        const double number = number_at(test, sample, row, column);
        *to++ = number, *to++ = -number;
      }
    }
  }
  return x;
}

std::array<std::int64_t, 3> at(const GridBox& box, std::int64_t s, std::int64_t r, std::int64_t c) {
  return {box.samples.first + s, box.rows.first + r, box.columns.first + c};
}

/// All plans of a level.
std::vector<Case> cases_of(const WindowLevel& level, const WindowLevel* below, const WindowedGrid& grid) {
  const GridBox own = level.own;
  std::vector<Case> cases;
  const auto windows = [&](const WindowPart& part, std::int64_t shift, const std::string& name) {
    const std::int64_t padded_rows = grid.windows_y() * grid.window, padded_columns = grid.windows_x() * grid.window;
    cases.push_back({name, part.arriving, own, grid.rows, grid.columns, [=](auto s, auto r, auto c) {
                       return std::array{own.samples.first + s, (part.first_row + r + shift) % padded_rows,
                                         (part.first_column + c + shift) % padded_columns};
                     }});
  };
  for (const WindowPart& part : level.plain) windows(part, 0, "plain windows");
  for (const WindowPart& part : level.shifted) windows(part, grid.shift - level.roll, "shifted windows");
  const std::int64_t width = grid.halo - level.padding;
  cases.push_back(
      {"halo", level.halo, own, grid.rows, grid.columns, [=](auto s, auto r, auto c) { return at(own, s, r - width, c - width); }});
  if (below != nullptr) {
    const GridBox merged = below->merged;
    cases.push_back({"pairs", level.pairs, own, grid.rows, grid.columns, [=](auto s, auto r, auto c) {
                       return std::array{merged.samples.first + s, 2 * merged.rows.first + r, 2 * merged.columns.first + c};
                     }});
  }
  cases.push_back(
      {"descend", level.descend, level.merged, grid.rows, grid.columns, [=](auto s, auto r, auto c) { return at(own, s, r, c); }});
  return cases;
}

void expect_values(const Mesh& mesh, const Case& test) {
  const Tensor x = numbers_of(test, test.plan.source(), [&](auto s, auto r, auto c) { return at(test.own, s, r, c); });
  const Tensor expected = numbers_of(test, test.plan.target(), test.index);
  EXPECT_TENSOR_NEAR(exchange(mesh, test.plan, x), expected, 0.0) << test.name;
}

/// Also that the closed formula counts what travels.
void expect_adjoint(const Mesh& mesh, const ExchangePlan& plan, const std::string& name) {
  SCOPED_TRACE(name);
  const Shape& extents = plan.source();
  const Shape shape{extents[0], extents[1], extents[2], 3};
  const std::int64_t width_bytes = 3 * static_cast<std::int64_t>(sizeof(double));
  const Communicator& comm = mesh.comm(kDomain);
  const std::int64_t before = comm.bytes_sent();
  std::int64_t between = before;
  const auto in_one_call = [&](const Tensor& x) {
    const Tensor y = exchange(mesh, plan, x);
    between = comm.bytes_sent();
    return y;
  };
  testing::expect_adjoint(in_one_call, shape);
  EXPECT_EQ(between - before, plan.sites_sent() * width_bytes);
  EXPECT_EQ(comm.bytes_sent() - between, plan.sites_received() * width_bytes);
}

void expect_overlapped_adjoint(const Mesh& mesh, const ExchangePlan& plan) {
  const Shape& extents = plan.source();
  testing::expect_adjoint([&](const Tensor& x) { return Exchange(mesh, plan, x).finish(); }, {extents[0], extents[1], extents[2], 3});
}

TEST(Exchange, OfEveryPlanOfAPyramidBringsWhatIsWantedAndBackwardItsAdjoint) {
  for (const Mesh& mesh : meshes()) {
    const Domain domain(mesh);
    for (const Grids& pyramid : kPyramids) {
      const std::vector<WindowedGrid> grids = grids_of(pyramid);
      if (domain.ranks_y() > grids[0].windows_y() || domain.ranks_x() > grids[0].windows_x()) continue;
      const WindowPyramid windows(domain, grids);
      for (const std::int64_t samples : {0, 1, 3, 5}) {
        const auto levels = windows.levels(samples);
        for (std::size_t i = 0; i < levels->size(); ++i) {
          SCOPED_TRACE(concat(pyramid.tokens, " tokens, window ", pyramid.window, ", level ", i, ", ", samples, " samples on ",
                              domain.ranks_y(), " x ", domain.ranks_x(), " ranks"));
          for (const Case& test : cases_of((*levels)[i], i + 1 < levels->size() ? &(*levels)[i + 1] : nullptr, grids[i])) {
            expect_values(mesh, test);
            expect_adjoint(mesh, test.plan, test.name);
            expect_adjoint(mesh, test.plan.transposed(), test.name + " transposed");
            if (samples != 3 || test.plan.is_local()) continue;
            expect_overlapped_adjoint(mesh, test.plan);
            expect_overlapped_adjoint(mesh, test.plan.transposed());
          }
        }
      }
    }
  }
}

TEST(Exchange, OfPixelsAndPlanesTakesFieldsApartAndTogether) {
  for (const Mesh& mesh : meshes()) {
    const Domain domain(mesh);
    for (const std::int64_t planes : {1, 3, 8}) {
      const std::vector<GridBox> rectangles = domain.rectangles(planes, 9, 13);
      expect_adjoint(mesh, domain.plan(rectangles, with_halo(rectangles, 2)), "pixels");
      const ExchangePlan apart = domain.plan(rectangles, domain.planes(planes, 9, 13));
      expect_adjoint(mesh, apart, "planes");
      const Tensor x = random_tensor({planes, rectangles[static_cast<std::size_t>(domain.rank())].rows.size(),
                                      rectangles[static_cast<std::size_t>(domain.rank())].columns.size(), 1},
                                     static_cast<std::uint64_t>(domain.rank()));
      EXPECT_TENSOR_NEAR(exchange(mesh, apart.transposed(), exchange(mesh, apart, x)), x, 0.0);
    }
  }
}

/// The sites of a product of lists, one by one.
std::multiset<std::array<std::int64_t, 3>> listed(const Sites& sites) {
  std::multiset<std::array<std::int64_t, 3>> result;
  const auto each = [](const Indices& list, auto&& visit) {
    for (const Range& run : list) {
      for (std::int64_t i = run.first; i < run.last; ++i) visit(i);
    }
  };
  each(sites.samples, [&](auto s) { each(sites.rows, [&](auto r) { each(sites.columns, [&](auto c) { result.insert({s, r, c}); }); }); });
  return result;
}

TEST(ExchangePlan, CountsTheSitesOfTheClosedFormula) {
  // Rows in parts of 3, 0, 4 and 2; wanted in any order, overlapping, twice, and outside of the grid.
  const std::vector<GridBox> owned{{{0, 2}, {0, 3}, {0, 5}}, {{0, 0}, {3, 3}, {0, 5}}, {{0, 2}, {3, 7}, {0, 5}}, {{0, 2}, {7, 9}, {0, 5}}};
  const std::vector<Sites> wanted{{{{0, 2}}, {{5, 9}, {0, 1}}, {{4, 7}}},
                                  {{{1, 2}}, {{0, 9}}, {{-2, 5}}},
                                  {{{0, 2}}, {{2, 4}, {3, 6}}, {{1, 2}}},
                                  {{{0, 0}}, {{0, 9}}, {{0, 5}}}};
  const auto common = [&](std::size_t p, std::size_t q) {
    const auto have = listed(sites_of(owned[p])), want = listed(wanted[q]);
    return std::count_if(want.begin(), want.end(), [&](const auto& site) { return have.contains(site); });
  };
  for (std::size_t rank = 0; rank < 4; ++rank) {
    const ExchangePlan plan(owned, wanted, static_cast<int>(rank));
    std::int64_t sent = 0, received = 0;
    for (std::size_t other = 0; other < 4; ++other) {
      if (other == rank) continue;
      sent += common(rank, other);
      received += common(other, rank);
    }
    EXPECT_EQ(plan.sites_sent(), sent);
    EXPECT_EQ(plan.sites_received(), received);
    EXPECT_EQ(plan.transposed().sites_sent(), received);
    EXPECT_FALSE(plan.is_local());
    EXPECT_FALSE(plan.is_identity());
  }
}

TEST(ExchangePlan, OfEqualLayoutsIsTheIdentityThatReturnsItsInput) {
  const Mesh mesh = meshes().back();
  const Domain domain(mesh);
  const std::vector<GridBox> boxes = domain.rectangles(2, 7, 6);
  const ExchangePlan plan = domain.plan(boxes, boxes);
  EXPECT_TRUE(plan.is_identity());
  EXPECT_TRUE(plan.is_local());
  const GridBox& own = boxes[static_cast<std::size_t>(domain.rank())];
  const Tensor x = random_tensor({own.samples.size(), own.rows.size(), own.columns.size(), 1}, 1);
  EXPECT_EQ(exchange(mesh, plan, x).bytes(), x.bytes());
}

TEST(Exchange, RefusesATensorOfAnotherShape) {
  const Mesh mesh = meshes().front();
  const Domain domain(mesh);
  const std::vector<GridBox> boxes = domain.rectangles(1, 8, 8);
  EXPECT_THROW(exchange(mesh, domain.plan(boxes, boxes), zeros({2, 8, 8, 1}, DType::f64)), ShapeError);
}

TEST(Exchange, OverlapsWithWhatLiesBetweenStartAndFinish) {
  const Mesh mesh = meshes().back();
  const Domain domain(mesh);
  const std::vector<GridBox> boxes = domain.rectangles(2, 8, 8);
  const ExchangePlan plan = domain.plan(boxes, with_halo(boxes, 1));
  const Shape& extents = plan.source();
  const Tensor x = leaf(random_tensor({extents[0], extents[1], extents[2], 2}, 1));
  Exchange first(mesh, plan, x);
  const Tensor doubled = affine(x, 2.0);
  Exchange second(mesh, plan, doubled);
  const Tensor both = std::move(first).finish() + std::move(second).finish();
  EXPECT_TENSOR_NEAR(both, affine(exchange(mesh, plan, x.detached()), 3.0), 1e-15);
  const Tensor dy = random_tensor(both.shape(), 2);
  EXPECT_TENSOR_NEAR(gradients(both, dy, {x})[0], affine(exchange(mesh, plan.transposed(), dy), 3.0), 1e-15);
}

}  // namespace
}  // namespace trident
