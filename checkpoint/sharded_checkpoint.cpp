#include "checkpoint/sharded_checkpoint.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "checkpoint/atomic_file.h"
#include "checkpoint/complex_parts.h"
#include "checkpoint/manifest.h"
#include "checkpoint/safetensors_reader.h"
#include "checkpoint/safetensors_writer.h"
#include "parallel/messages.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kMarker = "COMMITTED";
constexpr std::string_view kPrefix = "step-";

std::string padded(std::int64_t number, std::size_t width) {
  const std::string digits = std::to_string(number);
  return std::string(width - std::min(width, digits.size()), '0') + digits;
}

std::string marker_of(std::string_view manifest) { return to_hex(checksum_of(manifest.data(), manifest.size())) + "\n"; }

/// The marker goes first: a removal that is interrupted leaves an uncommitted folder.
void remove_checkpoint(const fs::path& checkpoint) {
  if (fs::remove(checkpoint / kMarker)) sync_directory(checkpoint);
  fs::remove_all(checkpoint);
}

bool saves(const StatePiece& piece, const Mesh& mesh) {
  if (piece.values.numel() == 0) return false;
  for (int axis = 0; axis < kNumAxes; ++axis) {
    if (piece.replicated.contains(static_cast<Axis>(axis)) && mesh.coordinate(static_cast<Axis>(axis)) != 0) return false;
  }
  return true;
}

/// Writes this rank's tensors into one file and describes them; no file if it has none.
Manifest write_part(const fs::path& folder, const TrainingState& state, const Mesh& mesh) {
  const std::string file = concat("part-", padded(mesh.world().rank(), 5), ".safetensors");
  std::vector<NamedTensor> tensors;
  Manifest manifest;
  manifest.state = state.values;
  for (const StatePiece& piece : state.pieces) {
    if (!saves(piece, mesh)) continue;
    const Tensor values = view::reshape(piece.values.detached(), extents_of(piece.owned));
    const std::uint64_t checksum = checksum_of(values.bytes(), static_cast<std::size_t>(values.num_bytes()));
    tensors.push_back({piece.name, values});
    manifest.tensors.push_back({piece.name, values.dtype(), piece.full_shape, {{file, piece.owned, checksum}}});
  }
  if (!tensors.empty()) write_safetensors(folder / file, tensors);
  return manifest;
}

/// Rank 0's part of saving, once all files lie in `temporary`.
void commit(const fs::path& temporary, const fs::path& target, const std::vector<std::string>& manifests) {
  Manifest manifest = parse_manifest(manifests[0], "rank 0");
  for (std::size_t rank = 1; rank < manifests.size(); ++rank) merge(manifest, parse_manifest(manifests[rank], concat("rank ", rank)));
  const std::string text = to_json(manifest);
  write_file_atomically(temporary / kManifest, text);
  fs::rename(temporary, target);
  sync_directory(target.parent_path());
  write_file_atomically(target / kMarker, marker_of(text));
}

/// The files of one checkpoint, each opened once.
class PartFiles {
 public:
  explicit PartFiles(fs::path folder) : folder_(std::move(folder)) {}

  /// The tensor, after its checksum has been found right.
  Tensor read(const ManifestTensor& tensor, const ManifestPart& part) {
    const auto found = files_.try_emplace(part.file, folder_ / part.file).first;
    const Tensor values = tensor.dtype == DType::c128 ? complex_from_parts(found->second.tensor(concat(tensor.name, kComplexEnding)))
                                                      : found->second.tensor(tensor.name);
    if (values.dtype() != tensor.dtype || values.shape() != extents_of(part.box) ||
        checksum_of(values.bytes(), static_cast<std::size_t>(values.num_bytes())) != part.checksum) {
      throw CheckpointError(concat((folder_ / part.file).string(), ": tensor \"", tensor.name,
                                   "\" is not what was saved (checksum, shape or type); the file is damaged: remove ", folder_.string(),
                                   " to resume from an earlier checkpoint"));
    }
    return values;
  }

 private:
  fs::path folder_;
  std::map<std::string, SafetensorsReader> files_;
};

/// One line for each tensor that does not fit.
std::string differences(const Manifest& manifest, const std::vector<StatePiece>& pieces,
                        const std::map<std::string, const ManifestTensor*>& saved) {
  std::string lines;
  std::map<std::string, const StatePiece*> wanted;
  for (const StatePiece& piece : pieces) {
    wanted[piece.name] = &piece;
    const auto found = saved.find(piece.name);
    if (found == saved.end()) {
      lines += concat("\n  missing: ", piece.name);
    } else if (found->second->shape != piece.full_shape || found->second->dtype != piece.values.dtype()) {
      lines += concat("\n  ", piece.name, ": saved ", name_of(found->second->dtype), to_string(found->second->shape), ", wanted ",
                      name_of(piece.values.dtype()), to_string(piece.full_shape));
    }
  }
  for (const ManifestTensor& tensor : manifest.tensors) {
    if (!wanted.contains(tensor.name)) lines += concat("\n  surplus: ", tensor.name);
  }
  return lines;
}

/// Errors of the file system become ours.
template <class Action>
auto on_files(const char* what, Action&& action) {
  try {
    return action();
  } catch (const fs::filesystem_error& error) {
    throw CheckpointError(
        concat(error.path1().string(), ": cannot ", what, " (", error.code().message(), "); check the folder and its space"));
  }
}

}  // namespace

bool is_committed(const fs::path& checkpoint) {
  if (!fs::exists(checkpoint / kMarker) || !fs::exists(checkpoint / kManifest)) return false;
  return read_text_file(checkpoint / kMarker) == marker_of(read_text_file(checkpoint / kManifest));
}

fs::path save_checkpoint(const fs::path& folder, std::int64_t step, const TrainingState& state, const Mesh& mesh) {
  return on_files("save a checkpoint there", [&] {
    const std::string name = concat(kPrefix, padded(step, 8));
    const fs::path target = folder / name, temporary = folder / ("." + name + ".tmp");
    Communicator& world = mesh.world();
    const bool leads = world.rank() == 0;
    if (any_of(world, leads && is_committed(target))) return target;
    if (leads) {
      fs::remove_all(target);  // what an interrupted saving left
      fs::remove_all(temporary);
      fs::create_directories(temporary);
    }
    barrier(world);
    const auto manifests = gather_texts(world, to_json(write_part(temporary, state, mesh)));
    if (leads) commit(temporary, target, manifests);
    barrier(world);
    return target;
  });
}

ConfigValue load_checkpoint(const fs::path& checkpoint, const std::vector<StatePiece>& pieces) {
  return on_files("read the checkpoint", [&] {
    if (!is_committed(checkpoint)) {
      throw CheckpointError(concat(checkpoint.string(),
                                   ": is no committed checkpoint (its marker is missing or does not fit the manifest); ",
                                   "remove it to resume from an earlier one"));
    }
    const Manifest manifest = parse_manifest(read_text_file(checkpoint / kManifest), (checkpoint / kManifest).string());
    std::map<std::string, const ManifestTensor*> saved;
    for (const ManifestTensor& tensor : manifest.tensors) saved[tensor.name] = &tensor;
    if (const std::string lines = differences(manifest, pieces, saved); !lines.empty()) {
      throw CheckpointError(
          concat(checkpoint.string(), ": holds another training state:", lines, "\nresume with the run file that made it"));
    }
    PartFiles files(checkpoint);
    for (const StatePiece& piece : pieces) {
      if (piece.values.numel() == 0) continue;
      const ManifestTensor& tensor = *saved.at(piece.name);
      std::int64_t copied = 0;
      for (const ManifestPart& part : tensor.parts) {
        if (num_elements(intersection(part.box, piece.owned)) == 0) continue;
        copied += copy_overlap(piece.values.detached(), piece.owned, files.read(tensor, part), part.box);
      }
      if (copied != num_elements(piece.owned)) {
        throw CheckpointError(concat(checkpoint.string(), ": the parts of tensor \"", piece.name, "\" give ", copied, " of ",
                                     num_elements(piece.owned), " elements; resume from another checkpoint"));
      }
    }
    return manifest.state;
  });
}

std::vector<CheckpointInfo> list_checkpoints(const fs::path& folder) {
  return on_files("list the checkpoints", [&] {
    std::vector<CheckpointInfo> result;
    if (!fs::is_directory(folder)) return result;
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      CheckpointInfo info{entry.path(), 0, false};
      const auto parsed = name.starts_with(kPrefix) ? std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), info.step)
                                                    : std::from_chars_result{nullptr, std::errc::invalid_argument};
      if (parsed.ec != std::errc{} || parsed.ptr != name.data() + name.size() || !entry.is_directory()) continue;
      info.committed = is_committed(info.path);
      result.push_back(std::move(info));
    }
    std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
    return result;
  });
}

std::optional<fs::path> latest_checkpoint(const fs::path& folder) {
  std::optional<fs::path> latest;
  for (const CheckpointInfo& info : list_checkpoints(folder)) {
    if (info.committed) latest = info.path;
  }
  return latest;
}

void prune_checkpoints(const fs::path& folder, int keep) {
  on_files("remove old checkpoints", [&] {
    const auto checkpoints = list_checkpoints(folder);
    auto surplus =
        std::count_if(checkpoints.begin(), checkpoints.end(), [](const auto& info) { return info.committed; }) - std::max(keep, 1);
    for (const CheckpointInfo& info : checkpoints) {
      if (!info.committed || surplus-- > 0) remove_checkpoint(info.path);
    }
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(concat('.', kPrefix)) && name.ends_with(".tmp")) fs::remove_all(entry.path());
    }
  });
}

}  // namespace trident
