/// What the mesh tests run: configurations and meshes as tables, and training steps on any of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/scot/scot_config.h"
#include "parallel/flat_shares.h"

namespace trident::testing {

struct MeshCase {
  std::string name;
  ScotConfig config;
  std::int64_t batch = 4;
  std::int64_t points = 0;  // per side of the fields; 0: the model's own
  bool masked = false;      // some points take the label

  std::int64_t field_points() const { return points > 0 ? points : config.image_size; }
};

/// Small and well conditioned: shifts, padding, odd grids, skips of both kinds, conditioning, chance, resampled and masked fields, and
/// heads that do not divide.
std::vector<MeshCase> mesh_cases();
/// All meshes of as many ranks.
std::vector<MeshSizes> meshes_of(int ranks);
/// "data x domain_y x domain_x x tensor"
std::string name_of(const MeshSizes& sizes);
/// Whether the model can be laid out there.
bool fits(const MeshCase& a_case, const MeshSizes& sizes);

struct StepsOptions {
  DType dtype = DType::f64;
  int steps = 3;
  TokensBetween tokens = TokensBetween::alike;
  Recompute recompute = Recompute::none;
  Sharding sharding = Sharding::none;
  int first_step = 0;                                     // of all `steps`; after the first the state comes from `resume_from`
  std::optional<std::filesystem::path> resume_from = {};  // a checkpoint
  std::optional<std::filesystem::path> save_to = {};      // where the last state becomes one, and the weights a model directory
  std::int64_t bucket_bytes = 1 << 12;                    // of the sums of gradients
};

/// What training steps leave behind on this rank.
struct Outcome {
  std::vector<double> losses, norms;  // of every step
  Tensor first_gradients;             // flat, of the first step, summed over ranks
  ParameterList parameters;           // after the last step
  std::int64_t step_bytes = 0;        // sent by the forward, the backward and the sums of gradients of the last step
};

/// Inside of a folder that steps were saved to.
std::filesystem::path checkpoint_in(const std::filesystem::path& folder, int steps);
std::filesystem::path model_in(const std::filesystem::path& folder);

/// Trains on global batches that do not depend on the mesh.
Outcome train_steps(const MeshCase& a_case, const Mesh& mesh, const StepsOptions& options = {});

}  // namespace trident::testing
