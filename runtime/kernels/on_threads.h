/// Work shared out to threads.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace trident {

/// Steps in pieces, of which each thread takes the next when it is done with one.
struct Pieces {
  std::int64_t steps, count;
  std::atomic<std::int64_t> next = 0;
};

/// What one thread does. In one copy, as a second one might round otherwise: compilers join products with sums as they see fit.
template <class Prepare>
[[gnu::noinline]] void take_pieces(Pieces& pieces, Prepare&& prepare) {
  auto work = prepare();
  for (std::int64_t piece; (piece = pieces.next.fetch_add(1, std::memory_order_relaxed)) < pieces.count;)
    work(pieces.steps * piece / pieces.count, pieces.steps * (piece + 1) / pieces.count);
}

/// Threads share `count` steps: each calls prepare() and what that returned, as work(first, last), for neighbours again and again. None
/// waits long for a thread that is slower or was held up; which steps it gets is not known.
template <class Prepare>
void share_out_prepared(std::int64_t count, std::int64_t threads, Prepare&& prepare) {
  constexpr std::int64_t kPieces = 16;  // of each thread
  Pieces pieces{.steps = count, .count = threads <= 1 ? 1 : std::min(kPieces * threads, count)};
  // One alone does not enter OpenMP, which at the end of each region asks the system to wake the others, even if there are none: a small
  // step has hundreds of regions.
  if (threads <= 1) return take_pieces(pieces, prepare);
#pragma omp parallel num_threads(static_cast <int>(threads))
  take_pieces(pieces, prepare);
}

/// The same where threads have nothing to prepare.
template <class Work>
void share_out(std::int64_t count, std::int64_t threads, Work&& work) {
  share_out_prepared(count, threads, [&] { return [&](std::int64_t first, std::int64_t last) { work(first, last); }; });
}

}  // namespace trident
