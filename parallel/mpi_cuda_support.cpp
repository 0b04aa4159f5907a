#include <mpi.h>
#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

#include <cstdlib>

#include "parallel/mpi_communicator.h"

namespace trident::mpi {
namespace {

/// What the MPI library that runs says of itself: headers may be another build's. Open MPI and MVAPICH declare the question in mpi-ext.h
/// beside the first macro, MPICH in mpi.h beside the second.
bool reports_cuda() {
#if defined(MPIX_CUDA_AWARE_SUPPORT) || defined(MPIX_GPU_SUPPORT_CUDA)
  return MPIX_Query_cuda_support() == 1;
#else
  return false;
#endif
}

/// Open MPI tells only what it was built with; `mpirun --mca opal_cuda_support 0` turns it off nevertheless. True where there is no such
/// parameter.
bool is_turned_on() {
  int level = 0, index = 0, count = 0, value = 1;
  if (MPI_T_init_thread(MPI_THREAD_MULTIPLE, &level) != MPI_SUCCESS) return true;
  MPI_T_cvar_handle handle = MPI_T_CVAR_HANDLE_NULL;
  if (MPI_T_cvar_get_index("opal_cuda_support", &index) == MPI_SUCCESS &&
      MPI_T_cvar_handle_alloc(index, nullptr, &handle, &count) == MPI_SUCCESS) {
    MPI_T_cvar_read(handle, &value);
    MPI_T_cvar_handle_free(&handle);
  }
  MPI_T_finalize();
  return value != 0;
}

}  // namespace

bool is_cuda_aware() {
  const char* wanted = std::getenv("TRIDENT_CUDA_AWARE_MPI");
  if (wanted != nullptr) return std::atoi(wanted) != 0;
  return reports_cuda() && is_turned_on();
}

}  // namespace trident::mpi
