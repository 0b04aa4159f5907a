#include "parallel/field_sharing.h"

#include <gtest/gtest.h>

#include <numeric>

#include "runtime/tensor/create.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

Tensor counted(const Shape& shape) {
  std::vector<double> values(static_cast<std::size_t>(numel(shape)));
  std::iota(values.begin(), values.end(), 0.0);
  return from_values<double>(shape, values);
}

/// Scatters numbered fields, checks this rank's first number, and gathers them again.
void expect_round_trip(const Mesh& mesh, std::int64_t samples, std::int64_t ny, std::int64_t nx) {
  const Rectangle mine{.rows = part_of(ny, mesh.size(Axis::domain_y), mesh.coordinate(Axis::domain_y)),
                       .columns = part_of(nx, mesh.size(Axis::domain_x), mesh.coordinate(Axis::domain_x))};
  const Range own = part_of(samples, mesh.size(Axis::data), mesh.coordinate(Axis::data));
  const FieldSharing sharing(mesh, {{.samples = own, .rectangle = mine}}, samples, ny, nx, 2);
  const bool first = mesh.world().rank() == 0;
  const Tensor whole = first ? counted({samples, 3, ny, nx}) : Tensor{};
  const Tensor part = sharing.scatter(whole, {3}, DType::f64, agree_with_nobody());
  ASSERT_EQ(part.shape(), (Shape{own.size(), 3, mine.rows.size(), mine.columns.size()}));
  if (part.numel() > 0) {
    EXPECT_EQ(part.data<double>()[0], static_cast<double>((own.first * 3 * ny + mine.rows.first) * nx + mine.columns.first));
  }
  const Tensor again = sharing.gather(part, agree_with_nobody());
  ASSERT_EQ(again.defined(), first);
  if (first) {
    EXPECT_EQ(to_host<double>(again), to_host<double>(whole));
  }
}

TEST(FieldSharing, FieldsComeBackAsTheyWereOnEveryMesh) {
  const int ranks = testing::world()->size();
  expect_round_trip(Mesh(testing::world(), {ranks, 1, 1, 1}), 3, 4, 5);  // more ranks than samples on four
  expect_round_trip(Mesh(testing::world(), {1, ranks, 1, 1}), 2, 7, 5);
  expect_round_trip(Mesh(testing::world(), {1, 1, ranks, 1}), 1, 4, 9);
  expect_round_trip(Mesh(testing::world(), {1, 1, 1, ranks}), 2, 4, 4);
  if (ranks == 4) expect_round_trip(Mesh(testing::world(), {1, 2, 1, 2}), 2, 5, 6);
}

TEST(FieldSharing, PiecesLieBehindEachOther) {
  const int ranks = testing::world()->size(), rank = testing::world()->rank();
  const Mesh mesh(testing::world(), {ranks, 1, 1, 1});
  FieldPieces pieces;  // columns of two points, dealt out in turn
  for (int piece = rank; piece < 6; piece += ranks) {
    const std::int64_t column = piece % 3 * 2;
    pieces.push_back({.samples = {piece / 3, piece / 3 + 1}, .rectangle = {.rows = {0, 2}, .columns = {column, column + 2}}});
  }
  const FieldSharing sharing(mesh, pieces, 2, 2, 6, 2);
  const Tensor whole = rank == 0 ? counted({2, 1, 2, 6}) : Tensor{};
  const Tensor part = sharing.scatter(whole, {1}, DType::f64, agree_with_nobody());
  ASSERT_EQ(part.shape(), (Shape{rows_of(pieces), 1, 2, 2}));
  const auto corner = static_cast<double>(pieces.back().samples.first * 12 + pieces.back().rectangle.columns.first);
  const double* const found = part.data<double>() + part.numel() - 4;
  EXPECT_EQ(std::vector(found, found + 4), (std::vector{corner, corner + 1, corner + 6, corner + 7}));
  const Tensor again = sharing.gather(part, agree_with_nobody());
  if (again.defined()) {
    EXPECT_EQ(to_host<double>(again), to_host<double>(whole));
  }
}

TEST(FieldSharing, LinesHaveNoRows) {
  const Mesh mesh(testing::world(), {1, 1, testing::world()->size(), 1});
  const Rectangle mine{.rows = {0, 1}, .columns = part_of(9, mesh.size(Axis::domain_x), mesh.coordinate(Axis::domain_x))};
  const FieldSharing sharing(mesh, {{.samples = {0, 2}, .rectangle = mine}}, 2, 1, 9, 1);
  const Tensor whole = mesh.world().rank() == 0 ? counted({2, 3, 9}) : Tensor{};
  const Tensor part = sharing.scatter(whole, {3}, DType::f64, agree_with_nobody());
  EXPECT_EQ(part.shape(), (Shape{2, 3, mine.columns.size()}));
  const Tensor again = sharing.gather(part, agree_with_nobody());
  if (again.defined()) {
    EXPECT_EQ(to_host<double>(again), to_host<double>(whole));
  }
}

}  // namespace
}  // namespace trident
