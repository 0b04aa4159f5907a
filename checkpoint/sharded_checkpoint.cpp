#include "checkpoint/sharded_checkpoint.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "checkpoint/atomic_file.h"
#include "checkpoint/complex_parts.h"
#include "checkpoint/manifest.h"
#include "checkpoint/safetensors_reader.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/tensor_match.h"
#include "parallel/agreement.h"
#include "parallel/messages.h"
#include "runtime/error.h"
#include "runtime/ops/complex.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";
constexpr const char* kMarker = "COMMITTED";
constexpr std::int64_t kMappedBytes = std::int64_t{16} << 20;  // of a checkpoint's files at a time
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

/// A tensor to be written, as the box of a larger one.
struct Part {
  LateTensor tensor;
  Shape full_shape;
  Box box;
};

std::vector<Part> parts_of(const TrainingState& state) {
  std::vector<Part> parts;
  for (const StatePiece& piece : state.pieces) {
    const Tensor values = view::reshape(piece.values.detached(), extents_of(piece.owned));
    parts.push_back({{piece.name, values.dtype(), values.shape(), [values] { return values; }}, piece.full_shape, piece.owned});
  }
  return parts;
}

/// Writes a rank's tensors into one file and describes them; no file if it has none.
Manifest write_parts(const fs::path& folder, int rank, const std::vector<Part>& parts, const ConfigValue& values) {
  const std::string file = concat("part-", padded(rank, 5), ".safetensors");
  Manifest manifest;
  manifest.state = values;
  for (const Part& part : parts) manifest.tensors.push_back({part.tensor.name, part.tensor.dtype, part.full_shape, {{file, part.box}}});
  std::vector<LateTensor> tensors;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    tensors.push_back(parts[i].tensor);
    tensors.back().make = [make = parts[i].tensor.make, &written = manifest.tensors[i].parts.front()] {
      const Tensor tensor = to_device(packed(make()), Device{});
      written.checksum = checksum_of(tensor.bytes(), static_cast<std::size_t>(tensor.num_bytes()));
      return tensor;
    };
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

/// What to do without a damaged checkpoint. Going back to an earlier one is the user's decision: it repeats, or loses, training.
std::string way_on(const fs::path& checkpoint) {
  const auto checkpoints = list_checkpoints(checkpoint.parent_path());
  const auto damaged = std::ranges::find(checkpoints, checkpoint.filename(), [](const auto& info) { return info.path.filename(); });
  const auto earlier =
      std::find_if(std::make_reverse_iterator(damaged), checkpoints.rend(), [](const auto& info) { return info.committed; });
  return concat("remove ", checkpoint.string(),
                earlier == checkpoints.rend() ? " to start anew: there is no earlier one" : " to go on from " + earlier->path.string());
}

/// A converted model's checkpoint does not know which optimiser will read it: its second moments of complex numbers are complex.
bool fits(DType saved, DType wanted) { return saved == wanted || (is_complex(saved) && real_of(saved) == wanted); }

/// The tensors that do not fit.
std::vector<std::string> differences(const CheckpointReader& saved, const std::vector<StatePiece>& pieces) {
  std::vector<std::string> mistakes;
  std::map<std::string, const StatePiece*> wanted;
  for (const StatePiece& piece : pieces) {
    wanted[piece.name] = &piece;
    const ManifestTensor* found = saved.find(piece.name);
    if (found == nullptr) {
      mistakes.push_back(concat("missing: ", piece.name));
    } else if (found->shape != piece.full_shape || !fits(found->dtype, piece.values.dtype())) {
      mistakes.push_back(concat(piece.name, ": saved ", name_of(found->dtype), to_string(found->shape), ", wanted ",
                                name_of(piece.values.dtype()), to_string(piece.full_shape)));
    }
  }
  for (const ManifestTensor& tensor : saved.manifest().tensors) {
    if (!wanted.contains(tensor.name)) mistakes.push_back(concat("surplus: ", tensor.name));
  }
  return mistakes;
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

namespace {

/// What savings that were interrupted left beside the checkpoints: it may be what fills the disk.
void remove_unfinished(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> unfinished;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(concat('.', kPrefix)) && name.ends_with(".tmp")) unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) fs::remove_all(path);
}

/// `write`: writes a rank's file into the temporary folder. What one rank meets ends saving on all.
template <class Write>
fs::path save_with(const fs::path& folder, std::int64_t step, Communicator& ranks, const Write& write) {
  const std::string name = concat(kPrefix, padded(step, 8));
  const fs::path target = folder / name, temporary = folder / ("." + name + ".tmp");
  const bool leads = ranks.rank() == 0;
  const auto agreed = [&](const auto& stage) {
    return run_agreed([&](const std::exception_ptr& met) { agree_on_failure(ranks, met); },
                      [&] { return on_files("save a checkpoint there", stage); });
  };
  const bool is_there = agreed([&] {
    if (!leads) return false;
    if (is_committed(target)) return true;
    fs::remove_all(target);  // without its marker
    remove_unfinished(folder);
    fs::create_directories(temporary);
    return false;
  });
  if (any_of(ranks, is_there)) return target;
  const auto manifests = gather_texts(ranks, agreed([&] { return to_json(write(temporary)); }));
  return agreed([&] {
    if (leads) commit(temporary, target, manifests);
    return target;
  });
}

}  // namespace

fs::path save_checkpoint(const fs::path& folder, std::int64_t step, const TrainingState& part, Communicator& ranks) {
  return save_with(folder, step, ranks,
                   [&](const fs::path& temporary) { return write_parts(temporary, ranks.rank(), parts_of(part), part.values); });
}

fs::path save_checkpoint(const fs::path& folder, std::int64_t step, const TrainingState& state, const Mesh& mesh) {
  return save_checkpoint(folder, step, part_to_save(state, mesh), mesh.world());
}

fs::path save_checkpoint(const fs::path& folder, std::int64_t step, const std::vector<LateTensor>& tensors, const ConfigValue& values) {
  std::vector<Part> parts;
  for (const LateTensor& tensor : tensors) parts.push_back({tensor, tensor.shape, whole_box(tensor.shape)});
  return save_with(folder, step, Mesh().world(), [&](const fs::path& temporary) { return write_parts(temporary, 0, parts, values); });
}

CheckpointReader::CheckpointReader(fs::path checkpoint) : path_(std::move(checkpoint)) {
  if (!is_committed(path_)) {
    throw CheckpointError(
        concat(path_.string(), ": is no committed checkpoint (its marker is missing or does not fit the manifest); ", way_on(path_)));
  }
  manifest_ = parse_manifest(read_text_file(path_ / kManifest), (path_ / kManifest).string());
  for (const ManifestTensor& tensor : manifest_.tensors) index_[tensor.name] = &tensor;
}

const ManifestTensor* CheckpointReader::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second;
}

Tensor CheckpointReader::stored_in(const std::string& file, const std::string& tensor) {
  try {
    return files_.try_emplace(file, path_ / file).first->second.tensor(tensor);
  } catch (const CheckpointError& error) {
    throw CheckpointError(concat("the checkpoint is damaged: ", error.what(), "; ", way_on(path_)));
  }
}

/// After its checksum has been found right.
Tensor CheckpointReader::part_of(const ManifestTensor& tensor, const ManifestPart& part) {
  if (bytes_read_ > kMappedBytes) {
    files_.clear();  // what has been read of a mapped file counts as this process's memory
    bytes_read_ = 0;
  }
  const bool complex = tensor.dtype == DType::c128;
  const Tensor stored = stored_in(part.file, complex ? concat(tensor.name, kComplexEnding) : tensor.name);
  const Tensor values = complex ? complex_from_parts(stored) : stored;
  bytes_read_ += values.num_bytes();
  if (values.dtype() != tensor.dtype || values.shape() != extents_of(part.box) ||
      checksum_of(values.bytes(), static_cast<std::size_t>(values.num_bytes())) != part.checksum) {
    throw CheckpointError(concat((path_ / part.file).string(), ": tensor \"", tensor.name,
                                 "\" is not what was saved (checksum, shape or type): the checkpoint is damaged; ", way_on(path_)));
  }
  return values;
}

void CheckpointReader::read(const ManifestTensor& tensor, const Box& box, const Tensor& values) {
  std::int64_t copied = 0;
  for (const ManifestPart& part : tensor.parts) {
    if (num_elements(intersection(part.box, box)) > 0) copied += copy_overlap(values, box, part_of(tensor, part), part.box);
  }
  if (copied != num_elements(box)) {
    throw CheckpointError(concat(path_.string(), ": the parts of tensor \"", tensor.name, "\" give ", copied, " of ", num_elements(box),
                                 " elements; resume from another checkpoint"));
  }
}

ConfigValue load_checkpoint(const fs::path& checkpoint, const std::vector<StatePiece>& pieces) {
  return on_files("read the checkpoint", [&] {
    CheckpointReader saved(checkpoint);
    if (const auto mistakes = differences(saved, pieces); !mistakes.empty()) {
      throw CheckpointError(
          concat(checkpoint.string(), ": holds another training state:", listed(mistakes), "\nresume with the run file that made it"));
    }
    for (const StatePiece& piece : pieces) {
      if (piece.values.numel() == 0) continue;
      const ManifestTensor& tensor = *saved.find(piece.name);
      const Tensor values = tensor.dtype == piece.values.dtype() ? piece.values.detached() : empty(piece.values.shape(), tensor.dtype);
      saved.read(tensor, piece.owned, values);
      if (tensor.dtype != piece.values.dtype()) copy_into(piece.values.detached(), packed(real(values)));
    }
    return saved.manifest().state;
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
    if (fs::exists(info.path / kMarker)) latest = info.path;
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
    remove_unfinished(folder);
  });
}

}  // namespace trident
