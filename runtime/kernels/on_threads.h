/// Work shared out to threads.
#pragma once

#include <omp.h>

#include <cstdint>

namespace trident {

/// Calls work(thread, threads) on so many threads. One alone does not enter OpenMP, which at the end of each region asks the system to wake
/// the others, even if there are none: a small step has hundreds of regions.
template <class Work>
void on_threads(std::int64_t threads, Work&& work) {
  if (threads <= 1) return work(std::int64_t{0}, std::int64_t{1});
#pragma omp parallel num_threads(static_cast <int>(threads))
  work(std::int64_t{omp_get_thread_num()}, std::int64_t{omp_get_num_threads()});
}

/// Calls work(first, last) on so many threads, which share `count` steps: each takes neighbours.
template <class Work>
void share_out(std::int64_t count, std::int64_t threads, Work&& work) {
  on_threads(threads, [&](std::int64_t thread, std::int64_t of) { work(count * thread / of, count * (thread + 1) / of); });
}

}  // namespace trident
