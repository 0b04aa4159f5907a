/// Processes that a test starts do not outlive it, also where it is killed at its time limit.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace trident::testing {

/// In a child between fork and exec: SIGTERM to it when the process `parent` ends.
inline void end_with(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);  // it has ended already
}

}  // namespace trident::testing
