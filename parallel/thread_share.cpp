#include "parallel/thread_share.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "parallel/messages.h"
#include "parallel/range.h"
#include "runtime/device/threads.h"

namespace trident {
namespace {

/// Gives this process the cores that mpirun itself may run on.
void undo_default_binding() {
  const bool by_open_mpi = std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr;
  if (!by_open_mpi || std::getenv("OMPI_MCA_hwloc_base_binding_policy") != nullptr) return;
  cpu_set_t cores;
  if (sched_getaffinity(getppid(), sizeof cores, &cores) == 0) sched_setaffinity(0, sizeof cores, &cores);
}

cpu_set_t own_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) CPU_SET(0, &cores);
  return cores;
}

}  // namespace

ThreadShare share_cores(const Session& session) {
  undo_default_binding();
  const cpu_set_t own = own_cores();
  ThreadShare share{.threads = 1, .cores = CPU_COUNT(&own), .ranks = 0};
  int place = 0;  // of this rank among those that share
  const auto masks = gather_texts(session.host(), std::string(reinterpret_cast<const char*>(&own), sizeof own));
  for (std::size_t rank = 0; rank < masks.size(); ++rank) {
    cpu_set_t other, common;
    std::memcpy(&other, masks[rank].data(), sizeof other);
    CPU_AND(&common, &own, &other);
    if (CPU_COUNT(&common) == 0) continue;
    if (static_cast<int>(rank) < session.host().rank()) ++place;
    ++share.ranks;
  }
  share.threads = std::max(1, static_cast<int>(part_of(share.cores, share.ranks, place).size()));
  if (std::getenv("OMP_NUM_THREADS") != nullptr) share.threads = num_threads();
  return share;
}

}  // namespace trident
