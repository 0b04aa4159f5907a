/// What the launcher (mpirun, srun) tells a process through its environment, before MPI is up.
#pragma once

namespace trident {

/// This process among those that the launcher started; alone: 0 of 1.
struct LaunchedProcess {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  // on this machine
};

LaunchedProcess launched_process();

}  // namespace trident
