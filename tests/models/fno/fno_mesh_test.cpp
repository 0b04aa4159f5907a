/// The same training steps of Fourier neural operators on every mesh: losses, gradients and parameters are those of one rank.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>

#include "models/losses.h"
#include "models/split_norm.h"
#include "parallel/domain.h"
#include "parallel/gradient_reducer.h"
#include "parallel/optimizer.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/models/support.h"
#include "tests/support/random_tensor.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::pass_of;
using testing::random_tensor;
using testing::world;

constexpr double kTolerance = 1e-11;
constexpr double kTensorTolerance = 1e-10;  // of one tensor of many
constexpr std::int64_t kBatch = 3, kChannels = 2;
constexpr int kSteps = 3;

struct Case {
  std::string name, keys;
  std::vector<std::int64_t> extents;
  std::optional<NormLoss> loss = {};
  Recompute recompute = Recompute::none;
};

std::vector<Case> cases() {
  const NormLoss h1{.kind = NormKind::h1}, h1_walls{.kind = NormKind::h1, .periodic = {false, true}};
  return {
      {"dense, h1", "type: fno, n_modes: [4, 6]", {13, 11}, h1},
      {"tucker, group norm, padding",
       "type: tfno, rank: 0.5, n_modes: [5, 4], norm: group_norm, norm_groups: 2, domain_padding: [0.2, 0.1]",
       {13, 16}},
      {"instance norm, padding behind, walls, recomputed",
       "type: fno, n_modes: [4, 4], norm: instance_norm, domain_padding: 0.15, domain_padding_mode: one-sided, "
       "fno_skip: soft-gating",
       {27, 26},
       h1_walls,
       Recompute::blocks},
      {"tt, batch norm before, dropout",
       "type: fno, factorization: tt, rank: 0.5, n_modes: [4, 4], norm: batch_norm, preactivation: true, channel_mlp_dropout: 0.3",
       {9, 10}},
      {"separable, adaptive norm, convolutions beside",
       "type: fno, separable: true, n_modes: [4, 4], norm: ada_in, conv_bias_kernel: 3, channel_mlp_skip: linear",
       {7, 12}},
      {"one dimension",
       "type: fno, factorization: cp, rank: 0.5, n_modes: [6], domain_padding: 0.2, conv_bias_kernel: 2, norm: instance_norm, "
       "channel_mlp_dropout: 0.2",
       {19},
       NormLoss{.kind = NormKind::h1, .axes = 1}},
      {"three dimensions",
       "type: tfno, rank: 0.5, n_modes: [2, 3, 4], domain_padding: [0.25, 0.2, 0], conv_bias_kernel: 2, norm: group_norm",
       {4, 7, 8},
       NormLoss{.kind = NormKind::h1, .axes = 3}},
      {"complex", "type: fno, n_modes: [4, 4], complex_data: true, norm: instance_norm, domain_padding: 0.1, stabilizer: tanh", {9, 10}},
  };
}

/// All meshes of as many ranks. Of four data ranks one has no sample, as in the last batch of an epoch.
std::vector<MeshSizes> meshes() {
  std::vector<MeshSizes> all;
  const int ranks = world()->size();
  for (int data = 1; data <= std::min<int>(ranks, kBatch + 1); ++data) {
    for (int y = 1; y <= ranks; ++y) {
      for (int x = 1; x <= ranks; ++x) {
        if (ranks % (data * y * x) == 0) all.push_back({data, y, x, ranks / (data * y * x)});
      }
    }
  }
  return all;
}

Model describe(const Case& test, const Mesh& mesh) {
  return describe_model(
      parse_yaml(concat("{hidden_channels: 4, n_layers: 2, in_channels: ", kChannels, ", out_channels: ", kChannels, ", ", test.keys, "}"),
                 "run.yaml"),
      mesh);
}

/// This rank's part of numbers of the whole batch.
Tensor own_part(const Tensor& whole, const Range& samples, const Rectangle& own) {
  Tensor part = view::slice(whole, 0, samples.first, samples.last);
  if (part.rank() > 2) part = view::slice(part, -1, own.columns.first, own.columns.last);
  if (part.rank() > 3) part = view::slice(part, -2, own.rows.first, own.rows.last);
  return packed(part);
}

Fields fields_of(const Case& test, const Mesh& mesh, const Model& model, int step) {
  const std::int64_t ny = test.extents.size() == 1 ? 1 : test.extents[test.extents.size() - 2], nx = test.extents.back();
  const Range samples = part_of(kBatch, mesh.size(Axis::data), mesh.coordinate(Axis::data));
  const auto own = [&](const Shape& shape, std::uint64_t which) {
    return own_part(random_tensor(shape, static_cast<std::uint64_t>(10 * step) + which), samples, model->rectangle(ny, nx));
  };
  Shape shape{kBatch, kChannels};
  for (const std::int64_t extent : test.extents) shape.push_back(extent);
  const Tensor input = model->is_complex() ? complex(own(shape, 1), own(shape, 4)) : own(shape, 1);
  Fields fields{.input = input, .time = own({kBatch}, 2), .pixel_mask = {}, .label = own(shape, 3)};
  if (step > 0) fields.ny = ny, fields.nx = nx;  // in the first step ranks ask each other
  return fields;
}

struct Outcome {
  std::vector<double> losses;
  Tensor first_gradients;
  ParameterList parameters;
};

Outcome train_steps(const Case& test, const Mesh& mesh) {
  const Model model = describe(test, mesh);
  Outcome outcome;
  outcome.parameters = materialize(model, DType::f64, Use::training, RandomKey(3));
  const ParameterList& parameters = outcome.parameters;
  LossDescription description = model->loss();
  if (test.loss) description.norm = test.loss;
  const Loss loss(description, kChannels, LossScope::global, mesh);
  const FlatShares shares(parameters, mesh, Sharding::none, 1 << 12);
  GradientReducer reducer(parameters, shares);
  AdamW optimizer(
      parameters, {.eps = 1e-5, .max_grad_norm = 1.0}, {0.01}, [](const std::string&) { return 0; }, shares);
  for (int step = 0; step < kSteps; ++step) {
    const Fields fields = fields_of(test, mesh, model, step);
    Pass pass = pass_of(DType::f64, Mode::train);
    pass.recompute = test.recompute;
    pass.key = RandomKey(5).fold(static_cast<std::uint64_t>(step));
    pass.first_sample = part_of(kBatch, mesh.size(Axis::data), mesh.coordinate(Axis::data)).first;
    parameters.zero_gradients();
    const LossTotals totals = loss.totals({&fields, 1});
    const Tensor output = model(fields, model->prepare(), pass);
    const Tensor share = loss.share(model->is_complex() ? real(output) + imag(output) : output, fields, totals);
    backward(share, reducer.on_final());
    reducer.finish();
    const Tensor sum = from_values<double>({1}, std::vector{to_number(share)});
    mesh.world().all_reduce(sum, ReduceOp::sum);
    outcome.losses.push_back(to_number(sum));
    if (step == 0) {
      outcome.first_gradients = empty_like(parameters.gradients());
      copy_into(outcome.first_gradients, parameters.gradients());
    }
    optimizer.update(step + 1, std::array{1e-3}, global_norm(parameters, shares));
  }
  return outcome;
}

double squares_of(const Tensor& x) {
  double sum = 0.0;
  for (const double number : to_host<double>(x)) sum += number * number;
  return sum;
}

/// This rank's pieces of `values` against those of one rank: of each tensor, and of all together. Complex numbers are two.
void expect_same(const Outcome& here, const Tensor& values, const Outcome& alone, const Tensor& expected) {
  std::map<std::string, const NamedPiece*> references;
  for (const NamedPiece& piece : alone.parameters.pieces()) references[piece.name] = &piece;
  const double all = squares_of(expected), least = all * kTensorTolerance * kTensorTolerance * 1e-6;
  double apart = 0.0;
  for (const NamedPiece& piece : here.parameters.pieces()) {
    const NamedPiece& reference = *references.at(piece.name);
    const std::int64_t numbers = piece.piece.numbers == Numbers::complex ? 2 : 1;
    Shape shape = piece.piece.full_shape;
    shape.push_back(numbers);
    const Tensor flat = view::slice(expected, 0, reference.offset, reference.offset + numel(shape));
    Tensor whole = view::reshape(flat, shape);
    for (std::size_t dim = 0; dim < piece.piece.owned.size(); ++dim) {
      whole = view::slice(whole, static_cast<int>(dim), piece.piece.owned[dim].first, piece.piece.owned[dim].last);
    }
    const Tensor wanted = packed(whole);
    const Tensor mine = view::slice(values, 0, piece.offset, piece.offset + wanted.numel());
    const double distance = squares_of(mine - view::reshape(wanted, {wanted.numel()}));
    apart += distance;
    if (squares_of(flat) <= least) continue;  // zero but for rounding
    EXPECT_LE(std::sqrt(distance / squares_of(flat)), kTensorTolerance) << piece.name;
  }
  EXPECT_LE(std::sqrt(apart / all), kTolerance);
}

TEST(FnoMesh, EveryMeshTrainsLikeOneRank) {
  const std::size_t step = world()->size() > 4 ? 2 : 1;  // of many ranks there are many meshes: each runs every other case
  std::size_t turn = 0;
  for (const Case& test : cases()) {
    const Outcome alone = train_steps(test, Mesh());
    for (const MeshSizes& sizes : meshes()) {
      if (turn++ % step != 0 || (test.extents.size() == 1 && sizes[1] > 1)) continue;
      const Mesh mesh(world(), sizes);
      SCOPED_TRACE(test.name + " on " + to_string(mesh));
      const Outcome here = train_steps(test, mesh);
      for (std::size_t i = 0; i < alone.losses.size(); ++i) {
        EXPECT_NEAR(here.losses[i], alone.losses[i], kTolerance * alone.losses[i]) << "loss of step " << i;
      }
      {
        SCOPED_TRACE("gradients");
        expect_same(here, here.first_gradients, alone, alone.first_gradients);
      }
      SCOPED_TRACE("parameters");
      expect_same(here, here.parameters.values(), alone, alone.parameters.values());
    }
  }
}

void expect_refused(const std::string& keys, const MeshSizes& sizes, const std::string& key) {
  try {
    describe({.name = "", .keys = keys, .extents = {}}, Mesh(world(), sizes));
    FAIL() << keys;
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(key));
  }
}

/// The last rank has fewer points than the others, which must not wait for it.
TEST(FnoMesh, EveryRankRefusesOneSidedDifferencesThatOneHasTooFewPointsFor) {
  const int ranks = world()->size();
  if (ranks == 1) return;
  const Mesh mesh(world(), {1, 1, ranks, 1});
  const Range own = part_of(4 * ranks - 1, ranks, mesh.coordinate(Axis::domain_x));
  const Tensor field = random_tensor({1, 1, 8, own.size()}, 1);
  EXPECT_THROW(split_norm_terms({.kind = NormKind::h1, .periodic = {true, false}}, field, field, mesh), ConfigError);
}

TEST(FnoMesh, RefusesWhatItCannotShareOut) {
  const int ranks = world()->size();
  if (ranks == 1) return;
  expect_refused("type: fno, n_modes: [4, 4], resolution_scaling_factor: 2", {1, 1, ranks, 1}, "model.resolution_scaling_factor");
  expect_refused("type: fno, n_modes: [4]", {1, ranks, 1, 1}, "parallel.domain_y");
  const Mesh mesh(world(), {1, 1, ranks, 1});
  const Model model = describe({.name = "", .keys = "type: fno, n_modes: [4, 4]", .extents = {}}, mesh);
  materialize(model, DType::f64, Use::inference, RandomKey(1));
  const Fields fields{.input = zeros({1, kChannels, 8, 8}, DType::f64), .time = {}, .pixel_mask = {}, .label = {}, .ny = 8, .nx = 8};
  EXPECT_THROW(model(fields, {}, pass_of(DType::f64)), ShapeError);
}

}  // namespace
}  // namespace trident
