/// Predictions that ranks share: the answers of one rank, and requests that are over on all ranks together.
#include "models/mesh_prediction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <new>

#include "models/mg_tfno/patch_exchange.h"
#include "parallel/messages.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using ::testing::HasSubstr;
using testing::random_tensor;
using testing::world;

constexpr AxisSet kBatchAxes = (Axis::data | Axis::domain_y) | Axis::domain_x;

ConfigValue patched(int levels, double padding, const char* mode, int channels) {
  return ConfigValue::map({{"type", "mg_tfno"},
                           {"levels", levels},
                           {"padding_fraction", padding},
                           {"padding_mode", mode},
                           {"position", "field"},
                           {"n_modes", ConfigValue::list({4, 4})},
                           {"in_channels", channels},
                           {"out_channels", 2},
                           {"hidden_channels", 4},
                           {"n_layers", 1},
                           {"rank", 0.5}});
}

std::vector<MeshSizes> meshes_without_tensor() {
  const int ranks = world()->size();
  std::vector<MeshSizes> sizes{{1, ranks, 1, 1}, {ranks, 1, 1, 1}};
  if (ranks % 2 == 0) sizes.push_back({ranks / 2, 1, 2, 1});
  return sizes;
}

TEST(PatchExchange, MakesTheWindowsOfWholeFields) {
  for (const BeyondEdge mode : {BeyondEdge::periodic, BeyondEdge::zeros, BeyondEdge::edge}) {
    for (const auto& [levels, padding] : {std::pair{1, 0.0}, {1, 0.125}, {2, 0.1}, {3, 0.05}}) {
      const PatchGrid grid({.levels = levels, .padding_fraction = {padding, padding}, .padding_mode = mode}, 128, 128);
      const Tensor whole = random_tensor({1, 2, 128, 128}, 3);
      const Tensor windows = multigrid_patches(whole, grid), patches = cut_into_patches(whole, grid.per_side);
      for (const MeshSizes& sizes : meshes_without_tensor()) {
        const Mesh mesh(world(), sizes);
        const Range own = part_of(grid.patches(), mesh.size(kBatchAxes), mesh.comm(kBatchAxes).rank());
        const Tensor mine = packed(view::slice(patches, 0, own.first, own.last));
        const Tensor found = exchanged_windows(mine, grid, {.units = own, .samples = 1}, mesh);
        EXPECT_TENSOR_NEAR(found, packed(view::slice(windows, 0, own.first, own.last)), 0.0) << to_string(mesh);
      }
    }
  }
}

struct Served {
  Served(const ConfigValue& config, const Mesh& mesh) : model(describe_model(config, mesh)) {
    parameters = materialize(model, DType::f64, Use::inference, RandomKey(5));
    predictor.emplace(
        model, mesh, [](const std::string& name) -> Problem { throw ConfigError(name); }, DType::f64);
  }
  Model model;
  ParameterList parameters;
  std::optional<MeshPredictor> predictor;
};

/// The message of what rank 0's request ends in, "" for an answer; nothing on the other ranks.
std::string led(const Served& served, const PredictionRequest& request, Tensor* answer = nullptr) {
  if (world()->rank() != 0) {
    served.predictor->follow();
    return "";
  }
  try {
    const Tensor found = served.predictor->lead(request);
    if (answer != nullptr) *answer = found;
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(MeshPrediction, PatchesOnManyRanksAnswerAsOneRankDoes) {
  const ConfigValue config = patched(1, 0.125, "periodic", 3);  // one channel is carried along
  const Served alone(config, Mesh());
  PredictionRequest request;
  request.input = random_tensor({3, 3, 16, 24}, 9);
  request.steps = 3;
  request.pixel_mask = empty({3, 2}, DType::boolean);
  copy_into(request.pixel_mask, from_values<std::int64_t>({3, 2}, std::vector<std::int64_t>{0, 1, 0, 0, 1, 0}));
  const Tensor expected = predict(alone.model, alone.model->prepare(), request, nullptr, DType::f64);
  for (const MeshSizes& sizes : meshes_without_tensor()) {
    const Mesh mesh(world(), sizes);
    const Served served(config, mesh);
    Tensor answer;
    EXPECT_EQ(led(served, request, &answer), "");
    if (answer.defined()) {
      EXPECT_TENSOR_NEAR(answer, expected, 1e-12) << to_string(mesh);
    }

    // The same without a whole field anywhere.
    const FieldShare share = served.predictor->input_share(request), answered = served.predictor->output_share(request);
    std::vector<Tensor> parts;
    const auto part_of_field = [](const Tensor& whole, const FieldPiece& piece) {
      const int rank = whole.rank();
      const Tensor rows = view::slice(view::slice(whole, 0, piece.samples.first, piece.samples.last), rank - 2, piece.rectangle.rows.first,
                                      piece.rectangle.rows.last);
      return view::slice(rows, rank - 1, piece.rectangle.columns.first, piece.rectangle.columns.last);
    };
    const Rectangle any = share.pieces.front().rectangle;
    const Tensor part = empty({rows_of(share.pieces), 3, any.rows.size(), any.columns.size()}, DType::f64);
    std::int64_t row = 0;
    for (const FieldPiece& piece : share.pieces) {
      copy_into(view::slice(part, 0, row, row + piece.samples.size()), part_of_field(request.input, piece));
      row += piece.samples.size();
    }
    const Tensor found = served.predictor->answer_part(request, part);
    row = 0;
    for (const FieldPiece& piece : answered.pieces) {
      const std::int64_t end = row + piece.samples.size();
      EXPECT_TENSOR_NEAR(packed(view::slice(found, 0, row, end)), packed(part_of_field(expected, piece)), 1e-12) << to_string(mesh);
      row = end;
    }
  }
}

TEST(MeshPrediction, ARefusedRequestIsOverOnAllRanksAndTheNextIsAnswered) {
  const Mesh mesh(world(), {1, world()->size(), 1, 1});
  const Served served(patched(1, 0.0, "periodic", 2), mesh);
  const bool first = world()->rank() == 0;
  PredictionRequest good;
  good.input = random_tensor({1, 2, 16, 16}, 4);
  PredictionRequest timed = good, wide = good, infinite = good, interrupted = good, unknown = good;
  timed.time = random_tensor({1}, 3);
  wide.input = random_tensor({1, 2, 18, 16}, 4);
  infinite.input = packed(random_tensor({1, 2, 16, 16}, 4));
  infinite.input.data<double>()[infinite.input.numel() - 1] = std::numeric_limits<double>::quiet_NaN();  // of the last rank's part
  interrupted.steps = 3;
  interrupted.between_steps = [] { throw std::bad_alloc(); };
  unknown.problem = "no-such-problem";
  for (const auto& [bad, words] : {std::pair{timed, "time is given"},
                                   {wide, "cannot be cut"},
                                   {infinite, "not finite"},
                                   {interrupted, "bad_alloc"},
                                   {unknown, "no-such-problem"}}) {
    const std::string message = led(served, bad);
    if (first) {
      EXPECT_THAT(message, HasSubstr(words));
    }
    EXPECT_EQ(led(served, good), "");
  }
}

TEST(Agreement, WhatOneRankMeetsAllRanksThrow) {
  const int ranks = world()->size(), last = ranks - 1;
  EXPECT_NO_THROW(agree_on_failure(*world(), nullptr));
  const auto here = world()->rank() == last ? std::make_exception_ptr(DeviceError("no memory left")) : nullptr;
  try {
    agree_on_failure(*world(), here);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const DeviceError& error) {
    EXPECT_EQ(error.what(), world()->rank() == last ? std::string("no memory left") : concat("rank ", last, ": no memory left"));
  }
  EXPECT_NO_THROW(agree_on_failure(*world(), nullptr));
}

}  // namespace
}  // namespace trident
