/// Ranks connected by MPI. Private to session.cpp: everyone else holds a Communicator.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace trident::mpi {

/// Whether this MPI library can only be launched through PMIx (Open MPI): an srun that offers an older interface is then no launcher.
bool needs_pmix();
void start();
/// Ends MPI if it was started.
void finish();
/// Ends every rank of the job.
[[noreturn]] void abort(int code);
std::unique_ptr<Communicator> world();
std::unique_ptr<Communicator> ranks_of_this_host();

}  // namespace trident::mpi
