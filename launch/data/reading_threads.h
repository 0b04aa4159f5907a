/// Samples of a batch read by several threads.
#pragma once

#include <cstdint>
#include <functional>

namespace trident {

/// Calls read(k) for each k from 0 to count - 1, on so many threads, the calling one among them. Throws what the first k that failed threw,
/// once all have ended. Kernels below have one thread each.
void read_on_threads(std::int64_t count, int threads, const std::function<void(std::int64_t)>& read);

}  // namespace trident
