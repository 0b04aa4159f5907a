/// Training checkpoints: a folder `step-NNNNNNNN` with one safetensors file a rank that saves, a manifest, and a commit marker that is
/// written last. Nothing without its marker counts. docs/checkpoint_format.md describes the format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "checkpoint/training_state.h"

namespace trident {

/// Saves the state into `folder` and returns the path of the new checkpoint once it would survive a loss of power. Every tensor is saved by
/// the first of the ranks that hold it. A committed checkpoint of this step is kept as it is. Collective over the mesh.
std::filesystem::path save_checkpoint(const std::filesystem::path& folder, std::int64_t step, const TrainingState& state, const Mesh& mesh);

/// Fills the tensors of `pieces` in place from a checkpoint made on any mesh, and returns the saved document. Every rank reads what it
/// holds. Throws CheckpointError listing all tensors that are missing, surplus or of another shape or number type, and naming damaged
/// files; the tensors are then not to be used.
ConfigValue load_checkpoint(const std::filesystem::path& checkpoint, const std::vector<StatePiece>& pieces);

struct CheckpointInfo {
  std::filesystem::path path;
  std::int64_t step = 0;
  bool committed = false;
};
/// The checkpoints of a folder by ascending step, with those that saving left unfinished. None if there is no such folder.
std::vector<CheckpointInfo> list_checkpoints(const std::filesystem::path& folder);
/// Whether the marker is there and fits the manifest.
bool is_committed(const std::filesystem::path& checkpoint);
/// The committed one of the highest step.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& folder);
/// Removes all committed checkpoints but the last `keep` (at least 1), and what unfinished savings left. For one rank, after saving.
void prune_checkpoints(const std::filesystem::path& folder, int keep);

}  // namespace trident
