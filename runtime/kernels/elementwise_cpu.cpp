#include <algorithm>
#include <cmath>
#include <complex>

#include "runtime/kernels/activation.h"
#include "runtime/kernels/elementwise.h"
#include "runtime/kernels/on_threads.h"
#include "runtime/kernels/strided_loop.h"

namespace trident {
namespace {

/// y = f(a, b). Steps of 0 and 1 get loops of their own: they are the ones that vectorise.
template <class T, class F>
void apply_pair(const BroadcastPair& pair, const T* a, const T* b, T* y, F f) {
  const StridedLoop<3> loop{pair.shape, {contiguous_strides(pair.shape), pair.a_strides, pair.b_strides}};
  for_each_run(loop, [=](auto offsets, std::int64_t length, auto steps) {
    T* out = y + offsets[0];
    const T *left = a + offsets[1], *right = b + offsets[2];
    const auto [out_step, a_step, b_step] = steps;
    if (a_step == 1 && b_step == 1) {
#pragma omp simd
      for (std::int64_t i = 0; i < length; ++i) out[i] = f(left[i], right[i]);
    } else if (a_step == 1 && b_step == 0) {
      const T number = *right;
#pragma omp simd
      for (std::int64_t i = 0; i < length; ++i) out[i] = f(left[i], number);
    } else if (a_step == 0 && b_step == 1) {
      const T number = *left;
#pragma omp simd
      for (std::int64_t i = 0; i < length; ++i) out[i] = f(number, right[i]);
    } else {
      for (std::int64_t i = 0; i < length; ++i) out[i] = f(left[i * a_step], right[i * b_step]);
    }
  });
}

template <class T>
T product(T left, T right) {
  return left * right;
}
/// Without C's detour for infinite parts, which costs more than the product.
template <class T>
std::complex<T> product(std::complex<T> left, std::complex<T> right) {
  return {left.real() * right.real() - left.imag() * right.imag(), left.real() * right.imag() + left.imag() * right.real()};
}

template <class T, class F>
void apply(std::int64_t count, const T* x, T* y, F f) {
  share_out(count, count > kGrain ? omp_get_max_threads() : 1, [=](std::int64_t first, std::int64_t last) {
#pragma omp simd
    for (std::int64_t i = first; i < last; ++i) y[i] = f(x[i]);
  });
}

template <class T, class F>
void apply_gradient(std::int64_t count, const T* saved, const T* dy, T* dx, F slope) {
  share_out(count, count > kGrain ? omp_get_max_threads() : 1, [=](std::int64_t first, std::int64_t last) {
#pragma omp simd
    for (std::int64_t i = first; i < last; ++i) dx[i] = dy[i] * slope(saved[i]);
  });
}

}  // namespace

template <class T>
void binary(Cpu, Binary kind, const BroadcastPair& pair, const T* a, const T* b, T* y) {
  switch (kind) {
    case Binary::add:
      return apply_pair(pair, a, b, y, [](T left, T right) { return left + right; });
    case Binary::subtract:
      return apply_pair(pair, a, b, y, [](T left, T right) { return left - right; });
    case Binary::multiply:
      return apply_pair(pair, a, b, y, [](T left, T right) { return product(left, right); });
    case Binary::divide:
      return apply_pair(pair, a, b, y, [](T left, T right) { return left / right; });
  }
}

template <class T>
void select(Cpu, const BroadcastPair& pair, const Shape& mask_strides, const bool* mask, const T* a, const T* b, T* y) {
  const StridedLoop<4> loop{pair.shape, {contiguous_strides(pair.shape), mask_strides, pair.a_strides, pair.b_strides}};
  for_each_run(loop, [=](auto offsets, std::int64_t length, auto steps) {
    T* out = y + offsets[0];
    const bool* choose = mask + offsets[1];
    const T *left = a + offsets[2], *right = b + offsets[3];
    const auto [out_step, mask_step, a_step, b_step] = steps;
    for (std::int64_t i = 0; i < length; ++i) out[i] = choose[i * mask_step] ? left[i * a_step] : right[i * b_step];
  });
}

template <class T>
void unary(Cpu, UnaryMap map, std::int64_t count, const T* x, T* y) {
  const T a = static_cast<T>(map.a), b = static_cast<T>(map.b);
  switch (map.kind) {
    case Unary::affine:
      return apply(count, x, y, [=](T v) { return a * v + b; });
    case Unary::relu:
      return apply(count, x, y, [](T v) { return v < T(0) ? T(0) : v; });
    case Unary::gelu:
      return apply(count, x, y, [](T v) { return gelu(v); });
    case Unary::sigmoid:
      return apply(count, x, y, [](T v) { return sigmoid(v); });
    case Unary::exponential:
      return apply(count, x, y, [](T v) { return fast_exp(v); });
    case Unary::minimum:
      return apply(count, x, y, [=](T v) { return v > a ? a : v; });
    case Unary::tanh:
      return apply(count, x, y, [](T v) { return std::tanh(v); });
    case Unary::silu:
      return apply(count, x, y, [](T v) { return v * sigmoid(v); });
    case Unary::elu:
      return apply(count, x, y, [=](T v) { return v > T(0) ? b * v : b * a * std::expm1(v); });
    case Unary::leaky_relu:
      return apply(count, x, y, [=](T v) { return v > T(0) ? v : a * v; });
    case Unary::softplus:
      return apply(count, x, y, [](T v) { return std::max(v, T(0)) + std::log1p(fast_exp(-std::abs(v))); });
    case Unary::power:
      return apply(count, x, y, [=](T v) { return std::pow(v, a); });
  }
}

template <class T>
void unary_gradient(Cpu, UnaryMap map, std::int64_t count, const T* saved, const T* dy, T* dx) {
  const T a = static_cast<T>(map.a), b = static_cast<T>(map.b);
  switch (map.kind) {
    case Unary::affine:
      return apply_gradient(count, saved, dy, dx, [=](T) { return a; });
    case Unary::relu:
      return apply_gradient(count, saved, dy, dx, [](T x) { return x > T(0) ? T(1) : T(0); });
    case Unary::gelu:
      return apply_gradient(count, saved, dy, dx, [](T x) { return gelu_gradient(x); });
    case Unary::sigmoid:
      return apply_gradient(count, saved, dy, dx, [](T y) { return y * (T(1) - y); });
    case Unary::exponential:
      return apply_gradient(count, saved, dy, dx, [](T y) { return y; });
    case Unary::minimum:
      return apply_gradient(count, saved, dy, dx, [=](T x) { return x > a ? T(0) : T(1); });
    case Unary::tanh:
      return apply_gradient(count, saved, dy, dx, [](T y) { return T(1) - y * y; });
    case Unary::silu:
      return apply_gradient(count, saved, dy, dx, [](T x) { return sigmoid(x) * (T(1) + x * sigmoid(-x)); });
    case Unary::elu:
      return apply_gradient(count, saved, dy, dx, [=](T x) { return x > T(0) ? b : b * a * fast_exp(x); });
    case Unary::leaky_relu:
      return apply_gradient(count, saved, dy, dx, [=](T x) { return x > T(0) ? T(1) : a; });
    case Unary::softplus:
      return apply_gradient(count, saved, dy, dx, [](T x) { return sigmoid(x); });
    case Unary::power:
      return apply_gradient(count, saved, dy, dx, [=](T x) { return x == T(0) ? T(0) : a * std::pow(x, a - T(1)); });
  }
}

#define TRIDENT_ELEMENTWISE(T)                                                                        \
  template void binary(Cpu, Binary, const BroadcastPair&, const T*, const T*, T*);                    \
  template void select(Cpu, const BroadcastPair&, const Shape&, const bool*, const T*, const T*, T*); \
  template void unary(Cpu, UnaryMap, std::int64_t, const T*, T*);                                     \
  template void unary_gradient(Cpu, UnaryMap, std::int64_t, const T*, const T*, T*);
TRIDENT_ELEMENTWISE(float)
TRIDENT_ELEMENTWISE(double)
template void binary(Cpu, Binary, const BroadcastPair&, const c64*, const c64*, c64*);
template void binary(Cpu, Binary, const BroadcastPair&, const c128*, const c128*, c128*);

}  // namespace trident
