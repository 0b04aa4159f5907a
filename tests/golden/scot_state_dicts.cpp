/// Names, shapes and order of the parameters of full-size models, and their optimiser groups, without allocating them.
#include <algorithm>
#include <cmath>
#include <map>

#include "models/optimizer_groups.h"
#include "models/scot/scot_config.h"
#include "runtime/error.h"
#include "tests/golden/scot.h"

namespace trident::golden {
namespace {

using StateDict = std::vector<std::pair<std::string, Shape>>;

constexpr std::string_view kGroups = "_groups.json";

StateDict read_state_dict(const ConfigValue& document) {
  StateDict result;
  for (const auto& [name, extents] : document.entries()) {
    Shape shape;
    for (const ConfigValue& extent : extents.elements()) shape.push_back(extent.as_integer());
    result.emplace_back(name, shape);
  }
  return result;
}

/// The configuration that has these parameters. What names and shapes do not tell (window, image) is any that can be built.
class Inferred {
 public:
  explicit Inferred(const StateDict& dict) : shapes_(dict.begin(), dict.end()) {}

  ScotConfig config() const {
    ScotConfig c;
    const Shape embedding = shape("embeddings.patch_embeddings.projection.weight");
    c.embed_dim = static_cast<int>(embedding[0]);
    c.num_channels = static_cast<int>(embedding[1]);
    c.patch_size = static_cast<int>(embedding[2]);
    c.num_out_channels = static_cast<int>(shape("patch_recovery.projection.bias")[0]);
    c.depths.clear(), c.num_heads.clear(), c.skip_connections.clear();
    for (int level = 0; count(concat("encoder.layers.", level, ".blocks.")) > 0; ++level) {
      const std::string blocks = concat("encoder.layers.", level, ".blocks.");
      c.depths.push_back(count(blocks));
      c.num_heads.push_back(static_cast<int>(shape(blocks + "0.attention.self.logit_scale")[0]));
      c.skip_connections.emplace_back(count(concat("residual_blocks.", level, ".")));
    }
    const std::string first = "encoder.layers.0.blocks.0.";
    c.mlp_ratio = static_cast<double>(shape(first + "intermediate.dense.bias")[0]) / c.embed_dim;
    c.qkv_bias = shapes_.contains(first + "attention.self.query.bias");
    c.use_conditioning = shapes_.contains("embeddings.norm.weight.weight");
    c.use_absolute_embeddings = shapes_.contains("embeddings.position_embeddings");
    if (std::ranges::any_of(shapes_, [](const auto& entry) { return entry.first.ends_with(".bn1.weight"); })) c.residual_model = "resnet";
    c.image_size = c.patch_size << (c.depths.size() + 1);
    return c;
  }

 private:
  Shape shape(const std::string& name) const {
    const auto found = shapes_.find(name);
    if (found == shapes_.end()) throw DataError(concat("the state dict has no ", name));
    return found->second;
  }
  /// How many children 0, 1, ... have parameters under `prefix`.
  int count(const std::string& prefix) const {
    int children = 0;
    const auto has = [&] {
      const std::string child = concat(prefix, children, ".");
      const auto found = shapes_.lower_bound(child);
      return found != shapes_.end() && found->first.starts_with(child);
    };
    while (has()) ++children;
    return children;
  }

  std::map<std::string, Shape> shapes_;
};

void check_names(const std::string& model, const StateDict& expected, Rows& rows) {
  ConfigValue document = write_config(Inferred(expected).config());
  document.set("type", "scot");
  const Model described = describe_model(document, Mesh());
  StateDict actual;
  for (const Described& tensor : describe([&](const ParameterVisitor& visitor) { described->visit(visitor); })) {
    actual.emplace_back(tensor.name, tensor.shape);
  }
  double differences = std::fabs(static_cast<double>(actual.size()) - static_cast<double>(expected.size()));
  std::string first;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    if (actual[i] == expected[i]) continue;
    if (first.empty())
      first = concat("#", i, ": ", actual[i].first, " ", to_string(actual[i].second), ", recorded ", expected[i].first, " ",
                     to_string(expected[i].second));
    ++differences;
  }
  rows.push_back({model + " names, shapes, order (differences)", differences, 0.0, first});
}

void check_groups(const std::string& model, const ConfigValue& groups, std::size_t num_parameters, Rows& rows) {
  double differences = 0.0;
  std::size_t listed = 0;
  std::string first;
  for (const auto& [group, names] : groups.entries()) {
    for (const ConfigValue& name : names.elements()) {
      ++listed;
      const OptimizerGroup actual = optimizer_group(name.as_string(), {.embedding_recovery = true, .time_conditioning = true});
      if (name_of(actual) == group) continue;
      if (first.empty()) first = concat(name.as_string(), " is in ", name_of(actual), ", recorded ", group);
      ++differences;
    }
  }
  if (listed != num_parameters) rows.push_back(failed(model + " groups", "do not list every parameter"));
  rows.push_back({model + " optimiser groups (differences)", differences, 0.0, first});
}

std::vector<std::string> models_in(const Folder& folder) {
  std::vector<std::string> models;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    const std::string file = entry.path().filename().string();
    if (file.ends_with(kGroups)) models.push_back(file.substr(0, file.size() - kGroups.size()));
  }
  std::ranges::sort(models);
  return models;
}

}  // namespace

bool matches_state_dicts(const Folder& folder) { return std::filesystem::is_directory(folder.path()) && !models_in(folder).empty(); }

Rows check_state_dicts(Folder& folder, const Options&) {
  Rows rows;
  for (const std::string& model : models_in(folder)) {
    const StateDict expected = read_state_dict(folder.json(model + ".json"));
    check_names(model, expected, rows);
    check_groups(model, folder.json(model + "_groups.json"), expected.size(), rows);
  }
  return rows;
}

}  // namespace trident::golden
