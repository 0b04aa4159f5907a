/// Registers of complex numbers as pairs (re, im).
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

/// x with other signs where `signs` has a bit: an exclusive or, which leaves the units that multiply to the products.
template <class T>
[[gnu::always_inline]] inline Vector<T> with_signs(Vector<T> x, Places<T> signs) {
  return reinterpret_cast<Vector<T>>(reinterpret_cast<Places<T>>(x) ^ signs);
}

/// x in even lanes, y in odd ones.
template <class T>
[[gnu::always_inline]] inline Vector<T> alternating(Vector<T> x, Vector<T> y) {
  Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = (lane & 1) == 0 ? lane : kLanes<T> + lane;
  return __builtin_shuffle(x, y, order);
}

/// The parts re of two vectors of pairs, or with kPart = 1 the parts im.
template <int kPart, class T>
[[gnu::always_inline]] inline Vector<T> parts_of_pairs(Vector<T> x, Vector<T> y) {
  Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = 2 * lane + kPart;
  return __builtin_shuffle(x, y, order);
}

/// The part re of every pair in both of its places, or with kPart = 1 the part im, of `count` numbers in memory (a whole vector of them:
/// kWhole). Whole vectors of floats are repeated where they are read, which leaves the units that multiply to the products.
template <int kPart, bool kWhole, class T>
[[gnu::always_inline]] inline Vector<T> part_of_pairs(const T* from, std::int64_t count) {
#ifdef __AVX512F__
  if constexpr (kWhole && sizeof(T) == 4) {
    const auto& pairs = *reinterpret_cast<const T(*)[kLanes<T>]>(from);
    Vector<T> x;
    if constexpr (kPart == 0) {
      asm("vmovsldup %1, %0" : "=v"(x) : "m"(pairs));
    } else {
      asm("vmovshdup %1, %0" : "=v"(x) : "m"(pairs));
    }
    return x;
  }
#endif
  Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = (lane & ~1) + kPart;
  return __builtin_shuffle(load_some(from, kWhole ? kLanes<T> : count), order);
}

/// x y - z in even lanes and x y + z in odd ones, or with kSubtracts = false the other way round.
template <bool kSubtracts, class T>
[[gnu::always_inline]] inline Vector<T> alternating_product(Vector<T> x, Vector<T> y, Vector<T> z) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 4) {
    return kSubtracts ? _mm512_fmaddsub_ps(x, y, z) : _mm512_fmsubadd_ps(x, y, z);
  } else {
    return kSubtracts ? _mm512_fmaddsub_pd(x, y, z) : _mm512_fmsubadd_pd(x, y, z);
  }
#else
  if constexpr (sizeof(T) == 4) {
    return kSubtracts ? _mm256_fmaddsub_ps(x, y, z) : _mm256_fmsubadd_ps(x, y, z);
  } else {
    return kSubtracts ? _mm256_fmaddsub_pd(x, y, z) : _mm256_fmsubadd_pd(x, y, z);
  }
#endif
}

/// The first half of x, or with kHalf = 1 the second one, each number twice.
template <int kHalf, class T>
[[gnu::always_inline]] inline Vector<T> each_twice(Vector<T> x) {
  Places<T> order;
  for (int lane = 0; lane < kLanes<T>; ++lane) order[lane] = (lane + kHalf * kLanes<T>) / 2;
  return __builtin_shuffle(x, order);
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

/// Bits of the signs of even and odd lanes, for with_signs.
template <class T>
[[gnu::always_inline]] inline Places<T> signs_of_pairs(bool even, bool odd) {
  constexpr auto kMinus = std::numeric_limits<typename PlacesOf<T>::Number>::min();
  const auto of_even = even ? kMinus : 0, of_odd = odd ? kMinus : 0;  // outside of the loop, where GCC 12 loses what signs begins as
  Places<T> signs{};
  for (int lane = 0; lane < kLanes<T>; ++lane) signs[lane] = (lane & 1) == 0 ? of_even : of_odd;
  return signs;
}

}  // namespace trident::cpu
