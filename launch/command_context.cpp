#include "launch/command_context.h"

#include <algorithm>
#include <thread>

#include "parallel/session.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"

namespace trident {

DType dtype_of_precision(Precision precision) {
  switch (precision) {
    case Precision::f32: return DType::f32;
    case Precision::f64: return DType::f64;
    case Precision::bf16: return DType::bf16;
  }
  return DType::f32;
}

void share_cores(CommandContext& context) {
  const int ranks_here = context.session.host().size();
  const int cores = available_cores();
  const int machine = std::max(cores, static_cast<int>(std::thread::hardware_concurrency()));
  // A launcher that binds ranks has shared the cores out already; without binding every rank sees all of them.
  const bool bound = cores < machine && cores * ranks_here <= machine;
  const int share = bound ? cores : std::max(1, cores / ranks_here);
  const int threads = context.common.threads.value_or(share);
  set_num_threads(threads);
  context.threads = concat(threads, threads == 1 ? " thread" : " threads", ranks_here > 1 ? " a rank" : "");
  if (bound && cores == 1 && machine > ranks_here) {
    context.threads += concat(" (bound to one of ", machine, " cores: mpirun --bind-to none gives the ranks all of them)");
  }
}

}  // namespace trident
