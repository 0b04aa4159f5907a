/// CUDA's language on the CPU, for tests where there is no GPU: the threads of a block are fibers that switch at barriers and warp
/// operations. Included by kernel.h in place of CUDA's headers.
#pragma once

#include <math.h>  // sqrt, exp, ... of float too, without std::
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <string>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned vx = 1, unsigned vy = 1, unsigned vz = 1) : x(vx), y(vy), z(vz) {}
};
namespace trident::emulation {

/// Where a thread of the device stands.
struct Place {
  uint3 thread{}, block{};
  dim3 threads, blocks;
};
extern constinit thread_local const Place* current_place;

/// What lists of launches say of one.
std::string launch_text(std::source_location where, dim3 blocks, dim3 threads);
/// Elements of the longest loop over strided arrays that one kernel may have: TRIDENT_EMULATED_LOOP, or what a GPU allows.
std::int64_t longest_loop();

/// Runs `kernel` once for every thread of the grid. Throws DeviceError naming `where` if the threads of a block do not agree.
void run_grid(dim3 blocks, dim3 threads, std::size_t shared_bytes, const std::function<void()>& kernel, std::source_location where);
/// The dynamic shared memory of the running block, 128-byte aligned.
std::byte* dynamic_shared_bytes();
/// Throws DeviceError if one of the words of a kernel's argument is an address of host memory.
void require_no_host_address(const void* argument, std::size_t bytes, int position, std::source_location where);

/// Throws DeviceError where a vector of this many bytes may not lie.
void require_aligned(const void* place, std::size_t bytes);

/// Waits for all threads of the block.
void barrier(std::source_location where);
/// Waits for the lanes in `mask`; then `operation` runs once on the arguments of all of them (null for others).
using WarpOperation = void (*)(const std::array<void*, 32>& arguments);
void warp_operation(unsigned mask, WarpOperation operation, void* argument, std::source_location where);
[[noreturn]] void missing_lane(int lane);

/// Copies of cp.async: they happen when they are waited for, at the latest.
void start_copy(void* to, const void* from, std::size_t bytes, std::size_t filled);
void commit_copies();
void wait_copies(int groups_left);

template <class T>
struct Shuffle {
  T value;
  int source;
  static void run(const std::array<void*, 32>& arguments) {
    std::array<T, 32> values;
    for (std::size_t lane = 0; lane < 32; ++lane) {
      if (arguments[lane] != nullptr) values[lane] = static_cast<Shuffle*>(arguments[lane])->value;
    }
    for (void* argument : arguments) {
      if (argument == nullptr) continue;
      Shuffle& mine = *static_cast<Shuffle*>(argument);
      const auto source = static_cast<std::size_t>(mine.source);
      if (arguments[source] == nullptr) missing_lane(mine.source);
      mine.value = values[source];
    }
  }
};

inline int lane() {
  const Place& at = *current_place;
  return static_cast<int>((at.thread.x + at.threads.x * (at.thread.y + at.threads.y * at.thread.z)) % 32);
}

template <class T>
T shuffle(unsigned mask, T value, int source, std::source_location where) {
  Shuffle<T> argument{value, source};
  warp_operation(mask, Shuffle<T>::run, &argument, where);
  return argument.value;
}

/// The lanes whose word is not 0.
struct Ballot {
  unsigned word;
  static void run(const std::array<void*, 32>& arguments) {
    unsigned bits = 0;
    for (std::size_t lane = 0; lane < 32; ++lane) {
      if (arguments[lane] != nullptr && static_cast<Ballot*>(arguments[lane])->word != 0) bits |= 1U << lane;
    }
    for (void* argument : arguments) {
      if (argument != nullptr) static_cast<Ballot*>(argument)->word = bits;
    }
  }
};

}  // namespace trident::emulation

#define threadIdx (::trident::emulation::current_place->thread)
#define blockIdx (::trident::emulation::current_place->block)
#define blockDim (::trident::emulation::current_place->threads)
#define gridDim (::trident::emulation::current_place->blocks)

using EmulatedLocation = std::source_location;

inline void __syncthreads(EmulatedLocation where = EmulatedLocation::current()) { trident::emulation::barrier(where); }

inline unsigned __ballot_sync(unsigned mask, int predicate, EmulatedLocation where = EmulatedLocation::current()) {
  trident::emulation::Ballot argument{predicate != 0 ? 1U : 0U};
  trident::emulation::warp_operation(mask, trident::emulation::Ballot::run, &argument, where);
  return argument.word;
}
inline int __any_sync(unsigned mask, int predicate, EmulatedLocation where = EmulatedLocation::current()) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU, EmulatedLocation where = EmulatedLocation::current()) { __ballot_sync(mask, 0, where); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, EmulatedLocation where = EmulatedLocation::current()) {
  const int base = trident::emulation::lane() & ~(width - 1);
  return trident::emulation::shuffle(mask, value, base + (source & (width - 1)), where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EmulatedLocation where = EmulatedLocation::current()) {
  const int lane = trident::emulation::lane(), source = lane ^ bits;
  return trident::emulation::shuffle(mask, value, source >= (lane & ~(width - 1)) + width ? lane : source, where);
}
inline unsigned atomicInc(unsigned* to, unsigned most) {
  unsigned old = __atomic_load_n(to, __ATOMIC_SEQ_CST);
  while (!__atomic_compare_exchange_n(to, &old, old >= most ? 0U : old + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return old;
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
template <class T>
T __ldcg(const T* from) {
  return *from;
}
template <class T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32); }
inline int __ffs(int bits) { return bits == 0 ? 0 : std::countr_zero(static_cast<unsigned>(bits)) + 1; }
