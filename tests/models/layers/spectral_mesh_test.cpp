/// The spectral convolution on every mesh that the ranks make, against one rank: output, gradients, and the numbers sent.
#include <gtest/gtest.h>

#include "models/layers/spectral_conv.h"
#include "models/layers/spectral_exchange.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::random_tensor;
using testing::world;
using Extents = std::vector<std::int64_t>;

constexpr double kTolerance = 1e-11;

struct Case {
  std::string name;
  SpectralConvConfig config;
  Extents extents, output;
};

std::vector<Case> cases() {
  const auto with = [](Factorization factorization, Extents modes) {
    return SpectralConvConfig{
        .in_channels = 3, .out_channels = 2, .n_modes = std::move(modes), .factorization = factorization, .rank = 0.5};
  };
  std::vector<Case> all{
      {"dense", with(Factorization::dense, {6, 6}), {11, 13}, {}},
      {"many modes", with(Factorization::dense, {16, 8}), {16, 10}, {}},
      {"tucker", with(Factorization::tucker, {5, 6}), {9, 12}, {}},
      {"cp", with(Factorization::cp, {5, 6}), {9, 12}, {}},
      {"tt", with(Factorization::tt, {5, 6}), {9, 12}, {}},
      {"another resolution", with(Factorization::dense, {6, 6}), {11, 13}, {16, 7}},
      {"one dimension", with(Factorization::dense, {8}), {19}, {}},
      {"three dimensions", with(Factorization::dense, {3, 4, 4}), {4, 7, 9}, {}},
      {"more ranks than modes", with(Factorization::dense, {4, 1}), {8, 9}, {}},
      {"weights cropped", with(Factorization::tucker, {12, 16}), {8, 9}, {}},
  };
  all.push_back({"separable", {.in_channels = 3, .out_channels = 3, .n_modes = {4, 6}, .separable = true}, {9, 8}, {}});
  all.push_back({"complex", {.in_channels = 2, .out_channels = 3, .n_modes = {4, 6}, .complex_data = true}, {9, 10}, {}});
  return all;
}

Tensor random_field(const Shape& shape, bool complex_data, std::uint64_t seed) {
  return complex_data ? complex(random_tensor(shape, seed), random_tensor(shape, seed + 1)) : random_tensor(shape, seed);
}

/// This rank's rectangle of the last two dimensions of space.
Tensor part_of_field(const Domain& domain, const Tensor& field) {
  const Rectangle own = domain.rectangle(field.rank() == 3 ? 1 : field.size(-2), field.size(-1));
  const Tensor columns = view::slice(field, -1, own.columns.first, own.columns.last);
  return packed(field.rank() == 3 ? columns : view::slice(columns, -2, own.rows.first, own.rows.last));
}

Shape shape_of(std::int64_t channels, const Extents& extents) {
  Shape shape{2, channels};
  for (const std::int64_t extent : extents) shape.push_back(extent);
  return shape;
}

struct Results {
  Tensor output, input_gradient;
  ParameterList parameters;  // with their gradients
};

/// One pass on this rank's part; gradients of <y, dy>.
Results run(const Case& test, const Mesh& mesh, const Tensor& x, const Tensor& dy) {
  SpectralConv conv(test.config, mesh);
  Results results;
  results.parameters = materialize([&](const ParameterVisitor& visitor) { walk(conv, visitor); }, DType::f64, Use::training, RandomKey(5));
  const Tensor input = leaf(x), y = conv(input, test.output, test.extents);
  backward(record("start", full({1}, 0.0, DType::f64), {y}, [dy](const Tensor&, Wanted) { return std::vector{dy}; }));
  results.output = y.detached();
  results.input_gradient = gradient_of(input);
  return results;
}

/// Rows and columns that this rank owns of a named tensor.
Tensor owned_part(const NamedPiece& piece, const Tensor& whole) {
  Tensor part = view::reshape(whole, piece.piece.full_shape);
  for (std::size_t dim = 0; dim < piece.piece.owned.size(); ++dim) {
    part = view::slice(part, static_cast<int>(dim), piece.piece.owned[dim].first, piece.piece.owned[dim].last);
  }
  return view::reshape(packed(part), {part.numel()});
}

void expect_equal(const Case& test, const Mesh& mesh, const Results& mine, const Results& whole) {
  const Domain domain(mesh);
  EXPECT_TENSOR_NEAR(packed(mine.output), part_of_field(domain, whole.output), kTolerance) << test.name;
  // Every rank of the tensor axis holds an addend of the input's gradient.
  const Tensor sum = packed(mine.input_gradient);
  mesh.comm(Axis::tensor).all_reduce(sum, ReduceOp::sum);
  EXPECT_TENSOR_NEAR(sum, part_of_field(domain, whole.input_gradient), kTolerance) << test.name;
  const auto& pieces = mine.parameters.pieces();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Tensor gradient = packed(pieces[i].gradient);
    mesh.comm(pieces[i].replicated.without(Axis::data)).all_reduce(gradient, ReduceOp::sum);
    const Tensor expected = owned_part(pieces[i], whole.parameters.pieces()[i].gradient);
    if (expected.numel() == 0) continue;
    EXPECT_TENSOR_NEAR(gradient, expected, kTolerance) << test.name << " " << pieces[i].name;
    EXPECT_TENSOR_NEAR(packed(pieces[i].value), owned_part(pieces[i], whole.parameters.pieces()[i].value), 0) << test.name;
  }
}

/// All (domain_y, domain_x, tensor) whose product is the number of ranks.
std::vector<MeshSizes> meshes() {
  std::vector<MeshSizes> all;
  const int ranks = world()->size();
  for (int y = 1; y <= ranks; ++y) {
    for (int x = 1; x <= ranks / y; ++x) {
      if (ranks % (y * x) == 0) all.push_back({1, y, x, ranks / (y * x)});
    }
  }
  return all;
}

TEST(SpectralMesh, EveryMeshComputesWhatOneRankDoes) {
  for (const Case& test : cases()) {
    const bool complex_data = test.config.complex_data;
    const Tensor x = random_field(shape_of(test.config.in_channels, test.extents), complex_data, 1);
    const Tensor dy = random_field(shape_of(test.config.out_channels, test.output.empty() ? test.extents : test.output), complex_data, 3);
    const Results whole = run(test, Mesh(), x, dy);
    for (const MeshSizes& sizes : meshes()) {
      if (test.extents.size() == 1 && sizes[1] > 1) continue;
      const Mesh mesh(world(), sizes);
      SCOPED_TRACE(test.name + " on " + to_string(mesh));
      const Domain domain(mesh);
      // Ranks of the tensor axis share the loss: each takes its part of dy.
      const Tensor share = part_of_field(domain, dy);
      const Tensor scaled = zeros_like(share);
      if (mesh.coordinate(Axis::tensor) == 0) copy_into(scaled, share);
      expect_equal(test, mesh, run(test, mesh, part_of_field(domain, x), scaled), whole);
    }
  }
}

TEST(SpectralMesh, SendsWhatTheFormulasSay) {
  for (const MeshSizes& sizes : meshes()) {
    if (sizes[3] > 1) continue;
    const Mesh mesh(world(), sizes);
    const Domain domain(mesh);
    for (const auto& [rows, columns, kept_rows, kept_columns] :
         {std::array<std::int64_t, 4>{11, 13, 6, 4}, {24, 8, 24, 3}, {64, 12, 4, 3}}) {
      SpectralExchange exchange{
          .domain = domain, .axes = {{rows, 0, rows, -(kept_rows / 2), kept_rows}, {columns, 0, columns, 0, kept_columns}}, .shares = {}};
      for (int rank = 0; rank < domain.ranks(); ++rank) exchange.shares.push_back(part_of(kept_columns, domain.ranks(), rank));
      const std::int64_t samples = 2 * 3;
      const Tensor x = part_of_field(domain, random_tensor({2, 3, rows, columns}, 1));
      Communicator& comm = mesh.comm(Axis::domain_y | Axis::domain_x);
      const std::int64_t before = comm.bytes_sent();
      const Tensor modes = exchange.to_modes(x, 1.0, ModeOrder::last);
      const Tensor there = full({1}, static_cast<double>(comm.bytes_sent() - before), DType::f64);
      const Tensor field = exchange.to_field(modes, x.dtype());
      const Tensor both = full({1}, static_cast<double>(comm.bytes_sent() - before), DType::f64);
      world()->all_reduce(there, ReduceOp::sum);
      world()->all_reduce(both, ReduceOp::sum);
      EXPECT_EQ(field.shape(), x.shape());
      // By hand: partial sums, or the truncated pencil with whole rows before it.
      double pencil = 0.0;
      for (int rank = 0; rank < domain.ranks(); ++rank) {
        const std::int64_t strip = part_of(rows, sizes[1], rank / sizes[2]).size(), here = part_of(strip, sizes[2], rank % sizes[2]).size();
        pencil += 16.0 * static_cast<double>(samples * (rows - here) * exchange.shares[static_cast<std::size_t>(rank)].size());
        pencil += 8.0 * static_cast<double>(samples * here * (columns - part_of(columns, sizes[2], rank % sizes[2]).size()));
      }
      const double partial = 16.0 * static_cast<double>((domain.ranks() - 1) * kept_rows * kept_columns * samples);
      EXPECT_EQ(to_number(there), std::min(pencil, partial));
      EXPECT_EQ(to_number(both), 2.0 * std::min(pencil, partial));
    }
  }
}

TEST(SpectralMesh, RefusesFieldsThatAreNotItsPart) {
  if (world()->size() == 1) return;
  const Mesh mesh(world(), {1, 1, world()->size(), 1});
  SpectralConv conv({.n_modes = {4, 4}}, mesh);
  materialize([&](const ParameterVisitor& visitor) { walk(conv, visitor); }, DType::f64, Use::inference, RandomKey(1));
  EXPECT_THROW(conv(zeros({1, 1, 8, 8}, DType::f64)), ShapeError);
  EXPECT_THROW(conv(zeros({1, 1, 8, 80}, DType::f64), {}, {8, 80}), ShapeError);
  EXPECT_THROW(SpectralConv({.n_modes = {4}}, Mesh(world(), {1, world()->size(), 1, 1})), ConfigError);
}

}  // namespace
}  // namespace trident
