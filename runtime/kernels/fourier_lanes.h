/// What surrounds the products of a Fourier transform: fields side by side in the lanes of vectors, and adding and subtracting mirrored
/// entries.
#pragma once

#include <vector>

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

/// Some of the columns around an axis of (before, entries, inner) columns, each of V vectors: where they begin, and the step from entry to
/// entry.
struct Columns {
  std::vector<std::int64_t> begins;
  std::int64_t step = 0;

  /// `count` of the columns (before, inner) of `size` numbers from `first` on.
  void place(std::int64_t first, std::int64_t count, std::int64_t entries, std::int64_t inner, std::int64_t size) {
    step = inner * size;
    begins.resize(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      begins[static_cast<std::size_t>(i)] = ((first + i) / inner * entries * inner + (first + i) % inner) * size;
    }
  }
};

/// What goes into the products with the cosines and with the sines, or comes out of them: a row for every entry that they have.
template <class T>
struct Panels {
  Rows<T> cosines, sines;
};

/// For every pair of entries the sum, and where it has sines the difference, the columns side by side.
template <int V, class T>
inline void fold(const AxisMatrices<T>& axis, const Columns& columns, const T* x, const Panels<T>& to) {
  for (std::int64_t pair = 0; pair < axis.depth(); ++pair) {
    const auto [plus, minus] = axis.in[static_cast<std::size_t>(pair)];
    T* sum = to.cosines.data + pair * to.cosines.step;
    T* difference = pair < axis.in_even ? nullptr : to.sines.data + (pair - axis.in_even) * to.sines.step;
    for (const std::int64_t begin : columns.begins) {
      for (int v = 0; v < V; ++v, sum += kLanes<T>) {
        const Vector<T> a = load(x + begin + plus * columns.step + v * kLanes<T>),
                        b = minus < 0 ? Vector<T>{} : load(x + begin + minus * columns.step + v * kLanes<T>);
        store<T>(sum, a + b);
        if (difference == nullptr) continue;
        store<T>(difference, a - b);
        difference += kLanes<T>;
      }
    }
  }
}

/// Of columns of complex numbers the entries a + sign i b and, of pairs, a - sign i b.
template <class T>
inline void unfold_complex(const AxisMatrices<T>& axis, T sign, const Columns& columns, const Panels<T>& from, T* x) {
  constexpr int L = kLanes<T>;
  for (std::int64_t pair = 0; pair < axis.width(); ++pair) {
    const auto [plus, minus] = axis.out[static_cast<std::size_t>(pair)];
    const T* a = from.cosines.data + pair * from.cosines.step;
    const T* b = pair < axis.out_even ? nullptr : from.sines.data + (pair - axis.out_even) * from.sines.step;
    for (const std::int64_t begin : columns.begins) {
      const Vector<T> re = load(a), im = load(a + L), b_re = b == nullptr ? Vector<T>{} : sign * load(b),
                      b_im = b == nullptr ? Vector<T>{} : sign * load(b + L);
      T* entry = x + begin + plus * columns.step;
      store<T>(entry, re - b_im);
      store<T>(entry + L, im + b_re);
      if (minus >= 0) {
        entry = x + begin + minus * columns.step;
        store<T>(entry, re + b_im);
        store<T>(entry + L, im - b_re);
      }
      a += 2 * L;
      if (b != nullptr) b += 2 * L;
    }
  }
}

/// The modes a - i b of columns of real numbers.
template <class T>
inline void unfold_modes(const AxisMatrices<T>& axis, const Columns& columns, const Panels<T>& from, T* modes) {
  constexpr int L = kLanes<T>;
  for (std::int64_t mode = 0; mode < axis.width(); ++mode) {
    const std::int64_t place = axis.out[static_cast<std::size_t>(mode)].plus;
    const T* a = from.cosines.data + mode * from.cosines.step;
    const T* b = mode < axis.out_even ? nullptr : from.sines.data + (mode - axis.out_even) * from.sines.step;
    for (std::size_t column = 0; column < columns.begins.size(); ++column) {
      T* entry = modes + columns.begins[column] + place * columns.step;
      store(entry, load(a + static_cast<std::int64_t>(column) * L));
      store<T>(entry + L, b == nullptr ? Vector<T>{} : -load(b + static_cast<std::int64_t>(column) * L));
    }
  }
}

/// Real parts of modes for the cosines, and imaginary ones for the sines.
template <class T>
inline void fold_modes(const AxisMatrices<T>& axis, const Columns& columns, const T* modes, const Panels<T>& to) {
  constexpr int L = kLanes<T>;
  for (std::int64_t mode = 0; mode < axis.depth(); ++mode) {
    const std::int64_t place = axis.in[static_cast<std::size_t>(mode)].plus;
    T* re = to.cosines.data + mode * to.cosines.step;
    T* im = mode < axis.in_even ? nullptr : to.sines.data + (mode - axis.in_even) * to.sines.step;
    for (std::size_t column = 0; column < columns.begins.size(); ++column) {
      const T* entry = modes + columns.begins[column] + place * columns.step;
      store(re + static_cast<std::int64_t>(column) * L, load(entry));
      if (im != nullptr) store(im + static_cast<std::int64_t>(column) * L, load(entry + L));
    }
  }
}

/// The real numbers a - b and, of pairs, a + b.
template <class T>
inline void unfold_real(const AxisMatrices<T>& axis, const Columns& columns, const Panels<T>& from, T* x) {
  constexpr int L = kLanes<T>;
  for (std::int64_t pair = 0; pair < axis.width(); ++pair) {
    const auto [plus, minus] = axis.out[static_cast<std::size_t>(pair)];
    const T* a = from.cosines.data + pair * from.cosines.step;
    const T* b = pair < axis.out_even ? nullptr : from.sines.data + (pair - axis.out_even) * from.sines.step;
    for (const std::int64_t begin : columns.begins) {
      const Vector<T> even = load(a), odd = b == nullptr ? Vector<T>{} : load(b);
      store<T>(x + begin + plus * columns.step, even - odd);
      if (minus >= 0) store<T>(x + begin + minus * columns.step, even + odd);
      a += L;
      if (b != nullptr) b += L;
    }
  }
}

}  // namespace trident::cpu
