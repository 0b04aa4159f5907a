/// What every .cu file includes: CUDA's names (nvcc's own, or the emulation where a C++ compiler builds the file), launching, numbers,
/// vector loads, and sums over warps and blocks in a fixed order.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
#include "runtime/device/cuda_check.h"
#else
#include "runtime/device/emulated_streams.h"
#include "runtime/kernels/cuda/emulation.h"
#endif

#include <algorithm>
#include <cstdint>
#include <source_location>
#include <tuple>
#include <type_traits>

#include "runtime/kernels/dispatch.h"
#include "runtime/tensor/dtype.h"

namespace trident::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

/// Where a kernel goes: made of a Cuda where launch_kernel is called, and knows that line for the error message.
struct LaunchSite {
  LaunchSite(Cuda to, std::source_location from = std::source_location::current()) : device(to), where(from) {}
  Cuda device;
  std::source_location where;
};

/// In place of kernel<<<grid, block, shared_bytes, stream>>>(arguments...). A grid with an extent of 0 launches nothing.
template <class... Parameters, class... Arguments>
void launch_kernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, LaunchSite site,
                   const Arguments&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments));
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "a kernel's parameters may take 4 KiB");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#ifdef __CUDACC__
  // Above 48 KiB, which the kernel's static shared memory counts among, a device wants to be asked; of that no kernel has more than 16.
  constexpr std::size_t kAlwaysThere = 32 << 10;
  if (shared_bytes > kAlwaysThere) {
    check_cuda("cudaFuncSetAttribute",
               cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)),
               site.where);
  }
  kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(site.device.stream)>>>(static_cast<Parameters>(arguments)...);
  check_cuda("launch", cudaGetLastError(), site.where);
#else
  int position = 0;
  [[maybe_unused]] const auto require_device = [&](auto argument) {
    __builtin_clear_padding(&argument);
    emulation::require_no_host_address(&argument, sizeof argument, position++, site.where);
  };
  (require_device(static_cast<std::remove_cvref_t<Parameters>>(arguments)), ...);
  emulation::submit(
      site.device.stream, emulation::launch_text(site.where, grid, block),
      [=, given = std::tuple<std::remove_cvref_t<Parameters>...>(static_cast<std::remove_cvref_t<Parameters>>(arguments)...)] {
        emulation::run_grid(
            grid, block, shared_bytes, [&] { std::apply(kernel, given); }, site.where);
      });
#endif
}

/// The block's dynamic shared memory, 128-byte aligned.
template <class T>
__device__ T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(128) unsigned char trident_dynamic_shared[];
  return reinterpret_cast<T*>(trident_dynamic_shared);
#else
  return reinterpret_cast<T*>(emulation::dynamic_shared_bytes());
#endif
}

template <class T>
constexpr __host__ __device__ T divided_up(T count, T by) {
  return (count + by - 1) / by;
}

/// Blocks of a kernel that strides over `items` with `per_block` of them a round: as many as keep every multiprocessor busy, few enough
/// that each has several rounds. (A handful on the emulated device, so that small tests stride too.)
inline unsigned strided_grid(std::int64_t items, std::int64_t per_block) {
#ifdef __CUDACC__
  constexpr std::int64_t kMostBlocks = 132 * 16;
#else
  constexpr std::int64_t kMostBlocks = 5;
#endif
  return static_cast<unsigned>(std::min(divided_up(items, per_block), kMostBlocks));
}

// ---- numbers ----

template <class T>
struct ComputeOf {
  using Type = T;
};
template <>
struct ComputeOf<bf16> {
  using Type = float;
};
/// What a stored number is computed in: float for bf16, else itself.
template <class T>
using Compute = typename ComputeOf<T>::Type;

__device__ __forceinline__ float compute(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ __forceinline__ float compute(float x) { return x; }
__device__ __forceinline__ double compute(double x) { return x; }

template <class T>
__device__ __forceinline__ T stored(Compute<T> x) {
  if constexpr (std::is_same_v<T, bf16>) {
#ifdef __CUDACC__
    std::uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bf16{bits};
#else
    const unsigned bits = __float_as_uint(x);
    if (x != x) return bf16{0x7FFF};
    return bf16{static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16)};  // to nearest, ties to even
#endif
  } else {
    return x;
  }
}

/// A complex number as it is stored in c64 and c128, for device code.
template <class T>
struct alignas(2 * sizeof(T)) Complex {
  T re, im;
};
template <class T>
__device__ __forceinline__ Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
__device__ __forceinline__ Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
__device__ __forceinline__ Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class T>
__device__ __forceinline__ Complex<T> operator*(T a, Complex<T> b) {
  return {a * b.re, a * b.im};
}
template <class T>
__device__ __forceinline__ Complex<T> conjugate(Complex<T> a) {
  return {a.re, -a.im};
}

// ---- vector loads ----

/// N neighbours that are loaded and stored by one instruction.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T values[N];
  __device__ __forceinline__ T& operator[](int i) { return values[i]; }
  __device__ __forceinline__ const T& operator[](int i) const { return values[i]; }
};
/// Elements of a 16-byte load, the widest.
template <class T>
inline constexpr int kVectorWidth = static_cast<int>(16 / sizeof(T));

template <int N, class T>
__device__ __forceinline__ Vector<T, N> load(const T* from) {
#ifndef __CUDACC__
  emulation::require_aligned(from, sizeof(Vector<T, N>));
#endif
  return *reinterpret_cast<const Vector<T, N>*>(from);
}
template <int N, class T>
__device__ __forceinline__ void store(T* to, const Vector<T, N>& values) {
#ifndef __CUDACC__
  emulation::require_aligned(to, sizeof(Vector<T, N>));
#endif
  *reinterpret_cast<Vector<T, N>*>(to) = values;
}
/// Whether vectors of N elements may be loaded from rows of `width` elements that begin at these places.
template <int N, class... T>
bool fits_vectors(std::int64_t width, const T*... places) {
  return width % N == 0 && ((reinterpret_cast<std::uintptr_t>(places) % (N * sizeof(T)) == 0) && ...);
}

// ---- sums and maxima in an order that depends on the extents alone ----

/// Of `Lanes` neighbouring lanes; every lane gets it.
template <int Lanes = kWarp, class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int bit = Lanes / 2; bit > 0; bit /= 2) value += __shfl_xor_sync(kAllLanes, value, bit);
  return value;
}
template <int Lanes = kWarp, class T>
__device__ __forceinline__ T warp_max(T value) {
#pragma unroll
  for (int bit = Lanes / 2; bit > 0; bit /= 2) value = max(value, __shfl_xor_sync(kAllLanes, value, bit));
  return value;
}

/// The sum of the values of a block of `Threads` threads in one dimension (a multiple of 32); every thread gets it. May be called again at
/// once: the barrier at the beginning keeps the calls apart.
template <int Threads, class T>
__device__ __forceinline__ T block_sum(T value) {
  static_assert(Threads % kWarp == 0);
  value = warp_sum(value);
  if constexpr (Threads == kWarp) return value;
  __shared__ T partial[Threads / kWarp];
  __syncthreads();
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  T total = partial[0];
#pragma unroll
  for (int warp = 1; warp < Threads / kWarp; ++warp) total += partial[warp];
  return total;
}

/// This thread's number in the grid, and the grid's threads, of launches in one dimension.
__device__ __forceinline__ std::int64_t grid_thread() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ std::int64_t grid_threads() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

}  // namespace trident::cuda
