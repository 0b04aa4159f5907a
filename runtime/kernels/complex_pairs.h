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

/// re - im of every pair, as sums_of_pairs.
template <class T>
[[gnu::always_inline]] inline Vector<T> differences_of_pairs(Vector<T> x, Vector<T> y) {
  return alternating<T>(x - exchanged_pairs<T>(x), exchanged_pairs<T>(y) - y);
}

/// Complex products a b by three real ones: of sums of p = re(a) re(b), q = im(a) im(b) and r = (re(a) + im(a)) (re(b) + im(b)) it is
/// (p - q, r - p - q). With re(b) - im(b) in r, conj(a) b is (p + q, p - q - r).
template <class T>
class ThreeProducts {
 public:
  ThreeProducts(bool conjugate_a, bool conjugate_b) {
    const bool inner = conjugate_a != conjugate_b;  // a conj(b) = conj(conj(a) b)
    const Number minus = std::numeric_limits<Number>::min(), outer = conjugate_b ? minus : 0, turned = inner ? 0 : minus;
    of_b_ = Places<T>{} + (inner ? minus : 0);
    r_ = of_b_ ^ outer;
    own_ = pairs_of(0, minus ^ outer);
    other_ = pairs_of(turned, turned ^ outer);
    of_re_ = pairs_of(0, turned);
    of_im_ = pairs_of(turned ^ outer, minus ^ outer);
  }
  /// As sums_of_pairs, but what r needs of b.
  [[gnu::always_inline]] Vector<T> sums_of_b(Vector<T> x, Vector<T> y) const {
    return alternating<T>(x + with_signs<T>(exchanged_pairs<T>(x), of_b_), exchanged_pairs<T>(y) + with_signs<T>(y, of_b_));
  }
  /// The products, as pairs (re, im), where `pairs` holds (p, q), and r is in the odd lanes of `third`.
  [[gnu::always_inline]] Vector<T> products(Vector<T> pairs, Vector<T> third) const {
    const Vector<T> r = alternating<T>(Vector<T>{}, with_signs<T>(third, r_));
    return (with_signs<T>(pairs, own_) + with_signs<T>(exchanged_pairs<T>(pairs), other_)) + r;
  }
  /// Vectors whose lanes add up to a product's parts, where those of `pairs` do to (p, q) and those of `third` to r.
  [[gnu::always_inline]] Vector<T> re(Vector<T> pairs) const { return with_signs<T>(pairs, of_re_); }
  [[gnu::always_inline]] Vector<T> im(Vector<T> pairs, Vector<T> third) const {
    return with_signs<T>(pairs, of_im_) + with_signs<T>(third, r_);
  }

 private:
  using Number = typename PlacesOf<T>::Number;
  static Places<T> pairs_of(Number even, Number odd) {
    Places<T> pairs;
    for (int lane = 0; lane < kLanes<T>; ++lane) pairs[lane] = (lane & 1) == 0 ? even : odd;
    return pairs;
  }
  Places<T> of_b_, r_, own_, other_, of_re_, of_im_;  // bits of signs to turn over
};

}  // namespace trident::cpu
