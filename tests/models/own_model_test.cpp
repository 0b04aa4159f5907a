/// The model of docs/adding_a_model.md: one rank's loss and gradients on every mesh, and what finite differences say of them.
#include "tests/models/own_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "models/losses.h"
#include "parallel/gradient_reducer.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/models/support.h"
#include "tests/support/random_tensor.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::ConvNet;
using testing::ConvNetConfig;
using testing::pass_of;
using testing::random_tensor;
using testing::world;

constexpr std::int64_t kBatch = 2, kPoints = 7;
constexpr int kChannels = 2;

/// One forward and backward of this rank's part of the same batch.
struct Step {
  ParameterList parameters;
  double loss = 0.0;

  explicit Step(const Mesh& mesh, Recompute recompute = Recompute::none) : mesh_(mesh), recompute_(recompute) {
    parameters = materialize(model_, DType::f64, Use::training, RandomKey(1));
    const FlatShares shares(parameters, mesh, Sharding::none, 1 << 10);
    GradientReducer reducer(parameters, shares);
    parameters.zero_gradients();
    const Tensor share = loss_share();
    backward(share, reducer.on_final());
    reducer.finish();
    loss = over_ranks(share);
  }

  double loss_again() const { return over_ranks(loss_share()); }

 private:
  Tensor loss_share() const {
    const Range samples = part_of(kBatch, mesh_.size(Axis::data), mesh_.coordinate(Axis::data));
    const Rectangle own = model_->rectangle(kPoints, kPoints);
    const auto part = [&](std::uint64_t seed) {
      const Tensor whole = random_tensor({kBatch, kChannels, kPoints, kPoints}, seed);
      const Tensor rows = view::slice(view::slice(whole, 0, samples.first, samples.last), 2, own.rows.first, own.rows.last);
      return packed(view::slice(rows, 3, own.columns.first, own.columns.last));
    };
    const Fields fields{.input = part(1), .time = {}, .pixel_mask = {}, .label = part(2), .ny = kPoints, .nx = kPoints};
    Pass pass = pass_of(DType::f64, Mode::train);
    pass.recompute = recompute_;
    const Loss loss(model_->loss(), kChannels, LossScope::global, mesh_);
    return loss.share(model_(fields, model_->prepare(), pass), fields, loss.totals({&fields, 1}));
  }

  double over_ranks(const Tensor& share) const {
    const Tensor sum = from_values<double>({1}, std::vector{to_number(share)});
    mesh_.world().all_reduce(sum, ReduceOp::sum);
    return to_number(sum);
  }

  Mesh mesh_;
  Recompute recompute_;
  Model model_{std::make_shared<ConvNet>(ConvNetConfig{.in_channels = kChannels, .out_channels = kChannels, .width = 4}, mesh_)};
};

/// This rank's part of the gradient that one rank has, for each parameter.
void expect_gradients_of(const Step& alone, const Step& here) {
  std::map<std::string, Tensor> expected;
  for (const NamedPiece& piece : alone.parameters.pieces()) expected[piece.name] = view::reshape(piece.gradient, piece.piece.full_shape);
  ASSERT_EQ(expected.size(), here.parameters.pieces().size());
  for (const NamedPiece& piece : here.parameters.pieces()) {
    Tensor part = expected.at(piece.name);
    for (std::size_t dim = 0; dim < piece.piece.owned.size(); ++dim) {
      part = view::slice(part, static_cast<int>(dim), piece.piece.owned[dim].first, piece.piece.owned[dim].last);
    }
    const auto wanted = to_host<double>(packed(part)), found = to_host<double>(piece.gradient);
    double apart = 0.0, size = 0.0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      apart += (found[i] - wanted[i]) * (found[i] - wanted[i]), size += wanted[i] * wanted[i];
    }
    EXPECT_GT(size, 0.0) << piece.name;
    EXPECT_LE(std::sqrt(apart / size), 1e-12) << piece.name;
  }
}

TEST(OwnModel, EveryMeshGivesTheGradientsOfOneRank) {
  const Step alone{Mesh()};
  const int ranks = world()->size();
  for (const MeshSizes& sizes : {MeshSizes{ranks, 1, 1, 1}, {1, ranks, 1, 1}, {1, 1, ranks, 1}, {1, 1, 1, ranks}}) {
    if (sizes[0] > kBatch) continue;
    for (const Recompute recompute : {Recompute::none, Recompute::blocks}) {
      const Mesh mesh(world(), sizes);
      SCOPED_TRACE(to_string(mesh));
      const Step here(mesh, recompute);
      EXPECT_NEAR(here.loss, alone.loss, 1e-13 * alone.loss);
      expect_gradients_of(alone, here);
    }
  }
}

TEST(OwnModel, GradientsAreThoseOfFiniteDifferences) {
  const Step step{Mesh()};
  constexpr double kShift = 1e-5;  // leaves 1e-10 of the second-order differences, and 1e-11 of rounding
  for (const NamedPiece& piece : step.parameters.pieces()) {
    const std::int64_t last = piece.value.numel() - 1;
    const Tensor number = view::slice(piece.value, 0, last, last + 1);
    const double value = to_number(number);
    const auto loss_at = [&](double shifted) {
      copy_into(number, from_values<double>({1}, std::vector{shifted}));
      return step.loss_again();
    };
    const double slope = (loss_at(value + kShift) - loss_at(value - kShift)) / (2.0 * kShift);
    copy_into(number, from_values<double>({1}, std::vector{value}));
    EXPECT_NEAR(to_host<double>(piece.gradient).back(), slope, 1e-8 * std::max(1.0, std::abs(slope))) << piece.name;
  }
}

}  // namespace
}  // namespace trident
