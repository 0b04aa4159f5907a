/// The same training steps on every mesh: losses, gradients and parameters are those of one rank.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "checkpoint/box.h"
#include "parallel/domain.h"
#include "parallel/messages.h"
#include "parallel/tensor_parallel.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/models/scot/mesh_cases.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_world.h"

namespace trident {
namespace {

using testing::checkpoint_in, testing::fits, testing::mesh_cases, testing::MeshCase, testing::meshes_of, testing::Outcome,
    testing::StepsOptions, testing::train_steps, testing::world;

/// Every so manyth mesh: of many ranks there are many, and one test that visits all is enough.
std::size_t some_meshes() { return world()->size() > 4 ? 3 : 1; }
constexpr std::size_t kFewMeshes = 4;  // every so manyth, for what depends little on the mesh and writes files

double distance(const Tensor& a, const Tensor& b) {
  double sum = 0.0;
  const std::vector<double> x = to_host<double>(a), y = to_host<double>(b);
  for (std::size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return std::sqrt(sum);
}

Tensor as_f64(const Tensor& x) {
  const Tensor result = empty(x.shape(), DType::f64);
  copy_into(result, x);
  return result;
}

double norm_of(const Tensor& x) { return distance(x, zeros_like(x)); }

/// How far this rank's part of every tensor lies from that of one rank: relative to the whole tensor, and of all tensors together. Tensors
/// smaller than `negligible` of all are zero but for rounding, as gradients of biases that a normalisation takes away.
struct Distances {
  std::map<std::string, double> each;
  double all = 0.0;
};

Distances distances(const Outcome& here, const Tensor& values, const Outcome& alone, const Tensor& expected, double negligible = 0.0) {
  Distances result;
  const auto full_of = [&](const NamedPiece& piece) {
    return as_f64(view::slice(expected, 0, piece.offset, piece.offset + piece.value.numel()));
  };
  std::map<std::string, const NamedPiece*> references;
  double squares = 0.0;  // of what has a name: the gradient of a fused tensor's hole can be of any size
  for (const NamedPiece& piece : alone.parameters.pieces()) {
    references[piece.name] = &piece;
    squares += std::pow(norm_of(full_of(piece)), 2);
  }
  double whole = 0.0;
  for (const NamedPiece& piece : here.parameters.pieces()) {
    const NamedPiece& reference = *references.at(piece.name);
    const Tensor mine = as_f64(view::slice(values, 0, piece.offset, piece.offset + piece.value.numel()));
    const Tensor full = full_of(reference);
    const Tensor part = zeros_like(mine);
    EXPECT_EQ(copy_overlap(part, piece.piece.owned, full, whole_box(piece.piece.full_shape)), mine.numel()) << piece.name;
    const double apart = distance(mine, part), size = norm_of(full);
    result.all += apart * apart, whole += size * size;
    if (size >= negligible * std::sqrt(squares)) result.each[piece.name] = apart / size;
  }
  result.all = std::sqrt(result.all / whole);
  return result;
}

/// Relative: of the loss, the norm and all parameters or gradients together, and of each gradient.
struct Bounds {
  double all, each;
};

constexpr double kNegligible = 1e-3;  // of the bound: a gradient so much smaller than all together

void expect_same(const Outcome& here, const Outcome& alone, const Bounds& bounds) {
  for (std::size_t step = 0; step < alone.losses.size(); ++step) {
    EXPECT_NEAR(here.losses[step], alone.losses[step], bounds.all * alone.losses[step]) << "loss of step " << step;
    EXPECT_NEAR(here.norms[step], alone.norms[step], bounds.all * alone.norms[step]) << "gradient norm of step " << step;
  }
  const Distances gradients = distances(here, here.first_gradients, alone, alone.first_gradients, kNegligible * bounds.each);
  EXPECT_LE(gradients.all, bounds.all);
  for (const auto& [name, apart] : gradients.each) EXPECT_LE(apart, bounds.each) << "gradient of " << name;
  EXPECT_LE(distances(here, here.parameters.values(), alone, alone.parameters.values()).all, bounds.all);
  for (std::size_t i = 0; i < alone.parameters.buffers().size(); ++i) {
    const Tensor mine = as_f64(here.parameters.buffers()[i].value), expected = as_f64(alone.parameters.buffers()[i].value);
    EXPECT_LE(distance(mine, expected), bounds.all * norm_of(expected)) << alone.parameters.buffers()[i].name;
  }
}

/// On every mesh of this job's ranks, or on each `step`th. Each runs one of the cases that fit, in turn. If TRIDENT_ALL_MESH_CASES is set
/// all meshes run all cases.
template <class Check>
void on_every_mesh(const Check& check, std::size_t step = 1) {
  const bool all = std::getenv("TRIDENT_ALL_MESH_CASES") != nullptr;
  std::size_t turn = 0;
  for (const MeshSizes& sizes : meshes_of(world()->size())) {
    std::vector<MeshCase> cases;
    for (const MeshCase& a_case : mesh_cases()) {
      if (fits(a_case, sizes)) cases.push_back(a_case);
    }
    if (cases.empty() || (turn++ % step != 0 && !all)) continue;
    if (!all) cases = {cases[turn / step % cases.size()]};
    const Mesh mesh(world(), sizes);
    for (const MeshCase& a_case : cases) {
      SCOPED_TRACE(concat(testing::name_of(sizes), ": ", a_case.name));
      check(mesh, a_case);
    }
  }
}

/// Of one rank, computed once.
const Outcome& alone(const MeshCase& a_case, const StepsOptions& options = {}) {
  static std::map<std::string, Outcome> outcomes;
  const std::string key = concat(a_case.name, name_of(options.dtype), options.steps);
  if (!outcomes.contains(key)) outcomes[key] = train_steps(a_case, Mesh(), options);
  return outcomes[key];
}

TEST(ScotMesh, EveryMeshTrainsLikeOneRank) {
  on_every_mesh([](const Mesh& mesh, const MeshCase& a_case) {
    expect_same(train_steps(a_case, mesh), alone(a_case), {.all = 1e-11, .each = 1e-10});
  });
}

TEST(ScotMesh, RanksWhoseTokensBeginNoCellTrainLikeOneRank) {
  // Of 4 tokens a side the last rank has one, which is the second of its cell.
  MeshCase uneven = mesh_cases().front();
  uneven.name = "windows of 3 on 4 tokens", uneven.config.image_size = 8, uneven.config.window_size = 3;
  for (const MeshSizes& sizes : meshes_of(world()->size())) {
    if (!fits(uneven, sizes)) continue;
    SCOPED_TRACE(testing::name_of(sizes));
    expect_same(train_steps(uneven, Mesh(world(), sizes)), alone(uneven), {.all = 1e-11, .each = 1e-10});
  }
}

TEST(ScotMesh, TwoRunsInSinglePrecisionAreTheSameBitsAndAgreeWithOneRank) {
  const StepsOptions options{.dtype = DType::f32, .steps = 1};
  on_every_mesh(
      [&](const Mesh& mesh, const MeshCase& a_case) {
        const Outcome first = train_steps(a_case, mesh, options), again = train_steps(a_case, mesh, options);
        EXPECT_EQ(to_host<float>(first.parameters.values()), to_host<float>(again.parameters.values()));
        EXPECT_EQ(first.losses, again.losses);
        expect_same(first, alone(a_case, options), {.all = 1e-5, .each = 1e-5});
      },
      some_meshes());
}

TEST(ScotMesh, SharedTokensAndRecomputedBlocksChangeNothing) {
  on_every_mesh(
      [](const Mesh& mesh, const MeshCase& a_case) {
        const StepsOptions options{.tokens = TokensBetween::shared, .recompute = Recompute::blocks};
        expect_same(train_steps(a_case, mesh, options), alone(a_case), {.all = 1e-11, .each = 1e-10});
      },
      some_meshes());
}

TEST(ScotMesh, SharedOptimisersGiveTheSameBits) {
  on_every_mesh(
      [](const Mesh& mesh, const MeshCase& a_case) {
        const Outcome whole = train_steps(a_case, mesh), shared = train_steps(a_case, mesh, {.sharding = Sharding::over_replicas});
        EXPECT_EQ(to_host<double>(shared.parameters.values()), to_host<double>(whole.parameters.values()));
        EXPECT_EQ(shared.losses, whole.losses);
        EXPECT_EQ(shared.norms, whole.norms);
      },
      some_meshes());
}

TEST(ScotMesh, ASharedStateGoesOnHereToTheBitAndOnOneRankAndComesBack) {
  const testing::TemporaryFolder folder;
  const std::filesystem::path own = folder.path(), common = broadcast_text(*world(), own.string(), 0);
  int number = 0;
  on_every_mesh(
      [&](const Mesh& mesh, const MeshCase& a_case) {
        const std::string name = std::to_string(number++);
        StepsOptions options{.steps = 2, .sharding = Sharding::over_replicas, .save_to = common / name};
        train_steps(a_case, mesh, options);
        options.first_step = 2, options.steps = 3, options.save_to.reset(), options.resume_from = checkpoint_in(common / name, 2);
        const Outcome whole = train_steps(a_case, mesh), here = train_steps(a_case, mesh, options);
        EXPECT_EQ(to_host<double>(here.parameters.values()), to_host<double>(whole.parameters.values()));
        const Outcome there = train_steps(a_case, Mesh(), options);
        EXPECT_LE(distances(there, there.parameters.values(), alone(a_case), alone(a_case).parameters.values()).all, 1e-11);

        train_steps(a_case, Mesh(), {.steps = 2, .save_to = own / "alone" / name});
        options.resume_from = checkpoint_in(own / "alone" / name, 2);
        const Outcome back = train_steps(a_case, mesh, options);
        EXPECT_LE(distances(back, back.parameters.values(), alone(a_case), alone(a_case).parameters.values()).all, 1e-11);
        barrier(*world());
      },
      kFewMeshes);
}

TEST(ScotMesh, SplitWeightsBecomeOneModelDirectory) {
  const testing::TemporaryFolder folder;
  const std::filesystem::path own = folder.path(), common = broadcast_text(*world(), own.string(), 0);
  int number = 0;
  on_every_mesh(
      [&](const Mesh& mesh, const MeshCase& a_case) {
        const std::string name = std::to_string(number++);
        train_steps(a_case, mesh, {.steps = 0, .save_to = common / name});
        train_steps(a_case, Mesh(), {.steps = 0, .save_to = own / "alone" / name});
        const auto bytes_of = [](const std::filesystem::path& path) {
          std::ifstream file(path / "model.safetensors", std::ios::binary);
          return std::string(std::istreambuf_iterator<char>(file), {});
        };
        EXPECT_EQ(bytes_of(testing::model_in(common / name)), bytes_of(testing::model_in(own / "alone" / name)));
        barrier(*world());
      },
      kFewMeshes);
}

std::int64_t ring_bytes(std::int64_t ranks, std::int64_t bytes) { return 2 * (ranks - 1) * bytes / ranks; }

/// How this rank holds the grids of tokens, derived from the configuration alone.
WindowPyramid pyramid_of(const ScotConfig& c, const Mesh& mesh) {
  std::vector<WindowedGrid> grids;
  std::int64_t tokens = c.grid();
  for (int level = 0; level < c.num_levels(); ++level, tokens = (tokens + 1) / 2) {
    const std::int64_t halved = c.grid() >> level, window = std::min<std::int64_t>(c.window_size, halved);
    grids.push_back({.rows = tokens,
                     .columns = tokens,
                     .window = window,
                     .shift = halved > c.window_size ? window / 2 : 0,
                     .halo = c.residual_model == "resnet" ? 1 : 3});
  }
  return WindowPyramid(Domain(mesh), grids);
}

/// Of one step's sums over the tensor axis, forward and backward, of numbers of `size` bytes. Shared tokens are scattered and gathered
/// instead.
std::int64_t tensor_bytes(const ScotConfig& c, const std::vector<WindowLevel>& levels, std::int64_t ranks, std::int64_t size,
                          TokensBetween tokens) {
  std::int64_t bytes = 0;
  for (int level = 0; level < c.num_levels(); ++level) {
    const std::int64_t grid = size * levels[static_cast<std::size_t>(level)].own.sites() * c.width(level);
    const std::int64_t sum = tokens == TokensBetween::alike ? ring_bytes(ranks, grid) : 2 * ((ranks - 1) * grid / ranks);
    const int skips = c.residual_model == "convnext" ? c.skip_blocks(level) : 0;
    bytes += 2 * (4 * c.depths[static_cast<std::size_t>(level)] * sum + skips * ring_bytes(ranks, grid));
  }
  return bytes;
}

/// Numbers that one use of a plan sends forward and backward, `width` at a site.
std::int64_t traffic(const ExchangePlan& plan, std::int64_t width) { return (plan.sites_sent() + plan.sites_received()) * width; }

/// Of one step's exchanges of tokens between domain ranks: windows go to one rank and, own heads only, home; merging crosses borders once
/// on the fine side and once where samples change hands, unmerging the same way back.
std::int64_t token_numbers(const ScotConfig& c, const std::vector<WindowLevel>& levels, const Mesh& mesh) {
  std::int64_t numbers = 0;
  for (int i = 0; i < c.num_levels(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const WindowLevel& level = levels[at];
    const std::int64_t heads = c.num_heads[at], own_width = own_units(mesh, heads).size() * (c.width(i) / heads);
    const std::int64_t shifted_blocks = 2 * (c.depths[at] / 2);
    for (const WindowPart& part : level.shifted) numbers += shifted_blocks * traffic(part.arriving, c.width(i) + own_width);
    const int halos = c.residual_model == "resnet" ? 2 : 1;
    numbers += halos * c.skip_blocks(i) * traffic(level.halo, c.width(i));
    if (i + 1 < c.num_levels()) numbers += 2 * (traffic(level.pairs, c.width(i)) + traffic(levels[at + 1].descend, c.width(i + 1)));
  }
  return numbers;
}

/// Of one step's exchanges of points: the recovery sees two around; fields of another size are resampled plane by plane, before the model
/// (which no gradient passes) and after it.
std::int64_t point_numbers(const MeshCase& a_case, const std::vector<WindowLevel>& levels, const Domain& domain, std::int64_t samples) {
  const ScotConfig& c = a_case.config;
  const auto in_points = [&](const Range& tokens) { return Range{tokens.first * c.patch_size, tokens.last * c.patch_size}; };
  const auto own_size = [&](std::int64_t channels) {
    std::vector<GridBox> boxes;
    for (const GridBox& box : levels.front().owned) boxes.push_back({{0, samples * channels}, in_points(box.rows), in_points(box.columns)});
    return boxes;
  };
  const auto planes = [&](const std::vector<GridBox>& parts, std::int64_t channels, std::int64_t points) {
    return domain.plan(parts, domain.planes(samples * channels, points, points));
  };
  const auto given_size = [&](std::int64_t channels) { return domain.rectangles(samples * channels, a_case.points, a_case.points); };
  const std::int64_t recovery = traffic(domain.plan(own_size(c.num_out_channels), with_halo(own_size(c.num_out_channels), 2)), 1);
  if (a_case.points == 0) return recovery;
  const std::int64_t in = c.num_channels, out = c.num_out_channels;
  return recovery + planes(given_size(in), in, a_case.points).sites_sent() + planes(own_size(in), in, c.image_size).sites_received() +
         traffic(planes(own_size(out), out, c.image_size), 1) + traffic(planes(given_size(out), out, a_case.points), 1);
}

/// Of one step's sums of batch statistics, each of f64 numbers: count, sums and squares, then two sums of gradients.
std::int64_t statistics_bytes(const ScotConfig& c, const Mesh& mesh) {
  const std::int64_t ranks = mesh.size(Axis::data) * mesh.size(Axis::domain_y) * mesh.size(Axis::domain_x);
  std::int64_t bytes = 0;
  for (int i = 0; i < c.num_levels() && c.residual_model == "resnet"; ++i) {
    bytes += 2 * c.skip_blocks(i) * (ring_bytes(ranks, 8) + 4 * ring_bytes(ranks, 8 * c.width(i)));
  }
  return bytes;
}

/// Of one step's position biases: tensor ranks get each other's weights, each rank computes some rows of the tables of all heads, of all
/// blocks with the same windows side by side, and gets the others'; the gradients go the other way.
std::int64_t bias_bytes(const ScotConfig& c, const std::vector<WindowLevel>& levels, const Mesh& mesh, std::int64_t size) {
  constexpr std::int64_t kHidden = 512;
  const std::int64_t ranks = mesh.world().size(), tensor = mesh.size(Axis::tensor);
  std::map<std::int64_t, std::int64_t> heads;  // by window
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const std::int64_t blocks = 2 * c.depths[i];
    heads[levels[i].grid.window] += blocks * c.num_heads[i];
    if (ranks > 1) bytes += 2 * blocks * ((tensor - 1) * c.num_heads[i] * kHidden * size / tensor);
  }
  for (const auto& [window, columns] : heads) bytes += 2 * ((ranks - 1) * (2 * window - 1) * (2 * window - 1) * columns * size / ranks);
  return bytes;
}

/// Of the sums of gradients: what each set of axes sums, and what is final last, goes together. Tensors begin at multiples of 64 bytes.
std::int64_t gradient_bytes(const ParameterList& parameters, const Mesh& mesh) {
  std::map<std::pair<int, bool>, std::int64_t> bytes;
  const auto& entries = parameters.entries();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::int64_t end = i + 1 < entries.size() ? entries[i + 1].offset : parameters.gradients().numel();
    bytes[{mesh.size(entries[i].replicated), entries[i].prepared}] += 8 * (end - entries[i].offset);
  }
  std::int64_t total = 0;
  for (const auto& [key, size] : bytes) total += ring_bytes(key.first, size);
  return total;
}

TEST(ScotMesh, AStepSendsTheBytesOfTheFormulas) {
  on_every_mesh(
      [](const Mesh& mesh, const MeshCase& a_case) {
        const std::int64_t samples = part_of(a_case.batch, mesh.size(Axis::data), mesh.coordinate(Axis::data)).size();
        const WindowPyramid pyramid = pyramid_of(a_case.config, mesh);
        const auto levels = pyramid.levels(samples);
        const std::int64_t domain =
            8 * (token_numbers(a_case.config, *levels, mesh) + point_numbers(a_case, *levels, pyramid.domain(), samples)) +
            statistics_bytes(a_case.config, mesh) + bias_bytes(a_case.config, *levels, mesh, 8);
        for (const TokensBetween tokens : {TokensBetween::alike, TokensBetween::shared}) {
          const Outcome outcome = train_steps(a_case, mesh, {.steps = 2, .tokens = tokens, .bucket_bytes = std::int64_t{1} << 40});
          EXPECT_EQ(outcome.step_bytes, domain + tensor_bytes(a_case.config, *levels, mesh.size(Axis::tensor), 8, tokens) +
                                            gradient_bytes(outcome.parameters, mesh));
        }
      },
      some_meshes());
}

}  // namespace
}  // namespace trident
