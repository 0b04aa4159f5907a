/// Training checkpoints: a folder `step-NNNNNNNN` with one safetensors file a rank that saves, a manifest, and a commit marker that is
/// written last. Nothing without its marker counts. docs/checkpoint_format.md describes the format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/safetensors_reader.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/training_state.h"

namespace trident {

/// Saves the state into `folder` and returns the path of the new checkpoint once it would survive a loss of power. A committed checkpoint
/// of this step is kept as it is. Collective over the mesh; what one rank meets is thrown on all.
std::filesystem::path save_checkpoint(const std::filesystem::path& folder, std::int64_t step, const TrainingState& state, const Mesh& mesh);
/// The same of what part_to_save() gives each of the ranks.
std::filesystem::path save_checkpoint(const std::filesystem::path& folder, std::int64_t step, const TrainingState& part,
                                      Communicator& ranks);

/// The same of whole tensors that are made one at a time. Of one rank.
std::filesystem::path save_checkpoint(const std::filesystem::path& folder, std::int64_t step, const std::vector<LateTensor>& tensors,
                                      const ConfigValue& values);

/// Reads a committed checkpoint tensor by tensor. Maps little of its files at a time.
class CheckpointReader {
 public:
  /// Throws CheckpointError unless it is committed.
  explicit CheckpointReader(std::filesystem::path checkpoint);

  const Manifest& manifest() const { return manifest_; }
  /// Null if there is no such tensor.
  const ManifestTensor* find(const std::string& name) const;
  /// Fills `values` (contiguous), the box of a tensor, from its parts, converting the number type. Throws CheckpointError naming damaged
  /// files, or if the parts do not give all elements.
  void read(const ManifestTensor& tensor, const Box& box, const Tensor& values);

 private:
  Tensor stored_in(const std::string& file, const std::string& tensor);
  Tensor part_of(const ManifestTensor& tensor, const ManifestPart& part);

  std::filesystem::path path_;
  Manifest manifest_;
  std::map<std::string, const ManifestTensor*> index_;
  std::map<std::string, SafetensorsReader> files_;  // open ones
  std::int64_t bytes_read_ = 0;                     // from open files
};

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
/// The one of the highest step that saving has finished, damaged since or not: only its reader may tell, and nothing falls back in silence.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& folder);
/// Removes all committed checkpoints but the last `keep` (at least 1), and what unfinished savings left. For one rank, after saving.
void prune_checkpoints(const std::filesystem::path& folder, int keep);

}  // namespace trident
