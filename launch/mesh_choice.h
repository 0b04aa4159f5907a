/// The mesh of a run: checked on descriptions before anything is allocated, so that a mesh that cannot work is one error that names the
/// nearest one that does.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/run_config.h"
#include "parallel/mesh.h"
#include "runtime/config.h"

namespace trident {

/// What the ranks are to share.
struct MeshLoad {
  std::vector<ConfigValue> models;               // complete: for describe_model()
  std::int64_t batch = 1;                        // samples computed at once, over all ranks
  std::array<std::int64_t, 2> points{256, 256};  // of the fields along y and x; where they are not known, any that models split
};

/// All meshes of so many ranks; of two that differ in domain_x and tensor alone the one with less tensor comes first, which sends less.
std::vector<MeshSizes> meshes_of(int ranks);
/// Why `ranks` ranks cannot be such a mesh for this load; nothing if they can.
std::optional<std::string> objection_to(const MeshSizes& sizes, int ranks, const MeshLoad& load);
/// The mesh of `ranks` ranks that is fewest doublings away from `wanted` and works.
std::optional<MeshSizes> nearest_mesh(const MeshSizes& wanted, int ranks, const MeshLoad& load);
/// "data 2 x domain_y 2 x domain_x 1 x tensor 1"
std::string described(const MeshSizes& sizes);

/// The `parallel` section that key=value arguments make, for commands without a run file; and their document, for messages.
std::pair<ParallelConfig, ConfigValue> parallel_of(const std::vector<std::string>& overrides);
/// Every entry of `parallel` positive, every axis named once. Throws ConfigError with the line in `document`.
void check_parallel(const ParallelConfig& parallel, const ConfigValue& document);

/// The mesh that `parallel` asks for, known to the session from then on; ranks of a host stand side by side. Collective. Throws
/// ConfigError, on all ranks alike.
Mesh make_mesh(const ParallelConfig& parallel, const ConfigValue& document, const MeshLoad& load, CommandContext& context);
/// The same for one answer at a time: where `parallel` names no sizes all ranks share each field if the model can, else its heads and
/// columns, else the samples.
Mesh make_inference_mesh(const ParallelConfig& parallel, const ConfigValue& document, const MeshLoad& load, CommandContext& context);

}  // namespace trident
