/// The folder that a run writes, and how a run comes back to it.
#pragma once

#include <filesystem>
#include <optional>

#include "launch/run_config.h"
#include "parallel/mesh.h"

namespace trident {

enum class Start { anew, resume };

struct RunFolder {
  std::filesystem::path root;
  std::filesystem::path model() const { return root / "model"; }  // last weights
  std::filesystem::path best() const { return root / "best"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path log() const { return root / "log"; }
  std::filesystem::path run_file() const { return root / "run.yaml"; }
};

/// The folder is this process's while the lock lives: two jobs that save there would spoil each other's files. Where the file system has no
/// locks, everyone gets one.
class RunLock {
 public:
  /// Makes the folder. Throws ConfigError if another process has it.
  explicit RunLock(const RunFolder& folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int descriptor_ = -1;  // of the log, which is never replaced
};

/// What a run left there: the checkpoint to go on from, if there is one. Touches nothing. Throws ConfigError, on every rank alike, if
/// something is there and the run was not asked to resume. Collective.
std::optional<std::filesystem::path> find_checkpoint(const RunFolder& folder, Start start, const Mesh& mesh);

}  // namespace trident
