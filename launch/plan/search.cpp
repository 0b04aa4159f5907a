#include "launch/plan/search.h"

#include <algorithm>
#include <array>
#include <set>

#include "launch/mesh_choice.h"
#include "runtime/error.h"

namespace trident {
namespace {

bool names(const PlannedRun& planned, const char* key) {
  const ConfigValue* value = find_path(planned.run.document, key);
  return value != nullptr && value->kind() != ConfigValue::Kind::null;
}

int size_on(const MeshSizes& sizes, Axis axis) { return sizes[static_cast<std::size_t>(axis)]; }

bool has_named_sizes(const PlannedRun& planned, const MeshSizes& sizes) {
  const ParallelConfig& parallel = planned.run.config.parallel;
  return size_on(sizes, Axis::data) == parallel.data.value_or(size_on(sizes, Axis::data)) &&
         (!names(planned, "parallel.domain_y") || size_on(sizes, Axis::domain_y) == parallel.domain_y) &&
         (!names(planned, "parallel.domain_x") || size_on(sizes, Axis::domain_x) == parallel.domain_x) &&
         (!names(planned, "parallel.tensor") || size_on(sizes, Axis::tensor) == parallel.tensor);
}

/// The settings to try, from what costs least to what saves most.
std::vector<PlannedMesh> settings_of(const PlannedRun& planned, const MeshSizes& sizes) {
  struct Settings {
    bool sharding, sequence, checkpointing;
  };
  const RunConfig& config = planned.run.config;
  std::vector<PlannedMesh> all;
  std::set<std::array<bool, 3>> seen;
  for (const auto& [sharding, sequence, checkpointing] : {Settings{false, false, false},
                                                          {true, false, false},
                                                          {true, true, false},
                                                          {false, false, true},
                                                          {true, false, true},
                                                          {true, true, true}}) {
    const auto setting = [&](const char* key, bool of_run, bool tried, bool possible) {
      return (names(planned, key) ? of_run : tried) && possible;
    };
    const PlannedMesh mesh{.sizes = sizes,
                           .optimizer_sharding = setting("parallel.optimizer_sharding", config.parallel.optimizer_sharding, sharding,
                                                         sizes != MeshSizes{1, 1, 1, 1}),
                           .sequence_parallel = setting("parallel.sequence_parallel", config.parallel.sequence_parallel, sequence,
                                                        size_on(sizes, Axis::tensor) > 1),
                           .activation_checkpointing =
                               setting("training.activation_checkpointing", config.training.activation_checkpointing, checkpointing, true)};
    if (seen.insert({mesh.optimizer_sharding, mesh.sequence_parallel, mesh.activation_checkpointing}).second) all.push_back(mesh);
  }
  return all;
}

/// Ranks that may need most: the first, whose shares are the largest, and one with neighbours on all sides.
std::set<MeshSizes> telling_ranks(const MeshSizes& sizes) {
  MeshSizes inside{};
  for (const Axis axis : {Axis::domain_y, Axis::domain_x}) {
    if (size_on(sizes, axis) > 2) inside[static_cast<std::size_t>(axis)] = 1;
  }
  return {MeshSizes{}, inside};
}

/// Counts what the mesh needs.
bool fits(const PlannedRun& planned, const Machine& machine, PlannedMesh& mesh) {
  const RunConfig config = config_of(planned, mesh);
  for (const MeshSizes& coordinates : telling_ranks(mesh.sizes)) {
    RankNeeds needs = rehearse(planned, config, mesh.sizes, coordinates);
    const StepTime time = step_time(needs, machine, mesh.sizes, config.parallel.order);
    if (time.total() > mesh.time.total()) mesh.time = time;
    if (needs.memory.peak > mesh.needs.memory.peak) mesh.needs = std::move(needs);
  }
  return static_cast<double>(mesh.needs.memory.peak) <= kUsableMemory * static_cast<double>(machine.memory);
}

}  // namespace

RunConfig config_of(const PlannedRun& planned, const PlannedMesh& mesh) {
  RunConfig config = planned.run.config;
  ParallelConfig& parallel = config.parallel;
  parallel.data = size_on(mesh.sizes, Axis::data);
  parallel.domain_y = size_on(mesh.sizes, Axis::domain_y), parallel.domain_x = size_on(mesh.sizes, Axis::domain_x);
  parallel.tensor = size_on(mesh.sizes, Axis::tensor);
  parallel.optimizer_sharding = mesh.optimizer_sharding, parallel.sequence_parallel = mesh.sequence_parallel;
  config.training.activation_checkpointing = mesh.activation_checkpointing;
  return config;
}

Plan plan_meshes(const PlannedRun& planned, int devices, const Machine& machine) {
  const MeshLoad load{.models = {planned.choice.config},
                      .batch = planned.run.config.training.global_batch_size,
                      .points = {planned.data->ny(), planned.data->nx()}};
  Plan plan;
  for (const MeshSizes& sizes : meshes_of(devices)) {
    if (!has_named_sizes(planned, sizes)) continue;
    if (auto objection = devices > 1 ? objection_to(sizes, devices, load) : std::nullopt) {
      plan.impossible.emplace_back(sizes, std::move(*objection));
      continue;
    }
    std::vector<PlannedMesh> tried = settings_of(planned, sizes);
    try {
      const auto fitting = std::ranges::find_if(tried, [&](PlannedMesh& mesh) { return fits(planned, machine, mesh); });
      fitting == tried.end() ? plan.too_large.push_back(tried.back()) : plan.fitting.push_back(*fitting);
    } catch (const Error& error) {  // as the run itself would end
      plan.impossible.emplace_back(sizes, error.what());
    }
  }
  std::ranges::stable_sort(plan.fitting, {}, [](const PlannedMesh& mesh) { return mesh.time.total(); });
  std::ranges::stable_sort(plan.too_large, {}, [](const PlannedMesh& mesh) { return mesh.needs.memory.peak; });
  return plan;
}

}  // namespace trident
