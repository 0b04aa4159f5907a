/// Fourier transforms of a whole axis of 16, 32 or 64 points, radix 2, in registers: all modes of so few points take fewer operations than
/// the few that are kept do as a product. The even and the odd points are an axis of half as many each, down to two.
#pragma once

#include <cmath>
#include <numbers>
#include <type_traits>

#include "runtime/kernels/fourier_lanes.h"
#include "runtime/kernels/fourier_product.h"

namespace trident::cpu {

/// A turn by 2 pi k / N: a part plus the tangent's product with the other one, all times the cosine, which joins the next sum.
template <int N, class T>
struct Turn {
  T cosine, tangent;

  explicit Turn(int k) {
    constexpr double kStep = 2.0 * std::numbers::pi / N;
    cosine = static_cast<T>(std::cos(kStep * k)), tangent = static_cast<T>(std::tan(kStep * k));
  }
};

/// a[k] = sum over n of x[n] cos(2 pi k n / N) and b[k] = sum x[n] sin(2 pi k n / N), k from 0 to N/2; b has neither the first nor the
/// last. x[n] lies at kStep n.
template <int N, int kStep, class T>
[[gnu::always_inline]] inline void sums_over_points(const Vector<T>* x, Vector<T>* a, Vector<T>* b) {
  if constexpr (N == 2) {
    a[0] = x[0] + x[kStep], a[1] = x[0] - x[kStep];
  } else {
    Vector<T> even_a[N / 4 + 1], even_b[N / 4 + 1], odd_a[N / 4 + 1], odd_b[N / 4 + 1];
    sums_over_points<N / 2, 2 * kStep, T>(x, even_a, even_b);
    sums_over_points<N / 2, 2 * kStep, T>(x + kStep, odd_a, odd_b);
    a[0] = even_a[0] + odd_a[0], a[N / 2] = even_a[0] - odd_a[0];
    a[N / 4] = even_a[N / 4], b[N / 4] = odd_a[N / 4];
#pragma GCC unroll 64
    for (int k = 1; k < N / 4; ++k) {
      const Turn<N, T> turn(k);
      const Vector<T> turned_a = odd_a[k] - turn.tangent * odd_b[k], turned_b = odd_b[k] + turn.tangent * odd_a[k];
      a[k] = even_a[k] + turn.cosine * turned_a, a[N / 2 - k] = even_a[k] - turn.cosine * turned_a;
      b[k] = turn.cosine * turned_b + even_b[k], b[N / 2 - k] = turn.cosine * turned_b - even_b[k];
    }
  }
}

/// x[n] = sum over k from 0 to N/2 of a[k] cos(2 pi k n / N) + b[k] sin(2 pi k n / N): the same steps, transposed.
template <int N, int kStep, class T>
[[gnu::always_inline]] inline void sums_over_modes(const Vector<T>* a, const Vector<T>* b, Vector<T>* x) {
  if constexpr (N == 2) {
    x[0] = a[0] + a[1], x[kStep] = a[0] - a[1];
  } else {
    Vector<T> even_a[N / 4 + 1], even_b[N / 4 + 1], odd_a[N / 4 + 1], odd_b[N / 4 + 1];
    even_a[0] = a[0] + a[N / 2], odd_a[0] = a[0] - a[N / 2];
    even_a[N / 4] = a[N / 4], odd_a[N / 4] = b[N / 4];
#pragma GCC unroll 64
    for (int k = 1; k < N / 4; ++k) {
      const Turn<N, T> turn(k);
      even_a[k] = a[k] + a[N / 2 - k], even_b[k] = b[k] - b[N / 2 - k];
      const Vector<T> rest_a = a[k] - a[N / 2 - k], rest_b = b[k] + b[N / 2 - k];
      odd_a[k] = turn.cosine * (rest_a + turn.tangent * rest_b);
      odd_b[k] = turn.cosine * (rest_b - turn.tangent * rest_a);
    }
    sums_over_modes<N / 2, 2 * kStep, T>(even_a, even_b, x);
    sums_over_modes<N / 2, 2 * kStep, T>(odd_a, odd_b, x + kStep);
  }
}

/// `rows` of real points of fields, one behind the other; their modes side by side, rows of them `step` apart. Squares of fields and points
/// turn on their way into the transform or out of it: exchanges of lanes and sums take turns, on units of their own.
template <int N, class T>
inline void rows_to_modes(const Radix2<T>& axis, std::int64_t rows, const Fields<const T>& fields, T* modes, std::int64_t step) {
  constexpr int L = kLanes<T>;
  for (std::int64_t row = 0; row < rows; ++row, modes += step) {
    Vector<T> x[N], a[N / 2 + 1], b[N / 2 + 1] = {};
#pragma GCC unroll 64
    for (int first = 0; first < N; first += L) {
      Vector<T> square[L];
      read_square<T>(fields, row * N + first, L, square);
      // Points backwards give an imaginary part its sign.
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) x[(N - first - i) % N] = axis.scale * square[i];
    }
    sums_over_points<N, 1, T>(x, a, b);
    a[0] *= axis.alone, a[N / 2] *= axis.alone;
#pragma GCC unroll 64
    for (int k = 0; k <= N / 2; ++k) {
      if (axis.places[k].plus < 0) continue;
      T* const place = modes + axis.places[k].plus * 2 * L;
      store(place, a[k]);
      store(place + L, b[k]);
    }
  }
}
template <int N, class T>
inline void rows_to_points(const Radix2<T>& axis, std::int64_t rows, const T* modes, std::int64_t step, const Fields<T>& fields, Sum sum) {
  constexpr int L = kLanes<T>;
  for (std::int64_t row = 0; row < rows; ++row, modes += step) {
    Vector<T> x[N], a[N / 2 + 1] = {}, b[N / 2 + 1] = {};
#pragma GCC unroll 64
    for (int k = 0; k <= N / 2; ++k) {
      if (axis.places[k].plus < 0) continue;
      const T* const place = modes + axis.places[k].plus * 2 * L;
      a[k] = axis.scale * load(place);
      b[k] = -axis.scale * load(place + L);
    }
    a[0] *= axis.alone, a[N / 2] *= axis.alone;
    sums_over_modes<N, 1, T>(a, b, x);
#pragma GCC unroll 64
    for (int first = 0; first < N; first += L) {
      Vector<T> square[L];
#pragma GCC unroll 16
      for (int i = 0; i < L; ++i) square[i] = x[first + i];
      write_square<T>(fields, row * N + first, L, sum, square);
    }
  }
}

/// Columns of complex points; a column is read before any of it is written, so that it may stay where it is.
template <int N, class T>
inline void columns_to_modes(const Radix2<T>& axis, std::int64_t count, const Columns<const T>& points, const Columns<T>& modes) {
  for (std::int64_t column = 0; column < count; ++column) {
    const Columns<const T> from = points.from(column);
    const Columns<T> to = modes.from(column);
    Vector<T> x[N], a[2][N / 2 + 1], b[2][N / 2 + 1] = {};  // of real and of imaginary parts
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
#pragma GCC unroll 64
      for (int n = 0; n < N; ++n) x[n] = load(place<Points::complex>(from, n, v));
      sums_over_points<N, 1, T>(x, a[v], b[v]);
    }
#pragma GCC unroll 64
    for (int k = 0; k <= N / 2; ++k) {
      const auto [plus, minus] = axis.places[k];
      if (plus >= 0) {
        store<T>(place<Points::complex>(to, plus, 0), a[0][k] + b[1][k]);
        store<T>(place<Points::complex>(to, plus, 1), a[1][k] - b[0][k]);
      }
      if (minus >= 0) {
        store<T>(place<Points::complex>(to, minus, 0), a[0][k] - b[1][k]);
        store<T>(place<Points::complex>(to, minus, 1), a[1][k] + b[0][k]);
      }
    }
  }
}
template <int N, class T>
inline void columns_to_points(const Radix2<T>& axis, std::int64_t count, const Columns<const T>& modes, const Columns<T>& points) {
  for (std::int64_t column = 0; column < count; ++column) {
    const Columns<const T> from = modes.from(column);
    const Columns<T> to = points.from(column);
    Vector<T> x[N], a[2][N / 2 + 1], b[2][N / 2 + 1];
#pragma GCC unroll 64
    for (int k = 0; k <= N / 2; ++k) {
      const auto part = [&](std::int64_t mode, int v) { return mode < 0 ? Vector<T>{} : load(place<Points::complex>(from, mode, v)); };
      const auto [plus, minus] = axis.places[k];
      a[0][k] = part(plus, 0) + part(minus, 0), b[0][k] = part(minus, 1) - part(plus, 1);
      a[1][k] = part(plus, 1) + part(minus, 1), b[1][k] = part(plus, 0) - part(minus, 0);
    }
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      sums_over_modes<N, 1, T>(a[v], b[v], x);
#pragma GCC unroll 64
      for (int n = 0; n < N; ++n) store(place<Points::complex>(to, n, v), x[n]);
    }
  }
}

/// Calls work(std::integral_constant<int, N>) for the axis's points.
template <class T, class Work>
void with_points(const Radix2<T>& axis, Work&& work) {
  switch (axis.places.size()) {
    case 16 / 2 + 1:
      return work(std::integral_constant<int, 16>{});
    case 32 / 2 + 1:
      return work(std::integral_constant<int, 32>{});
    default:
      return work(std::integral_constant<int, 64>{});
  }
}

}  // namespace trident::cpu
