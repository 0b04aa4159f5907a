/// Asynchronous copies to shared memory, loads of matrices from it, and products on tensor cores (sm_80 and later), with their emulations.
/// Layouts of fragments: PTX ISA, "Matrix multiply-accumulate operation using mma instruction".
#pragma once

#include "runtime/kernels/cuda/kernel.h"

namespace trident::cuda {

/// Copies Bytes (4, 8 or 16) to shared memory without passing through registers; `valid` false: zeros. Lands by wait_copies().
template <int Bytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool valid = true) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
#ifdef __CUDACC__
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const int filled = valid ? Bytes : 0;
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(filled) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global), "n"(Bytes), "r"(filled) : "memory");
  }
#else
  emulation::start_copy(shared, global, Bytes, valid ? Bytes : 0);
#endif
}
/// Ends a group of copies.
__device__ __forceinline__ void commit_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulation::commit_copies();
#endif
}
/// Waits until at most `GroupsLeft` of the thread's newest groups are on their way; other threads see the data after a barrier.
template <int GroupsLeft>
__device__ __forceinline__ void wait_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(GroupsLeft) : "memory");
#else
  emulation::wait_copies(GroupsLeft);
#endif
}

#ifndef __CUDACC__
namespace emulated {

/// ldmatrix: lane 8m + r gives the address of row r of matrix m; each lane gets two neighbours of its row of every matrix.
template <int Matrices, bool Transposed>
struct LoadMatrix {
  const void* row;
  unsigned result[Matrices];
  static void run(const std::array<void*, 32>& arguments) {
    std::uint16_t cells[Matrices][8][8];
    for (int matrix = 0; matrix < Matrices; ++matrix) {
      for (int row = 0; row < 8; ++row) {
        const auto lane = static_cast<std::size_t>(matrix * 8 + row);
        if (arguments[lane] == nullptr) emulation::missing_lane(matrix * 8 + row);
        emulation::require_aligned(static_cast<LoadMatrix*>(arguments[lane])->row, 16);
        std::memcpy(cells[matrix][row], static_cast<LoadMatrix*>(arguments[lane])->row, 16);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      if (arguments[static_cast<std::size_t>(lane)] == nullptr) emulation::missing_lane(lane);
      auto& mine = *static_cast<LoadMatrix*>(arguments[static_cast<std::size_t>(lane)]);
      const int row = lane / 4, column = lane % 4 * 2;
      for (int matrix = 0; matrix < Matrices; ++matrix) {
        const std::uint16_t low = Transposed ? cells[matrix][column][row] : cells[matrix][row][column];
        const std::uint16_t high = Transposed ? cells[matrix][column + 1][row] : cells[matrix][row][column + 1];
        mine.result[matrix] = static_cast<unsigned>(high) << 16 | low;
      }
    }
  }
};

/// d (16, 8) += a (16, 16) b (16, 8), where each 32-bit register of a and b holds two neighbours along the sum.
struct Mma {
  float d[4];
  unsigned a[4], b[2];
  static float part(unsigned word, int half) { return __uint_as_float(half == 0 ? word << 16 : word & 0xFFFF0000U); }
  static void run(const std::array<void*, 32>& arguments) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      if (arguments[static_cast<std::size_t>(lane)] == nullptr) emulation::missing_lane(lane);
      const auto& mine = *static_cast<const Mma*>(arguments[static_cast<std::size_t>(lane)]);
      const int group = lane / 4, place = lane % 4 * 2;
      for (int half = 0; half < 2; ++half) {
        for (int word = 0; word < 4; ++word) a[group + word % 2 * 8][word / 2 * 8 + place + half] = part(mine.a[word], half);
        for (int word = 0; word < 2; ++word) b[word * 8 + place + half][group] = part(mine.b[word], half);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      auto& mine = *static_cast<Mma*>(arguments[static_cast<std::size_t>(lane)]);
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) mine.d[i] += a[row][k] * b[k][column];
      }
    }
  }
};

}  // namespace emulated
#endif

/// Loads 8x8 matrices of 16-bit numbers: lane 8m + r gives row r of matrix m (16 bytes in shared memory, aligned); lanes past the last
/// matrix give any valid row. Transposed: of each matrix.
template <int Matrices, bool Transposed = false>
__device__ __forceinline__ void load_matrix(unsigned (&result)[Matrices], const void* row) {
  static_assert(Matrices == 1 || Matrices == 2 || Matrices == 4);
#ifdef __CUDACC__
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (Matrices == 4 && Transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(from)
                 : "memory");
  } else if constexpr (Matrices == 4) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(from)
                 : "memory");
  } else if constexpr (Matrices == 2 && Transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(result[0]), "=r"(result[1])
                 : "r"(from)
                 : "memory");
  } else if constexpr (Matrices == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(result[0]), "=r"(result[1]) : "r"(from) : "memory");
  } else if constexpr (Transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(result[0]) : "r"(from) : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(result[0]) : "r"(from) : "memory");
  }
#else
  emulated::LoadMatrix<Matrices, Transposed> argument{};
  argument.row = row;
  emulation::warp_operation(kAllLanes, decltype(argument)::run, &argument, std::source_location::current());
  std::copy_n(argument.result, Matrices, result);
#endif
}

/// Lane l's row of the 8x8 matrices that make up a fragment of 16 x 16 numbers, by how the four lie: first along rows, or first along
/// columns.
struct LaneRow {
  int row, column;
};
__device__ __forceinline__ LaneRow rows_first() {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return {lane % 16, lane / 16 * 8};
}
__device__ __forceinline__ LaneRow columns_first() {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return {lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8};
}

/// The left operand a (16, 16) = m[row + i][column + k].
template <int Step>
__device__ __forceinline__ void load_left(unsigned (&a)[4], const bf16* m, int row, int column) {
  const LaneRow at = rows_first();
  load_matrix<4>(a, m + (row + at.row) * Step + column + at.column);
}
/// The left operand a (16, 16) = m[row + k][column + i].
template <int Step>
__device__ __forceinline__ void load_left_transposed(unsigned (&a)[4], const bf16* m, int row, int column) {
  const LaneRow at = columns_first();
  load_matrix<4, true>(a, m + (row + at.row) * Step + column + at.column);
}
/// Two right operands b (16, 8): of columns n and n + 8, b = m[row + n][column + k].
template <int Step>
__device__ __forceinline__ void load_right_transposed(unsigned (&b)[2][2], const bf16* m, int row, int column) {
  const LaneRow at = columns_first();
  unsigned words[4];
  load_matrix<4>(words, m + (row + at.row) * Step + column + at.column);
  b[0][0] = words[0], b[0][1] = words[1], b[1][0] = words[2], b[1][1] = words[3];
}
/// Two right operands b (16, 8): of columns n and n + 8, b = m[row + k][column + n].
template <int Step>
__device__ __forceinline__ void load_right(unsigned (&b)[2][2], const bf16* m, int row, int column) {
  const LaneRow at = rows_first();
  unsigned words[4];
  load_matrix<4, true>(words, m + (row + at.row) * Step + column + at.column);
  b[0][0] = words[0], b[0][1] = words[1], b[1][0] = words[2], b[1][1] = words[3];
}

/// d (16, 8) += a (16, 16) b (16, 8) in bf16, added up in f32: mma.m16n8k16.
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated::Mma argument{{d[0], d[1], d[2], d[3]}, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  emulation::warp_operation(kAllLanes, emulated::Mma::run, &argument, std::source_location::current());
  std::copy_n(argument.d, 4, d);
#endif
}
/// Two neighbours as one register of a fragment: `low` first.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
#ifdef __CUDACC__
  unsigned word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  return static_cast<unsigned>(stored<bf16>(high).bits) << 16 | stored<bf16>(low).bits;
#endif
}

}  // namespace trident::cuda
