/// Registers of complex numbers as pairs (re, im), and products of them by three real ones.
#pragma once

#include <immintrin.h>

#include <limits>

#include "runtime/kernels/vector.h"

namespace trident::cpu {

/// (re, im) -> (im, re) in every pair.
template <class T>
[[gnu::always_inline]] inline Vector<T> exchanged_pairs(Vector<T> x) {
  Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = lane ^ 1;
  return __builtin_shuffle(x, order);
}

/// x in even lanes, y in odd ones.
template <class T>
[[gnu::always_inline]] inline Vector<T> alternating(Vector<T> x, Vector<T> y) {
  Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = (lane & 1) == 0 ? lane : kLanes<T> + lane;
  return __builtin_shuffle(x, y, order);
}

/// The pair at `from` in every pair.
template <class T>
[[gnu::always_inline]] inline Vector<T> broadcast_pair(const T* from) {
  if constexpr (sizeof(T) == 4) {
    std::int64_t pair;
    std::memcpy(&pair, from, sizeof pair);
    return reinterpret_cast<Vector<T>>(pair + Places<double>{});
  } else {
    const __m128d pair = _mm_loadu_pd(from);
#ifdef __AVX512F__
    return _mm512_castps_pd(_mm512_maskz_broadcast_f32x4(0xFFFF, _mm_castpd_ps(pair)));
#else
    return _mm256_set_m128d(pair, pair);
#endif
  }
}

/// re + im of every pair: x's in even lanes, y's in odd ones.
template <class T>
[[gnu::always_inline]] inline Vector<T> sums_of_pairs(Vector<T> x, Vector<T> y) {
  return alternating<T>(x + exchanged_pairs<T>(x), exchanged_pairs<T>(y) + y);
}
/// re - im of every pair, as sums_of_pairs.
template <class T>
[[gnu::always_inline]] inline Vector<T> differences_of_pairs(Vector<T> x, Vector<T> y) {
  return alternating<T>(x - exchanged_pairs<T>(x), exchanged_pairs<T>(y) - y);
}

/// From p = re(a) re(b), q = im(a) im(b) and r = (re(a) + im(a)) (re(b) + im(b)), or sums of them, comes a b: (p - q, r - p - q). Where r
/// is (re(a) - im(a)) (re(b) + im(b)) it is conj(a) b: (p + q, r - p + q).
template <class T>
class FromThree {
 public:
  FromThree(bool conjugate_a, bool conjugate_result) {
    const Number minus = std::numeric_limits<Number>::min(), turned = conjugate_a ? 0 : minus, outer = conjugate_result ? minus : 0;
    for (int lane = 0; lane < kLanes<T>; ++lane) {
      const bool odd = (lane & 1) != 0;
      own_[lane] = odd ? turned ^ outer : 0;
      other_[lane] = odd ? minus ^ outer : turned;
      third_[lane] = outer;
      odd_[lane] = odd ? -1 : 0;
    }
  }
  /// The pairs (re, im) where `pairs` holds (p, q), and r is in the odd lanes of `third`.
  [[gnu::always_inline]] Vector<T> operator()(Vector<T> pairs, Vector<T> third) const {
    const Vector<T> others = exchanged_pairs<T>(pairs);
    return (numbers(bits(pairs) ^ own_) + numbers(bits(others) ^ other_)) + numbers((bits(third) ^ third_) & odd_);
  }

 private:
  using Number = typename PlacesOf<T>::Number;
  static Places<T> bits(Vector<T> x) { return reinterpret_cast<Places<T>>(x); }
  static Vector<T> numbers(Places<T> x) { return reinterpret_cast<Vector<T>>(x); }
  Places<T> own_, other_, third_, odd_;  // signs to turn over, and lanes to keep
};

}  // namespace trident::cpu
