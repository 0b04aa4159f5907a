/// Patches shared out to ranks: loss and gradients are those of one rank.
#include "models/mg_tfno/patch_loss.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "models/losses.h"
#include "models/mg_tfno/mg_tfno.h"
#include "models/split_norm.h"
#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::random_tensor;
using testing::world;

struct Case {
  int levels;
  std::int64_t samples, ny, nx;
  bool stitching;
  LossDescription loss;
};

const NormLoss kPeriodic{.kind = NormKind::h1}, kMixed{.kind = NormKind::h1, .periodic = {false, true}};
const NormLoss kWalls{.kind = NormKind::h1, .reduction = Reduction::mean, .periodic = {false, false}}, kCubes{.p = 3.0};

ConfigValue document_of(const Case& c) {
  return ConfigValue::map({{"levels", c.levels},
                           {"padding_fraction", ConfigValue::list({0.1, 0.05})},
                           {"stitching", c.stitching},
                           {"position", "field"},
                           {"n_modes", ConfigValue::list({4, 4})},
                           {"in_channels", 1},
                           {"out_channels", 2},
                           {"hidden_channels", 4},
                           {"n_layers", 1},
                           {"rank", 0.5}});
}

struct Result {
  double loss = 0.0;
  std::vector<double> gradients;
};

/// The loss and the sum of all ranks' gradients; fields(model) are what this rank holds.
Result train(const Case& c, const Mesh& mesh, const std::function<Fields(const MgTfno&)>& fields_of) {
  MgTfno model(document_of(c), mesh);
  const ParameterList parameters =
      materialize([&](const ParameterVisitor& visitor) { model.visit(visitor); }, DType::f64, Use::training, RandomKey(7));
  LossDescription description = c.loss;
  description.patches = model.loss().patches;
  const Loss loss(description, 2, LossScope::global, mesh);
  const Fields fields = fields_of(model);
  Pass pass;
  pass.mode = Mode::train;
  pass.precision = DType::f64;
  const Tensor share = loss.share(model.call(fields, {}, pass, nullptr), fields, loss.totals({&fields, 1}));
  backward(share);
  const Tensor sum = full({1}, to_number(share), DType::f64), gradients = empty(parameters.gradients().shape(), DType::f64);
  copy_into(gradients, parameters.gradients());
  mesh.world().all_reduce(sum, ReduceOp::sum);
  mesh.world().all_reduce(gradients, ReduceOp::sum);
  return {to_number(sum), to_host<double>(gradients)};
}

Result of_one_rank(const Case& c, const Tensor& input, const Tensor& label) {
  return train(c, Mesh(), [&](const MgTfno&) { return Fields{.input = input, .time = {}, .pixel_mask = {}, .label = label}; });
}

Result of_patches(const Case& c, const Mesh& mesh, const Tensor& input, const Tensor& label) {
  return train(c, mesh, [&](const MgTfno& model) {
    const PatchGrid grid(*model.patching(), c.ny, c.nx);
    Communicator& ranks = mesh.comm((Axis::data | Axis::domain_y) | Axis::domain_x);
    const Range units = part_of(c.samples * grid.patches(), ranks.size(), ranks.rank());
    return Fields{.input = gather_windows(input, multigrid_windows(grid, units)),
                  .time = {},
                  .pixel_mask = {},
                  .label = gather_windows(label, patch_windows(grid, units, 1)),
                  .ny = c.ny,
                  .nx = c.nx,
                  .patches = PatchUnits{.units = units, .samples = c.samples}};
  });
}

std::vector<Mesh> meshes() {
  const int ranks = world()->size();
  std::vector<Mesh> all{Mesh(world(), {ranks, 1, 1, 1})};
  if (ranks % 2 == 0) all.push_back(Mesh(world(), {ranks / 2, 1, 2, 1}));
  return all;
}

void expect_one_rank_result(const Case& c) {
  const Tensor input = random_tensor({c.samples, 1, c.ny, c.nx}, 1), label = random_tensor({c.samples, 2, c.ny, c.nx}, 2);
  const Result expected = of_one_rank(c, input, label);
  for (const Mesh& mesh : meshes()) {
    const Result actual = of_patches(c, mesh, input, label);
    EXPECT_NEAR(actual.loss / expected.loss, 1.0, 1e-12);
    const auto as_tensor = [](const std::vector<double>& x) { return from_values<double>({static_cast<std::int64_t>(x.size())}, x); };
    EXPECT_TENSOR_NEAR(as_tensor(actual.gradients), as_tensor(expected.gradients), 1e-11);
  }
}

TEST(PatchLoss, OfStitchedFieldsIsThatOfOneRank) {
  for (const NormLoss& norm : {kPeriodic, kMixed, kWalls, kCubes}) {
    expect_one_rank_result({1, 3, 16, 20, true, {.norm = norm}});
    expect_one_rank_result({2, 1, 32, 48, true, {.norm = norm}});
  }
}

TEST(PatchLoss, OfPatchesIsThatOfOneRank) {
  for (const NormLoss& norm : {kPeriodic, kWalls, kCubes}) expect_one_rank_result({1, 3, 16, 20, false, {.norm = norm}});
  expect_one_rank_result({2, 1, 32, 48, false, {.norm = kMixed}});
}

TEST(PatchLoss, OfThreeLevelsIsThatOfOneRank) {
  for (const bool stitching : {true, false}) expect_one_rank_result({3, 1, 128, 128, stitching, {.norm = kPeriodic}});
}

TEST(PatchLoss, RatiosOfSumsDoNotDependOnPatches) {
  expect_one_rank_result({1, 3, 16, 20, true, {.p = 1, .groups = {{0, 1}, {1, 2}}}});
  expect_one_rank_result({1, 1, 8, 8, true, {.p = 2}});
}

TEST(PatchLoss, RanksWithoutPatchesTakePart) { expect_one_rank_result({1, 1, 8, 8, true, {.norm = kPeriodic}}); }

TEST(PatchLoss, SendsOneRowOrColumnForEachSideThatFacesAnotherRank) {
  const Mesh mesh = meshes().front();
  const PatchGrid grid({.levels = 1}, 16, 32);
  const Range units = part_of(2 * grid.patches(), mesh.world().size(), mesh.world().rank());
  const Fields fields{
      .input = {}, .time = {}, .pixel_mask = {}, .label = {}, .ny = 16, .nx = 32, .patches = PatchUnits{.units = units, .samples = 2}};
  const Tensor sent = full({1}, static_cast<double>(border_numbers_sent({.per_side = 2}, fields, 3, mesh)), DType::f64);
  mesh.world().all_reduce(sent, ReduceOp::sum);
  // Patches of 8 x 16 points, two above and below each, two beside: units 0, 1 | 2, 3 of a sample. On two ranks each has a sample; on four
  // half of one: rows of 16 travel; on eight every side of every patch.
  const std::map<int, double> expected{{1, 0.0}, {2, 0.0}, {4, 3.0 * 8 * 2 * 16}, {8, 3.0 * 8 * (2 * 16 + 2 * 8)}};
  if (const auto found = expected.find(mesh.world().size()); found != expected.end()) {
    EXPECT_EQ(to_number(sent), found->second);
  } else {
    EXPECT_GT(to_number(sent), 0.0);
  }
}

TEST(PatchLoss, SendsWhatTheClosedFormulasSay) {
  for (const Mesh& mesh : meshes()) {
    Communicator& ranks = mesh.comm((Axis::data | Axis::domain_y) | Axis::domain_x);
    const PatchGrid grid({.levels = 1}, 16, 32);
    const Range units = part_of(3 * grid.patches(), ranks.size(), ranks.rank());
    const Fields fields{.input = {},
                        .time = {},
                        .pixel_mask = {},
                        .label = random_tensor({units.size(), 2, 10, 18}, 1),
                        .ny = 16,
                        .nx = 32,
                        .patches = PatchUnits{.units = units, .samples = 3}};
    const Tensor output = leaf(random_tensor({units.size(), 2, 8, 16}, 2));
    const std::int64_t before = ranks.bytes_sent();
    backward(sum(stitched_norm_terms(kPeriodic, {.per_side = 2}, output, fields, mesh)));
    const std::int64_t sums = 2 * (ranks.size() - 1) * (2 * 3 * 2 * 8) / ranks.size();
    EXPECT_EQ(ranks.bytes_sent() - before, 2 * 8 * border_numbers_sent({.per_side = 2}, fields, 2, mesh) + 2 * sums);
  }
}

TEST(PatchLoss, RefusesOneSidedDifferencesOnPatchesThatAreTooSmall) {
  const Tensor patch = random_tensor({4, 1, 3, 8}, 1);
  const Fields fields{.input = {},
                      .time = {},
                      .pixel_mask = {},
                      .label = random_tensor({4, 1, 5, 10}, 2),
                      .ny = 6,
                      .nx = 16,
                      .patches = PatchUnits{.units = {0, 4}, .samples = 1}};
  EXPECT_NE(testing::message_of<ConfigError>([&] { stitched_norm_terms(kWalls, {.per_side = 2}, patch, fields, Mesh()); }).find("need 4"),
            std::string::npos);
}

/// The rectangle of domain ranks that share rows and columns unevenly.
Tensor part_of_field(const Tensor& x, const Mesh& mesh) {
  const Range rows = part_of(x.size(-2), mesh.size(Axis::domain_y), mesh.coordinate(Axis::domain_y));
  const Range columns = part_of(x.size(-1), mesh.size(Axis::domain_x), mesh.coordinate(Axis::domain_x));
  return contiguous(slice(slice(x, x.rank() - 2, rows.first, rows.last), x.rank() - 1, columns.first, columns.last));
}

TEST(SplitNorm, OfRectanglesIsThatOfTheWholeField) {
  const int ranks = world()->size();
  const std::vector<MeshSizes> sizes{
      {1, ranks, 1, 1}, {1, 1, ranks, 1}, ranks % 2 == 0 ? MeshSizes{1, ranks / 2, 2, 1} : MeshSizes{1, ranks, 1, 1}};
  for (const MeshSizes& size : sizes) {
    const Mesh mesh(world(), size);
    for (const NormLoss& norm : {kPeriodic, kMixed, kWalls, kCubes}) {
      for (const Shape& shape : {Shape{2, 2, 34, 35}, Shape{1, 2, 5, 33, 36}}) {
        NormLoss of_shape = norm;
        of_shape.axes = shape.rank() - 2;
        if (of_shape.axes == 3 && !of_shape.periodic.empty()) of_shape.periodic.insert(of_shape.periodic.begin(), false);
        const Tensor output = leaf(random_tensor(shape, 3)), label = random_tensor(shape, 4);
        const Loss whole({.norm = of_shape}, 2, LossScope::global, Mesh()), split({.norm = of_shape}, 2, LossScope::global, mesh);
        const Tensor expected = whole.share(output, label, whole.totals({&label, 1}));
        backward(expected);
        const Tensor part = leaf(part_of_field(output.detached(), mesh)), label_part = part_of_field(label, mesh);
        const Tensor share = split.share(part, label_part, split.totals({&label_part, 1}));
        backward(share);
        const Tensor sum = full({1}, to_number(share), DType::f64);
        mesh.world().all_reduce(sum, ReduceOp::sum);
        EXPECT_NEAR(to_number(sum) / to_number(expected), 1.0, 1e-12);
        EXPECT_TENSOR_NEAR(gradient_of(part), part_of_field(gradient_of(output), mesh), 1e-11);
      }
    }
  }
}

}  // namespace
}  // namespace trident
