#include "launch/trainer/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "checkpoint/atomic_file.h"
#include "checkpoint/sharded_checkpoint.h"
#include "parallel/messages.h"

namespace trident {

RunLock::RunLock(const RunFolder& folder) {
  make_folder(folder.root);
  descriptor_ = ::open(folder.log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0)
    throw DataError(concat(folder.log().string(), ": cannot be opened (", std::strerror(errno), "); make the output writable"));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(descriptor_);
  throw ConfigError(concat("output: another job is writing ", folder.root.string(),
                           "; wait for its end, or choose another output. If none is (a host was lost with its locks), rename ",
                           folder.log().string()));
}

RunLock::~RunLock() { ::close(descriptor_); }

std::optional<std::filesystem::path> find_checkpoint(const RunFolder& folder, Start start, const Mesh& mesh) {
  namespace fs = std::filesystem;
  // Rank 0 looks and tells the others: file systems do not show all ranks the same at the same time.
  const bool first = mesh.world().rank() == 0;
  const bool occupied =
      any_of(mesh.world(), first && fs::exists(folder.root) && !(fs::is_directory(folder.root) && fs::is_empty(folder.root)));
  if (occupied && start == Start::anew) {
    throw ConfigError(
        concat("output: ", folder.root.string(), " exists already; add --resume to go on with that run, or choose another output"));
  }
  const std::optional<fs::path> checkpoint = first && start == Start::resume ? latest_checkpoint(folder.checkpoints()) : std::nullopt;
  const std::string agreed = broadcast_text(mesh.world(), checkpoint ? checkpoint->string() : "", 0);
  return agreed.empty() ? std::nullopt : std::optional<fs::path>(agreed);
}

}  // namespace trident
