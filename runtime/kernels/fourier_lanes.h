/// What surrounds the products of a Fourier transform: fields side by side in the lanes of vectors, and adding and subtracting mirrored
/// entries.
#pragma once

#include <algorithm>

#include "runtime/kernels/fourier_axis.h"

namespace trident::cpu {

/// Up to a vector's lanes of fields, each of numbers side by side.
template <class T>
struct Fields {
  T* data;
  std::int64_t step;  // from field to field
  std::int64_t count;
};

/// `numbers` of every field to one vector each, a lane for every field; lanes without a field are 0.
template <class T>
inline void to_lanes(std::int64_t numbers, Fields<const T> fields, T* vectors) {
  constexpr int L = kLanes<T>;
  for (std::int64_t first = 0; first < numbers; first += L) {
    const std::int64_t count = std::min<std::int64_t>(L, numbers - first);
    const T* from = fields.data + first;
    Vector<T> square[L];
    if (count == L && fields.count == L) {
#pragma GCC unroll 16
      for (int field = 0; field < L; ++field) square[field] = load(from + field * fields.step);
    } else {
      for (int field = 0; field < L; ++field)
        square[field] = field < fields.count ? load_some(from + field * fields.step, count) : Vector<T>{};
    }
    transpose<T>(square);
    T* to = vectors + first * L;
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
      if (i < count) store(to + i * L, square[i]);
    }
  }
}

/// And back.
template <class T>
inline void from_lanes(std::int64_t numbers, const T* vectors, Fields<T> fields) {
  constexpr int L = kLanes<T>;
  for (std::int64_t first = 0; first < numbers; first += L) {
    const std::int64_t count = std::min<std::int64_t>(L, numbers - first);
    const T* from = vectors + first * L;
    Vector<T> square[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) square[i] = i < count ? load(from + i * L) : Vector<T>{};
    transpose<T>(square);
    T* to = fields.data + first;
    if (count == L && fields.count == L) {
#pragma GCC unroll 16
      for (int field = 0; field < L; ++field) store(to + field * fields.step, square[field]);
    } else {
      for (int field = 0; field < L; ++field) {
        if (field < fields.count) store_some(to + field * fields.step, square[field], count);
      }
    }
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
inline void modes_to_lanes(std::int64_t modes, Fields<const T> rows, T* vectors) {
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
inline void modes_from_lanes(std::int64_t modes, const T* vectors, Fields<T> rows) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t mode = 0; mode < modes; ++mode, vectors += 2 * L) {
    T* to = rows.data + mode * rows.step;
    const Vector<T> re = load(vectors), im = load(vectors + L);
    store_some(to, interleaved<T>(re, im, 0), 2 * rows.count);
    if (2 * rows.count > L) store_some(to + L, interleaved<T>(re, im, 1), 2 * rows.count - L);
  }
}

/// Columns of numbers around an axis: where the first begins, and the steps from one to the next and from entry to entry of the axis.
struct Columns {
  std::int64_t begin = 0, count = 0, next = 0, step = 0;
  std::int64_t at(std::int64_t entry) const { return begin + entry * step; }
};

/// What goes into the products with the cosines and with the sines, or comes out of them: a row for every entry that they have, the columns
/// side by side.
template <class T>
struct Panels {
  Rows<T> cosines, sines;
  T* cosine_row(std::int64_t entry) const { return cosines.data + entry * cosines.step; }
  /// Null for the `even` entries that have no sines.
  T* sine_row(std::int64_t entry, std::int64_t even) const { return entry < even ? nullptr : sines.data + (entry - even) * sines.step; }
};

/// For every pair of entries of columns of V vectors the sum, and where it has sines the difference.
template <int V, class T>
inline void fold(const AxisMatrices<T>& axis, const Columns& columns, const T* x, const Panels<T>& to) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t pair = 0; pair < axis.depth(); ++pair) {
    const auto [plus, minus] = axis.in[static_cast<std::size_t>(pair)];
    const T *a = x + columns.at(plus), *b = minus < 0 ? nullptr : x + columns.at(minus);
    T *sum = to.cosine_row(pair), *difference = to.sine_row(pair, axis.in_even);
    const auto each = [&](auto&& combine) {
      for (std::int64_t column = 0, place = 0; column < columns.count; ++column) {
        for (int v = 0; v < V; ++v, place += L) combine(place, column * columns.next + v * L);
      }
    };
    if (b == nullptr) {
      each([&](std::int64_t place, std::int64_t from) { store(sum + place, load(a + from)); });
      if (difference != nullptr) each([&](std::int64_t place, std::int64_t from) { store(difference + place, load(a + from)); });
    } else if (difference == nullptr) {
      each([&](std::int64_t place, std::int64_t from) { store<T>(sum + place, load(a + from) + load(b + from)); });
    } else {
      each([&](std::int64_t place, std::int64_t from) {
        const Vector<T> first = load(a + from), second = load(b + from);
        store<T>(sum + place, first + second);
        store<T>(difference + place, first - second);
      });
    }
  }
}

/// Of columns of complex numbers the entries a + sign i b and, of pairs, a - sign i b.
template <class T>
inline void unfold_complex(const AxisMatrices<T>& axis, T sign, const Columns& columns, const Panels<T>& from, T* x) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t pair = 0; pair < axis.width(); ++pair) {
    const auto [plus, minus] = axis.out[static_cast<std::size_t>(pair)];
    const T *a = from.cosine_row(pair), *b = from.sine_row(pair, axis.out_even);
    T *first = x + columns.at(plus), *second = minus < 0 ? nullptr : x + columns.at(minus);
    for (std::int64_t column = 0; column < columns.count; ++column) {
      const std::int64_t place = column * 2 * L, target = column * columns.next;
      const Vector<T> re = load(a + place), im = load(a + place + L), b_re = b == nullptr ? Vector<T>{} : sign * load(b + place),
                      b_im = b == nullptr ? Vector<T>{} : sign * load(b + place + L);
      store<T>(first + target, re - b_im);
      store<T>(first + target + L, im + b_re);
      if (second == nullptr) continue;
      store<T>(second + target, re + b_im);
      store<T>(second + target + L, im - b_re);
    }
  }
}

/// The modes a - i b of columns of real numbers.
template <class T>
inline void unfold_modes(const AxisMatrices<T>& axis, const Columns& columns, const Panels<T>& from, T* modes) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t mode = 0; mode < axis.width(); ++mode) {
    T* to = modes + columns.at(axis.out[static_cast<std::size_t>(mode)].plus);
    const T *a = from.cosine_row(mode), *b = from.sine_row(mode, axis.out_even);
    for (std::int64_t column = 0; column < columns.count; ++column) {
      store(to + column * columns.next, load(a + column * L));
      store<T>(to + column * columns.next + L, b == nullptr ? Vector<T>{} : -load(b + column * L));
    }
  }
}

/// Real parts of modes for the cosines, and imaginary ones for the sines.
template <class T>
inline void fold_modes(const AxisMatrices<T>& axis, const Columns& columns, const T* modes, const Panels<T>& to) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t mode = 0; mode < axis.depth(); ++mode) {
    const T* from = modes + columns.at(axis.in[static_cast<std::size_t>(mode)].plus);
    T *re = to.cosine_row(mode), *im = to.sine_row(mode, axis.in_even);
    for (std::int64_t column = 0; column < columns.count; ++column) {
      store(re + column * L, load(from + column * columns.next));
      if (im != nullptr) store(im + column * L, load(from + column * columns.next + L));
    }
  }
}

/// The real numbers a - b and, of pairs, a + b.
template <class T>
inline void unfold_real(const AxisMatrices<T>& axis, const Columns& columns, const Panels<T>& from, T* x) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t pair = 0; pair < axis.width(); ++pair) {
    const auto [plus, minus] = axis.out[static_cast<std::size_t>(pair)];
    const T *a = from.cosine_row(pair), *b = from.sine_row(pair, axis.out_even);
    T *first = x + columns.at(plus), *second = minus < 0 ? nullptr : x + columns.at(minus);
    for (std::int64_t column = 0; column < columns.count; ++column) {
      const Vector<T> even = load(a + column * L), odd = b == nullptr ? Vector<T>{} : load(b + column * L);
      store<T>(first + column * columns.next, even - odd);
      if (second != nullptr) store<T>(second + column * columns.next, even + odd);
    }
  }
}

}  // namespace trident::cpu
