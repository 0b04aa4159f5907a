#include <numbers>

#include "runtime/kernels/cuda/strided_index.h"
#include "runtime/kernels/elementwise.h"

namespace trident {
namespace {

constexpr int kThreads = 256;

template <class T>
struct InDevice {
  using Type = T;
};
template <class T>
struct InDevice<std::complex<T>> {
  using Type = cuda::Complex<T>;
};
template <class T>
using DeviceNumber = typename InDevice<T>::Type;

// ---- pairs ----

template <class T>
__device__ __forceinline__ T combine(Binary kind, T a, T b) {
  switch (kind) {
    case Binary::add:
      return a + b;
    case Binary::subtract:
      return a - b;
    case Binary::multiply:
      return a * b;
    default:
      return a / b;
  }
}
template <class T>
__device__ __forceinline__ cuda::Complex<T> combine(Binary kind, cuda::Complex<T> a, cuda::Complex<T> b) {
  if (kind != Binary::divide) return kind == Binary::add ? a + b : kind == Binary::subtract ? a - b : a * b;
  // Smith's way: the squares of large or small parts would leave the range.
  const bool real_is_larger = fabs(b.re) >= fabs(b.im);
  const T ratio = real_is_larger ? b.im / b.re : b.re / b.im, scale = T(1) / (real_is_larger ? b.re + b.im * ratio : b.re * ratio + b.im);
  return real_is_larger ? cuda::Complex<T>{(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale}
                        : cuda::Complex<T>{(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}
__device__ __forceinline__ bf16 combine(Binary kind, bf16 a, bf16 b) {
  return cuda::stored<bf16>(combine(kind, cuda::compute(a), cuda::compute(b)));
}

/// Width neighbours of an operand that is read along the innermost dimension, or one number that repeats there.
template <int Width, class T>
__device__ __forceinline__ cuda::Vector<T, Width> operand(const T* from, bool repeats) {
  if (!repeats) return cuda::load<Width>(from);
  cuda::Vector<T, Width> values;
  const T value = *from;
#pragma unroll
  for (int k = 0; k < Width; ++k) values[k] = value;
  return values;
}

template <int Width, class T>
__global__ void __launch_bounds__(kThreads)
    binary_kernel(Binary kind, unsigned count, cuda::StridedIndex<3> index, bool a_repeats, bool b_repeats, const T* a, const T* b, T* y) {
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) {
    std::int64_t at[3];
    index.offsets(static_cast<unsigned>(i), at);
    const auto left = operand<Width>(a + at[1], a_repeats), right = operand<Width>(b + at[2], b_repeats);
    cuda::Vector<T, Width> result;
#pragma unroll
    for (int k = 0; k < Width; ++k) result[k] = combine(kind, left[k], right[k]);
    cuda::store<Width>(y + at[0], result);
  }
}

/// One thread for every `Width` neighbours: the innermost extent in vectors, its strides over them in elements.
template <int Width, class T>
void launch_binary(Cuda cuda, Binary kind, StridedLoop<3> whole, const T* a, const T* b, T* y) {
  const int inner = whole.shape.rank() - 1;
  const bool a_repeats = Width > 1 && whole.strides[1][inner] == 0, b_repeats = Width > 1 && whole.strides[2][inner] == 0;
  whole.shape[inner] /= Width;
  for (Shape& strides : whole.strides) strides[inner] *= Width;
  cuda::for_each_piece(whole, [&](const StridedLoop<3>& loop, std::array<std::int64_t, 3> at) {
    const std::int64_t count = numel(loop.shape);
    cuda::launch_kernel(binary_kernel<Width, T>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, kind, static_cast<unsigned>(count),
                        cuda::StridedIndex<3>(merged<3>(loop)), a_repeats, b_repeats, a + at[1], b + at[2], y + at[0]);
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    select_kernel(unsigned count, cuda::StridedIndex<4> index, const bool* mask, const T* a, const T* b, T* y) {
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) {
    std::int64_t at[4];
    index.offsets(static_cast<unsigned>(i), at);
    y[at[0]] = mask[at[1]] ? a[at[2]] : b[at[3]];
  }
}

// ---- functions of one number ----

template <class C>
__device__ __forceinline__ C logistic(C x) {
  return C(1) / (C(1) + exp(-x));
}
__device__ __forceinline__ float distribution(float x) { return 0.5F + 0.5F * erff(x * 0.70710678F); }
__device__ __forceinline__ double distribution(double x) { return normcdf(x); }

/// Calls loop(f) with the function: the choice is made once for a thread, not for every number.
template <class C, class Loop>
__device__ __forceinline__ void with_function(const UnaryMap& map, Loop loop) {
  const C a = static_cast<C>(map.a), b = static_cast<C>(map.b);
  switch (map.kind) {
    case Unary::affine:
      return loop([=](C v) { return a * v + b; });
    case Unary::relu:
      return loop([](C v) { return v < C(0) ? C(0) : v; });
    case Unary::gelu:
      return loop([](C v) { return v * distribution(v); });
    case Unary::sigmoid:
      return loop([](C v) { return logistic(v); });
    case Unary::exponential:
      return loop([](C v) { return exp(v); });
    case Unary::minimum:
      return loop([=](C v) { return v > a ? a : v; });
    case Unary::tanh:
      return loop([](C v) { return tanh(v); });
    case Unary::silu:
      return loop([](C v) { return v * logistic(v); });
    case Unary::elu:
      return loop([=](C v) { return v > C(0) ? b * v : b * a * expm1(v); });
    case Unary::leaky_relu:
      return loop([=](C v) { return v > C(0) ? v : a * v; });
    case Unary::softplus:
      return loop([](C v) { return (v > C(0) ? v : C(0)) + log1p(exp(-fabs(v))); });
    case Unary::power:
      return loop([=](C v) { return pow(v, a); });
  }
}

/// The same with the derivative; of sigmoid, exponential and tanh as a function of their value.
template <class C, class Loop>
__device__ __forceinline__ void with_slope(const UnaryMap& map, Loop loop) {
  const C a = static_cast<C>(map.a), b = static_cast<C>(map.b);
  constexpr C kDensityAtZero = std::numbers::inv_sqrtpi_v<C> / std::numbers::sqrt2_v<C>;
  switch (map.kind) {
    case Unary::affine:
      return loop([=](C) { return a; });
    case Unary::relu:
      return loop([](C x) { return x > C(0) ? C(1) : C(0); });
    case Unary::gelu:
      return loop([=](C x) { return distribution(x) + x * (kDensityAtZero * exp(C(-0.5) * x * x)); });
    case Unary::sigmoid:
      return loop([](C y) { return y * (C(1) - y); });
    case Unary::exponential:
      return loop([](C y) { return y; });
    case Unary::minimum:
      return loop([=](C x) { return x > a ? C(0) : C(1); });
    case Unary::tanh:
      return loop([](C y) { return C(1) - y * y; });
    case Unary::silu:
      return loop([](C x) { return logistic(x) * (C(1) + x * logistic(-x)); });
    case Unary::elu:
      return loop([=](C x) { return x > C(0) ? b : b * a * exp(x); });
    case Unary::leaky_relu:
      return loop([=](C x) { return x > C(0) ? C(1) : a; });
    case Unary::softplus:
      return loop([](C x) { return logistic(x); });
    case Unary::power:
      return loop([=](C x) { return x == C(0) ? C(0) : a * pow(x, a - C(1)); });
  }
}

/// Calls whole(i) for vectors of Width elements and single(i) for the elements behind the last one; for single ones alone where `aligned`
/// is false.
template <int Width, class Whole, class Single>
__device__ __forceinline__ void in_vectors(std::int64_t count, bool aligned, Whole whole, Single single) {
  const std::int64_t vectors = aligned ? count / Width : 0;
  for (std::int64_t i = cuda::grid_thread(); i < vectors; i += cuda::grid_threads()) whole(i * Width);
  for (std::int64_t i = vectors * Width + cuda::grid_thread(); i < count; i += cuda::grid_threads()) single(i);
}

template <class T>
__global__ void __launch_bounds__(kThreads) unary_kernel(UnaryMap map, std::int64_t count, bool aligned, const T* x, T* y) {
  constexpr int kWidth = cuda::kVectorWidth<T>;
  with_function<cuda::Compute<T>>(map, [=](auto f) {
    const auto single = [=](std::int64_t i) { y[i] = cuda::stored<T>(f(cuda::compute(x[i]))); };
    in_vectors<kWidth>(
        count, aligned,
        [=](std::int64_t i) {
          auto values = cuda::load<kWidth>(x + i);
#pragma unroll
          for (int k = 0; k < kWidth; ++k) values[k] = cuda::stored<T>(f(cuda::compute(values[k])));
          cuda::store<kWidth>(y + i, values);
        },
        single);
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    unary_gradient_kernel(UnaryMap map, std::int64_t count, bool aligned, const T* saved, const T* dy, T* dx) {
  constexpr int kWidth = cuda::kVectorWidth<T>;
  with_slope<cuda::Compute<T>>(map, [=](auto slope) {
    const auto single = [=](std::int64_t i) { dx[i] = cuda::stored<T>(cuda::compute(dy[i]) * slope(cuda::compute(saved[i]))); };
    in_vectors<kWidth>(
        count, aligned,
        [=](std::int64_t i) {
          const auto at = cuda::load<kWidth>(saved + i);
          auto values = cuda::load<kWidth>(dy + i);
#pragma unroll
          for (int k = 0; k < kWidth; ++k) values[k] = cuda::stored<T>(cuda::compute(values[k]) * slope(cuda::compute(at[k])));
          cuda::store<kWidth>(dx + i, values);
        },
        single);
  });
}

template <class T, class... Places>
bool aligned(const T* first, const Places*... places) {
  return cuda::fits_vectors<cuda::kVectorWidth<T>>(0, first, places...);
}

}  // namespace

template <class T>
void binary(Cuda cuda, Binary kind, const BroadcastPair& pair, const T* a, const T* b, T* y) {
  using N = DeviceNumber<T>;
  constexpr int kWidth = cuda::kVectorWidth<N>;
  const StridedLoop<3> loop = merged<3>({pair.shape, {contiguous_strides(pair.shape), pair.a_strides, pair.b_strides}});
  const auto place = [](const T* at) { return reinterpret_cast<std::uintptr_t>(at) / sizeof(T); };
  const auto *left = reinterpret_cast<const N*>(a), *right = reinterpret_cast<const N*>(b);
  if (kWidth > 1 && cuda::vectors_along<3>(loop, {place(y), place(a), place(b)}, kWidth, true)) {
    return launch_binary<kWidth>(cuda, kind, loop, left, right, reinterpret_cast<N*>(y));
  }
  launch_binary<1>(cuda, kind, loop, left, right, reinterpret_cast<N*>(y));
}

template <class T>
void select(Cuda cuda, const BroadcastPair& pair, const Shape& mask_strides, const bool* mask, const T* a, const T* b, T* y) {
  const StridedLoop<4> whole = merged<4>({pair.shape, {contiguous_strides(pair.shape), mask_strides, pair.a_strides, pair.b_strides}});
  cuda::for_each_piece(whole, [&](const StridedLoop<4>& loop, std::array<std::int64_t, 4> at) {
    const std::int64_t count = numel(loop.shape);
    cuda::launch_kernel(select_kernel<T>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, static_cast<unsigned>(count),
                        cuda::StridedIndex<4>(loop), mask + at[1], a + at[2], b + at[3], y + at[0]);
  });
}

template <class T>
void unary(Cuda cuda, UnaryMap map, std::int64_t count, const T* x, T* y) {
  cuda::launch_kernel(unary_kernel<T>, cuda::strided_grid(count, kThreads * cuda::kVectorWidth<T>), kThreads, 0, cuda, map, count,
                      aligned(x, y), x, y);
}

template <class T>
void unary_gradient(Cuda cuda, UnaryMap map, std::int64_t count, const T* saved, const T* dy, T* dx) {
  cuda::launch_kernel(unary_gradient_kernel<T>, cuda::strided_grid(count, kThreads * cuda::kVectorWidth<T>), kThreads, 0, cuda, map, count,
                      aligned(saved, dy, dx), saved, dy, dx);
}

#define TRIDENT_ELEMENTWISE(T)                                                                         \
  template void binary(Cuda, Binary, const BroadcastPair&, const T*, const T*, T*);                    \
  template void select(Cuda, const BroadcastPair&, const Shape&, const bool*, const T*, const T*, T*); \
  template void unary(Cuda, UnaryMap, std::int64_t, const T*, T*);                                     \
  template void unary_gradient(Cuda, UnaryMap, std::int64_t, const T*, const T*, T*);
TRIDENT_ELEMENTWISE(float)
TRIDENT_ELEMENTWISE(double)
TRIDENT_ELEMENTWISE(bf16)
template void binary(Cuda, Binary, const BroadcastPair&, const c64*, const c64*, c64*);
template void binary(Cuda, Binary, const BroadcastPair&, const c128*, const c128*, c128*);

}  // namespace trident
