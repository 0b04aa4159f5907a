/// How the ranks of a host share its cores.
#pragma once

#include "parallel/session.h"

namespace trident {

struct ThreadShare {
  int threads = 1;  // for this rank
  int cores = 1;    // that this rank may run on
  int ranks = 1;    // of this job that may run on some of them
};

/// This rank's share: the cores it may run on, divided by the ranks that may run there too; OMP_NUM_THREADS if it is set. Open MPI binds
/// the ranks of a small job to one core each; unless the user asked for a binding, this is undone first. Collective over the host's ranks;
/// call it before anything computes.
ThreadShare share_cores(const Session& session);

}  // namespace trident
