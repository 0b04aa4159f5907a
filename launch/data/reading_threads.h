/// Several threads for the samples of a batch.
#pragma once

#include <cstdint>
#include <functional>

namespace trident {

/// Calls work(k) for each k from 0 to count - 1, on so many threads, the calling one among them. Throws what the first k that failed threw,
/// once all have ended. Kernels below have one thread each.
void on_reading_threads(std::int64_t count, int threads, const std::function<void(std::int64_t)>& work);

}  // namespace trident
