/// FFTW's planner is not thread-safe; executing plans is.
#pragma once

#include <mutex>

namespace trident {

/// Held while plans of this folder are made and destroyed.
inline std::mutex& fftw_planner() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace trident
