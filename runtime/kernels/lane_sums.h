/// The sums of the lanes of several vectors at once.
#pragma once

#include "runtime/kernels/vector.h"

namespace trident::cpu {

/// Lane i: the sum of the lanes of x[i % kCount]. kCount: a power of two, at most kLanes. Overwrites x. With every step half of the lanes
/// are free for another vector, so that many cost hardly more than one.
template <int kCount, class T, int kHalf = kLanes<T> / 2>
inline Vector<T> sums_of_lanes(Vector<T>* x) {
  if constexpr (kHalf == 0) {
    return x[0];
  } else {
    constexpr int L = kLanes<T>, kLeft = kHalf < kCount ? kHalf : kCount;
    Places<T> here, there;  // of x[i] in lanes without the bit kHalf, of the vector that joins it in the others
    for (int lane = 0; lane < L; ++lane) {
      const int joined = (lane & kHalf) != 0 && kHalf < kCount ? L : 0;
      here[lane] = lane + joined;
      there[lane] = (lane ^ kHalf) + joined;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLeft; ++i) {
      const Vector<T> a = x[i], b = x[kHalf < kCount ? i + kHalf : i];
      x[i] = __builtin_shuffle(a, b, here) + __builtin_shuffle(a, b, there);
    }
    return sums_of_lanes<kLeft, T, kHalf / 2>(x);
  }
}

}  // namespace trident::cpu
