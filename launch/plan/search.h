/// All meshes of a number of devices, what each needs, and which come first.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "launch/plan/machine.h"
#include "launch/plan/rehearsal.h"

namespace trident {

/// A mesh with the settings that it was counted with.
struct PlannedMesh {
  MeshSizes sizes{};
  bool optimizer_sharding = false, sequence_parallel = false, activation_checkpointing = false;
  RankNeeds needs{};  // of the rank with the highest peak
  StepTime time{};    // of the slowest rank
};

struct Plan {
  std::vector<PlannedMesh> fitting;                           // the fastest first
  std::vector<PlannedMesh> too_large;                         // the smallest first, with the settings that save most
  std::vector<std::pair<MeshSizes, std::string>> impossible;  // and why
};

/// Meshes keep the sizes and settings that the run file names. Of what it leaves open a mesh takes what saves memory only where it
/// does not fit without: first the sharing of the optimiser, then sequence_parallel, then activation_checkpointing.
Plan plan_meshes(const PlannedRun& planned, int devices, const Machine& machine);

/// The run with a mesh's settings.
RunConfig config_of(const PlannedRun& planned, const PlannedMesh& mesh);

}  // namespace trident
