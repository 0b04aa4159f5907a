#include "runtime/device/threads.h"

#include <omp.h>
#include <sched.h>

#include "runtime/error.h"

namespace trident {

int num_threads() { return omp_get_max_threads(); }

void set_num_threads(int threads) {
  if (threads < 1) throw ConfigError(concat("threads: got ", threads, "; at least 1 is needed"));
  omp_set_num_threads(threads);
}

int available_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  return CPU_COUNT(&cores);
}

}  // namespace trident
