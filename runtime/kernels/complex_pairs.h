/// Registers of complex numbers as pairs (re, im).
#pragma once

#include "runtime/kernels/vector.h"

namespace trident::cpu {

/// (re, im) -> (im, re) in every pair.
template <class T>
inline Vector<T> exchanged_pairs(Vector<T> x) {
  Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = lane ^ 1;
  return __builtin_shuffle(x, order);
}

}  // namespace trident::cpu
