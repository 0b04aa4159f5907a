/// The life of this process in MPI, and what its library can do. Private to session.cpp and mpi_communicator.cpp.
#pragma once

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
/// Throws CommunicationError with MPI's words, unless `code`, which `call` returned, is that of success.
void check(int code, const char* call);

}  // namespace trident::mpi
