#include "runtime/kernels/cuda/copy_bits.h"
#include "runtime/kernels/strided_copy.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

namespace trident {
namespace {

using cuda::Complex;
using cuda::copies::copy_bits, cuda::copies::in_words, cuda::copies::kThreads;

// ---- conversions ----

enum class Kind { f32, f64, bf16, f16, i64, i32, boolean };
template <class T>
struct KindOf;
template <>
struct KindOf<float> {
  static constexpr Kind value = Kind::f32;
};
template <>
struct KindOf<double> {
  static constexpr Kind value = Kind::f64;
};
template <>
struct KindOf<bf16> {
  static constexpr Kind value = Kind::bf16;
};
template <>
struct KindOf<f16> {
  static constexpr Kind value = Kind::f16;
};
template <>
struct KindOf<std::int64_t> {
  static constexpr Kind value = Kind::i64;
};
template <>
struct KindOf<std::int32_t> {
  static constexpr Kind value = Kind::i32;
};
template <>
struct KindOf<bool> {
  static constexpr Kind value = Kind::boolean;
};

__device__ __forceinline__ float as_float(f16 x) {
#ifdef __CUDACC__
  return __half2float(__ushort_as_half(x.bits));
#else
  return static_cast<float>(std::bit_cast<_Float16>(x.bits));
#endif
}
__device__ __forceinline__ f16 as_half(float x) {
#ifdef __CUDACC__
  return {__half_as_ushort(__float2half_rn(x))};
#else
  return {std::bit_cast<std::uint16_t>(static_cast<_Float16>(x))};
#endif
}

/// A number that C++ converts: float for bf16 and f16.
template <class T>
__device__ __forceinline__ auto plain(T x) {
  if constexpr (std::is_same_v<T, bf16>) {
    return cuda::compute(x);
  } else if constexpr (std::is_same_v<T, f16>) {
    return as_float(x);
  } else {
    return x;
  }
}

template <class From>
__device__ __forceinline__ void store_as(Kind kind, void* target, std::int64_t at, From value) {
  switch (kind) {
    case Kind::f32:
      static_cast<float*>(target)[at] = static_cast<float>(value);
      break;
    case Kind::f64:
      static_cast<double*>(target)[at] = static_cast<double>(value);
      break;
    case Kind::bf16:
      static_cast<bf16*>(target)[at] = cuda::stored<bf16>(static_cast<float>(value));
      break;
    case Kind::f16:
      static_cast<f16*>(target)[at] = as_half(static_cast<float>(value));
      break;
    case Kind::i64:
      static_cast<std::int64_t*>(target)[at] = static_cast<std::int64_t>(value);
      break;
    case Kind::i32:
      static_cast<std::int32_t*>(target)[at] = static_cast<std::int32_t>(value);
      break;
    case Kind::boolean:
      static_cast<bool*>(target)[at] = value != From(0);
      break;
  }
}

/// The target's type is a number here, not a template parameter: seven kernels instead of 42, of which few runs use more than the two
/// below.
template <class From>
__global__ void __launch_bounds__(kThreads)
    convert_kernel(unsigned count, cuda::StridedIndex<2> index, Kind kind, void* target, const From* source) {
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) {
    std::int64_t at[2];
    index.offsets(static_cast<unsigned>(i), at);
    store_as(kind, target, at[0], plain(source[at[1]]));
  }
}

/// Between f32 and bf16, whole tensors: the conversions of every step in bf16.
template <class To, class From>
__global__ void __launch_bounds__(kThreads) cast_kernel(std::int64_t vectors, To* target, const From* source) {
  constexpr int kWidth = 8;
  for (std::int64_t i = cuda::grid_thread(); i < vectors; i += cuda::grid_threads()) {
    cuda::Vector<To, kWidth> y;
    if constexpr (sizeof(From) == 4) {
      const auto low = cuda::load<4>(source + i * kWidth), high = cuda::load<4>(source + i * kWidth + 4);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        y[k] = cuda::stored<To>(low[k]);
        y[4 + k] = cuda::stored<To>(high[k]);
      }
      cuda::store<kWidth>(target + i * kWidth, y);
    } else {
      const auto x = cuda::load<kWidth>(source + i * kWidth);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        cuda::Vector<To, 4> part;
#pragma unroll
        for (int k = 0; k < 4; ++k) part[k] = cuda::compute(x[half * 4 + k]);
        cuda::store<4>(target + i * kWidth + half * 4, part);
      }
    }
  }
}

template <class To, class From>
void convert(Cuda cuda, const StridedLoop<2>& whole, To* target, const From* source) {
  if constexpr ((std::is_same_v<To, bf16> && std::is_same_v<From, float>) || (std::is_same_v<To, float> && std::is_same_v<From, bf16>)) {
    const std::int64_t count = numel(whole.shape);
    const bool plain = whole.shape.rank() == 1 && whole.strides[0][0] == 1 && whole.strides[1][0] == 1;
    if (plain && count > 0 && cuda::fits_vectors<8>(count, target) && cuda::fits_vectors<8>(count, source)) {
      return cuda::launch_kernel(cast_kernel<To, From>, cuda::strided_grid(count / 8, kThreads), kThreads, 0, cuda, count / 8, target,
                                 source);
    }
  }
  cuda::for_each_piece(whole, [&](const StridedLoop<2>& loop, std::array<std::int64_t, 2> offsets) {
    const std::int64_t count = numel(loop.shape);
    cuda::launch_kernel(convert_kernel<From>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, static_cast<unsigned>(count),
                        cuda::StridedIndex<2>(loop), KindOf<To>::value, static_cast<void*>(target + offsets[0]), source + offsets[1]);
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    convert_complex_kernel(unsigned count, cuda::StridedIndex<2> index, Complex<T>* target,
                           const Complex<std::conditional_t<sizeof(T) == 4, double, float>>* source) {
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) {
    std::int64_t at[2];
    index.offsets(static_cast<unsigned>(i), at);
    target[at[0]] = {static_cast<T>(source[at[1]].re), static_cast<T>(source[at[1]].im)};
  }
}

template <class T, class U>
void convert(Cuda cuda, const StridedLoop<2>& whole, std::complex<T>* target, const std::complex<U>* source) {
  cuda::for_each_piece(whole, [&](const StridedLoop<2>& loop, std::array<std::int64_t, 2> offsets) {
    const std::int64_t count = numel(loop.shape);
    cuda::launch_kernel(convert_complex_kernel<T>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, static_cast<unsigned>(count),
                        cuda::StridedIndex<2>(loop), reinterpret_cast<Complex<T>*>(target) + offsets[0],
                        reinterpret_cast<const Complex<U>*>(source) + offsets[1]);
  });
}

// ---- sums ----

template <class T>
__device__ __forceinline__ T plus(T a, T b) {
  if constexpr (std::is_same_v<T, bf16>) {
    return cuda::stored<bf16>(cuda::compute(a) + cuda::compute(b));
  } else {
    return a + b;
  }
}

/// Width: neighbours that a thread adds.
template <int Width, class T>
__global__ void __launch_bounds__(kThreads) add_kernel(unsigned count, cuda::StridedIndex<2> index, T* target, const T* source) {
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) {
    std::int64_t at[2];
    index.offsets(static_cast<unsigned>(i), at);
    auto sum = cuda::load<Width>(target + at[0] * Width);
    const auto other = cuda::load<Width>(source + at[1] * Width);
#pragma unroll
    for (int k = 0; k < Width; ++k) sum[k] = plus(sum[k], other[k]);
    cuda::store<Width>(target + at[0] * Width, sum);
  }
}

template <int Width, class T>
void add_vectors(Cuda cuda, const StridedLoop<2>& whole, T* target, const T* source) {
  cuda::for_each_piece(whole, [&](const StridedLoop<2>& loop, std::array<std::int64_t, 2> offsets) {
    const std::int64_t count = numel(loop.shape);
    cuda::launch_kernel(add_kernel<Width, T>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, static_cast<unsigned>(count),
                        cuda::StridedIndex<2>(loop), target + offsets[0] * Width, source + offsets[1] * Width);
  });
}

template <class T>
void add(Cuda cuda, const StridedLoop<2>& loop, T* target, const T* source) {
  constexpr int kWidth = cuda::kVectorWidth<T>;
  if constexpr (kWidth > 1) {
    const std::array places{reinterpret_cast<std::uintptr_t>(target) / sizeof(T), reinterpret_cast<std::uintptr_t>(source) / sizeof(T)};
    if (cuda::vectors_along<2>(loop, places, kWidth, false)) return add_vectors<kWidth>(cuda, in_words(loop, kWidth), target, source);
  }
  add_vectors<1>(cuda, loop, target, source);
}
template <class T>
void add(Cuda cuda, const StridedLoop<2>& loop, std::complex<T>* target, const std::complex<T>* source) {
  add(cuda, loop, reinterpret_cast<Complex<T>*>(target), reinterpret_cast<const Complex<T>*>(source));
}

template <class T>
__global__ void __launch_bounds__(kThreads) fill_kernel(std::int64_t count, double value, T* y) {
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) store_as(KindOf<T>::value, y, i, value);
}

}  // namespace

template <class To, class From>
void strided_copy(Cuda cuda, const StridedPair& pair, To* target, const From* source) {
  const StridedLoop<2> loop = merged<2>({pair.shape, {pair.target_strides, pair.source_strides}});
  if constexpr (std::is_same_v<To, From>) {
    copy_bits<sizeof(To)>(cuda, loop, target, source);
  } else {
    convert(cuda, loop, target, source);
  }
}

template <class T>
void strided_add(Cuda cuda, const StridedPair& pair, T* target, const T* source) {
  add(cuda, merged<2>({pair.shape, {pair.target_strides, pair.source_strides}}), target, source);
}

template <class T>
void fill(Cuda cuda, std::int64_t count, double value, T* y) {
  cuda::launch_kernel(fill_kernel<T>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, count, value, y);
}

#define TRIDENT_COPY(To, From) template void strided_copy<To, From>(Cuda, const StridedPair&, To*, const From*);
#define TRIDENT_COPY_TO(To)      \
  TRIDENT_COPY(To, float)        \
  TRIDENT_COPY(To, double)       \
  TRIDENT_COPY(To, bf16)         \
  TRIDENT_COPY(To, f16)          \
  TRIDENT_COPY(To, std::int64_t) \
  TRIDENT_COPY(To, std::int32_t) \
  TRIDENT_COPY(To, bool)
TRIDENT_COPY_TO(float)
TRIDENT_COPY_TO(double)
TRIDENT_COPY_TO(bf16)
TRIDENT_COPY_TO(f16)
TRIDENT_COPY_TO(std::int64_t)
TRIDENT_COPY_TO(std::int32_t)
TRIDENT_COPY_TO(bool)
TRIDENT_COPY(c64, c64)
TRIDENT_COPY(c64, c128)
TRIDENT_COPY(c128, c64)
TRIDENT_COPY(c128, c128)

template void fill<float>(Cuda, std::int64_t, double, float*);
template void fill<double>(Cuda, std::int64_t, double, double*);
template void fill<bf16>(Cuda, std::int64_t, double, bf16*);
template void fill<f16>(Cuda, std::int64_t, double, f16*);

template void strided_add<float>(Cuda, const StridedPair&, float*, const float*);
template void strided_add<bf16>(Cuda, const StridedPair&, bf16*, const bf16*);
template void strided_add<double>(Cuda, const StridedPair&, double*, const double*);
template void strided_add<c64>(Cuda, const StridedPair&, c64*, const c64*);
template void strided_add<c128>(Cuda, const StridedPair&, c128*, const c128*);

}  // namespace trident
