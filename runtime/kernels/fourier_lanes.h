/// Fields side by side in the lanes of vectors, as a Fourier transform takes them, and apart again.
#pragma once

#include <algorithm>

#include "runtime/kernels/into.h"
#include "runtime/kernels/vector.h"

namespace trident::cpu {

/// Up to a vector's lanes of fields, each of numbers side by side. Handed over by reference: three words by value go through memory, where
/// they are read in other pieces than they were written in, and wait for all stores before.
template <class T>
struct Fields {
  T* data;
  std::int64_t step;  // from field to field
  std::int64_t count;
};

/// `count` numbers of every field from the first one on, at most a vector's lanes of them, to one vector each.
template <class T>
[[gnu::always_inline]] inline void read_square(const Fields<const T>& fields, std::int64_t first, std::int64_t count,
                                               Vector<T> (&square)[kLanes<T>]) {
  constexpr int L = kLanes<T>;
  const T* from = fields.data + first;
  if (count == L && fields.count == L) {
#pragma GCC unroll 16
    for (int field = 0; field < L; ++field) square[field] = load(from + field * fields.step);
  } else {
    for (int field = 0; field < L; ++field)
      square[field] = field < fields.count ? load_some(from + field * fields.step, count) : Vector<T>{};
  }
  transpose<T>(square);
}

/// And back, where they replace what the fields hold or are added to it.
template <class T>
[[gnu::always_inline]] inline void write_square(const Fields<T>& fields, std::int64_t first, std::int64_t count, Sum sum,
                                                Vector<T> (&square)[kLanes<T>]) {
  constexpr int L = kLanes<T>;
  transpose<T>(square);
  T* to = fields.data + first;
  if (count == L && fields.count == L) {
    if (sum == Sum::adds) {
#pragma GCC unroll 16
      for (int field = 0; field < L; ++field) square[field] += load(to + field * fields.step);
    }
#pragma GCC unroll 16
    for (int field = 0; field < L; ++field) store(to + field * fields.step, square[field]);
  } else {
    for (int field = 0; field < L; ++field) {
      if (field >= fields.count) continue;
      T* const place = to + field * fields.step;
      store_some<T>(place, sum == Sum::adds ? square[field] + load_some(place, count) : square[field], count);
    }
  }
}

/// `numbers` of every field to one vector each, a lane for every field; lanes without a field are 0.
template <class T>
inline void to_lanes(std::int64_t numbers, const Fields<const T>& fields, T* vectors) {
  constexpr int L = kLanes<T>;
  for (std::int64_t first = 0; first < numbers; first += L) {
    const std::int64_t count = std::min<std::int64_t>(L, numbers - first);
    Vector<T> square[L];
    read_square<T>(fields, first, count, square);
    T* to = vectors + first * L;
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
      if (i < count) store(to + i * L, square[i]);
    }
  }
}

/// And back.
template <class T>
inline void from_lanes(std::int64_t numbers, const T* vectors, const Fields<T>& fields, Sum sum = Sum::replaces) {
  constexpr int L = kLanes<T>;
  for (std::int64_t first = 0; first < numbers; first += L) {
    const std::int64_t count = std::min<std::int64_t>(L, numbers - first);
    const T* from = vectors + first * L;
    Vector<T> square[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) square[i] = i < count ? load(from + i * L) : Vector<T>{};
    write_square<T>(fields, first, count, sum, square);
  }
}

/// The real parts of two vectors of pairs, and the imaginary ones; and back.
template <class T>
inline Vector<T> evens(Vector<T> a, Vector<T> b) {
  Places<T> places;
  for (int lane = 0; lane < kLanes<T>; ++lane) places[lane] = 2 * lane;
  return __builtin_shuffle(a, b, places);
}
template <class T>
inline Vector<T> odds(Vector<T> a, Vector<T> b) {
  Places<T> places;
  for (int lane = 0; lane < kLanes<T>; ++lane) places[lane] = 2 * lane + 1;
  return __builtin_shuffle(a, b, places);
}
template <class T>
inline Vector<T> interleaved(Vector<T> re, Vector<T> im, int half) {
  Places<T> places;
  for (int lane = 0; lane < kLanes<T>; ++lane) places[lane] = (lane & 1) * kLanes<T> + lane / 2 + half * kLanes<T> / 2;
  return __builtin_shuffle(re, im, places);
}

/// `modes` rows of complex numbers, one for each field, to a vector of real parts and one of imaginary parts each.
template <class T>
inline void modes_to_lanes(std::int64_t modes, const Fields<const T>& rows, T* vectors) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t mode = 0; mode < modes; ++mode, vectors += 2 * L) {
    const T* from = rows.data + mode * rows.step;
    const Vector<T> a = load_some(from, 2 * rows.count), b = 2 * rows.count > L ? load_some(from + L, 2 * rows.count - L) : Vector<T>{};
    store(vectors, evens<T>(a, b));
    store(vectors + L, odds<T>(a, b));
  }
}

/// And back.
template <class T>
inline void modes_from_lanes(std::int64_t modes, const T* vectors, const Fields<T>& rows) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t mode = 0; mode < modes; ++mode, vectors += 2 * L) {
    T* to = rows.data + mode * rows.step;
    const Vector<T> re = load(vectors), im = load(vectors + L);
    store_some(to, interleaved<T>(re, im, 0), 2 * rows.count);
    if (2 * rows.count > L) store_some(to + L, interleaved<T>(re, im, 1), 2 * rows.count - L);
  }
}

}  // namespace trident::cpu
