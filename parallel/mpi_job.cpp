#include "parallel/mpi_job.h"

#include <mpi.h>
#include <sys/prctl.h>
#include <unistd.h>
#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

#include <array>
#include <csignal>
#include <cstdlib>

#include "runtime/error.h"

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

bool needs_pmix() {
#ifdef OPEN_MPI
  return true;
#else
  return false;
#endif
}

void start() {
#ifdef OPEN_MPI
  // Without PUT (flag 2 of the default, 314): over TCP, Open MPI 4.1 now and then loses what it puts, and a message of more than 64 KB
  // between two hosts never ends. Whoever sets it keeps their choice.
  ::setenv("OMPI_MCA_btl_tcp_flags", "312", 0);
#endif
  prctl(PR_SET_TIMERSLACK, 1000);  // ns: naps of microseconds are otherwise stretched by 50
  int given = MPI_THREAD_SINGLE;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &given), "MPI_Init_thread");
  if (given < MPI_THREAD_SERIALIZED) {
    throw CommunicationError("job: this MPI library cannot be called from the communication thread; install one with thread support");
  }
}

void finish() {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized != 0 && finalized == 0) MPI_Finalize();
}

void abort(int code) {
  // A thread that is stuck inside MPI may hold what MPI_Abort needs: the launcher ends the job as well when this process dies.
  std::signal(SIGALRM, SIG_DFL);
  alarm(5);  // seconds
  MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw CommunicationError(concat(call, ": ", text.data(), "; see the other ranks' messages"));
}

}  // namespace trident::mpi
