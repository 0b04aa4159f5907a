#include "launch/mesh_choice.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include "launch/command_context.h"
#include "models/model.h"
#include "parallel/placement.h"

namespace trident {
namespace {

struct ParallelDocument {
  ParallelConfig parallel;
  static void visit(auto& self, auto& v) { v("parallel", self.parallel); }
};

std::int64_t product_of(const MeshSizes& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

int size_on(const MeshSizes& sizes, Axis axis) { return sizes[static_cast<std::size_t>(axis)]; }

/// Whether this rank of the tensor axis has anything that the others do not.
bool holds_pieces_of_its_own(const Model& model) {
  bool own = false;
  model->visit({.parameter = [&](const std::string&, Parameter& parameter) {
    own = own || (!parameter.replicated.contains(Axis::tensor) && numel(parameter.shape) > 0);
  }});
  return own;
}

/// What the last rank of each axis meets; earlier ones have as much or more to do.
std::optional<std::string> objection_of_model(const MeshSizes& sizes, const ConfigValue& config, const MeshLoad& load) {
  const bool tensor = size_on(sizes, Axis::tensor) > 1;
  const bool domain = size_on(sizes, Axis::domain_y) * size_on(sizes, Axis::domain_x) > 1;
  MeshSizes last = sizes;
  for (int& coordinate : last) --coordinate;
  const Model model = describe_model(config, Mesh::described(sizes, last));
  if (tensor && !holds_pieces_of_its_own(model)) {
    return concat("rank ", last.back(), " of ", sizes.back(), " on the tensor axis would have no part of the ", model->type(),
                  " model to itself");
  }
  if (!domain || model->patching()) return std::nullopt;  // ranks share patches in place of rectangles
  const auto [ny, nx] = load.points;
  const Rectangle part = model->rectangle(ny, nx);
  const auto too_much = [](int parts, Range range, std::int64_t points) { return parts > 1 && range.size() == points; };
  if (too_much(size_on(sizes, Axis::domain_y), part.rows, ny) || too_much(size_on(sizes, Axis::domain_x), part.columns, nx)) {
    return concat("the ", model->type(), " model holds whole fields on every rank along an axis that is to be split");
  }
  if (part.rows.size() > 0 && part.columns.size() > 0) return std::nullopt;
  return concat("fields of ", ny, "x", nx, " points leave nothing for the last rank of the domain axes");
}

double doublings(const MeshSizes& from, const MeshSizes& to) {
  double sum = 0.0;
  for (std::size_t axis = 0; axis < from.size(); ++axis) sum += std::abs(std::log2(static_cast<double>(from[axis]) / to[axis]));
  return sum;
}

MeshSizes wanted_sizes(const ParallelConfig& parallel, int ranks) {
  const int others = parallel.domain_y * parallel.domain_x * parallel.tensor;
  return {parallel.data.value_or(std::max(1, ranks / others)), parallel.domain_y, parallel.domain_x, parallel.tensor};
}

Mesh make(const MeshSizes& sizes, const ParallelConfig& parallel, CommandContext& context) {
  context.session.world()->set_timeout(parallel.timeout_seconds);
  Mesh mesh(ranks_by_host(context.session), sizes, parallel.order);
  context.session.set_mesh(mesh);
  return mesh;
}

/// What can be done instead, for an error.
std::string advice(const MeshSizes& wanted, int ranks, const MeshLoad& load) {
  for (int fewer = ranks; fewer > 0; --fewer) {
    const auto nearest = nearest_mesh(wanted, fewer, load);
    if (nearest && fewer == ranks) return concat("the nearest mesh that works is ", described(*nearest));
    if (nearest) return concat("no mesh of ", ranks, " ranks works; the nearest that does has ", fewer, ": ", described(*nearest));
  }
  return "not even one rank can compute this; see the model and the batch";
}

}  // namespace

std::string described(const MeshSizes& sizes) {
  std::string text;
  for (const Axis axis : {Axis::data, Axis::domain_y, Axis::domain_x, Axis::tensor}) {
    text += concat(text.empty() ? "" : " x ", name_of(axis), " ", size_on(sizes, axis));
  }
  return text;
}

std::vector<MeshSizes> meshes_of(int ranks) {
  std::vector<MeshSizes> found;
  for (int data = 1; data <= ranks; ++data) {
    for (int y = 1; ranks % data == 0 && y <= ranks / data; ++y) {
      for (int x = ranks / data / y; ranks / data % y == 0 && x > 0; --x) {
        if (ranks / data / y % x == 0) found.push_back({data, y, x, ranks / data / y / x});
      }
    }
  }
  return found;
}

std::optional<std::string> objection_to(const MeshSizes& sizes, int ranks, const MeshLoad& load) {
  if (product_of(sizes) != ranks) return concat("it has ", product_of(sizes), " ranks, but the job has ", ranks);
  if (size_on(sizes, Axis::data) > load.batch) {
    return concat("its data axis has ", size_on(sizes, Axis::data), " ranks for a batch of ", load.batch,
                  load.batch == 1 ? " sample" : " samples");
  }
  try {
    for (const ConfigValue& model : load.models) {
      if (auto objection = objection_of_model(sizes, model, load)) return objection;
    }
  } catch (const ConfigError& error) {
    return error.what();
  }
  return std::nullopt;
}

std::optional<MeshSizes> nearest_mesh(const MeshSizes& wanted, int ranks, const MeshLoad& load) {
  std::vector<MeshSizes> meshes = meshes_of(ranks);
  std::ranges::stable_sort(meshes, {}, [&](const MeshSizes& sizes) { return doublings(wanted, sizes); });
  const auto found = std::ranges::find_if(meshes, [&](const MeshSizes& sizes) { return !objection_to(sizes, ranks, load); });
  return found == meshes.end() ? std::nullopt : std::optional(*found);
}

std::pair<ParallelConfig, ConfigValue> parallel_of(const std::vector<std::string>& overrides) {
  ConfigValue document = ConfigValue::map();
  for (const std::string& text : overrides) apply_override(document, text);
  const ParallelConfig parallel = read_config<ParallelDocument>(document).parallel;
  check_parallel(parallel, document);
  return {parallel, document};
}

void check_parallel(const ParallelConfig& parallel, const ConfigValue& document) {
  const auto require_positive = [&](const char* key, int value) {
    if (value < 1) throw config_error(document, concat("parallel.", key), concat("expected at least 1, found ", value));
  };
  require_positive("data", parallel.data.value_or(1));
  require_positive("domain_y", parallel.domain_y);
  require_positive("domain_x", parallel.domain_x);
  require_positive("tensor", parallel.tensor);
  require_positive("timeout_seconds", parallel.timeout_seconds);
  if (parallel.sequence_parallel && parallel.tensor == 1) {
    throw config_error(document, "parallel.sequence_parallel", "needs parallel.tensor above 1; leave it false");
  }
  for (const Axis axis : kDefaultOrder) {
    if (std::ranges::count(parallel.order, axis) != 1) {
      throw config_error(document, "parallel.order", concat("needs each axis once: ", name_of(axis)));
    }
  }
}

Mesh make_mesh(const ParallelConfig& parallel, const ConfigValue& document, const MeshLoad& load, CommandContext& context) {
  const int ranks = context.session.world()->size();
  const MeshSizes wanted = wanted_sizes(parallel, ranks);
  // One rank need not be asked: nothing is shared, and what the model itself refuses it says when it is made.
  if (const auto objection = ranks == 1 && product_of(wanted) == 1 ? std::nullopt : objection_to(wanted, ranks, load)) {
    throw config_error(document, "parallel",
                       concat("the mesh ", described(wanted), " does not work: ", *objection, "; ", advice(wanted, ranks, load)));
  }
  return make(wanted, parallel, context);
}

Mesh make_inference_mesh(const ParallelConfig& parallel, const ConfigValue& document, const MeshLoad& load, CommandContext& context) {
  const int ranks = context.session.world()->size();
  const bool unnamed = !parallel.data && parallel.domain_y * parallel.domain_x * parallel.tensor == 1;
  if (ranks == 1 || !unnamed) return make_mesh(parallel, document, load, context);
  std::vector<MeshSizes> meshes = meshes_of(ranks);
  std::ranges::stable_sort(meshes, {}, [](const MeshSizes& sizes) {
    const int rows = size_on(sizes, Axis::domain_y), columns = size_on(sizes, Axis::domain_x);
    return std::array{size_on(sizes, Axis::data), size_on(sizes, Axis::tensor), std::abs(rows - columns), columns};
  });
  const auto found = std::ranges::find_if(meshes, [&](const MeshSizes& sizes) { return !objection_to(sizes, ranks, load); });
  if (found != meshes.end()) return make(*found, parallel, context);
  throw config_error(document, "parallel",
                     concat("no mesh of ", ranks, " ranks can share the model: ", *objection_to(meshes.front(), ranks, load), "; ",
                            advice(meshes.front(), ranks, load)));
}

}  // namespace trident
