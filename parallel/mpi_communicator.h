/// Ranks connected by MPI. Private to session.cpp: everyone else holds a Communicator.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace trident::mpi {

/// Whether this MPI library can only be launched through PMIx (Open MPI): an srun that offers an older interface is then no launcher.
bool needs_pmix();
/// Whether messages may lie in a GPU's memory: what the MPI library reports, or what TRIDENT_CUDA_AWARE_MPI (0, 1) says in its place.
bool is_cuda_aware();
void start();
/// Ends MPI if it was started.
void finish();
/// Ends every rank of the job.
[[noreturn]] void abort(int code);
std::unique_ptr<Communicator> world();
std::unique_ptr<Communicator> ranks_of_this_host();

}  // namespace trident::mpi
