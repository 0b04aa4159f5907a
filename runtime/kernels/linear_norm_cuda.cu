/// A block multiplies 16 rows of x by some rows of the weight, the columns of its result. Slices of both pass through shared memory, of
/// each slice a warp multiplies 16 numbers of the sum on the tensor cores, and what the warps have is added up in their order. A block that
/// has all columns ends its rows itself. Else the blocks of the same rows leave their columns in memory, and whoever comes last ends the
/// rows.
///
/// What limits it is how fast a multiprocessor is fed from the second level of the cache, some 50 bytes a cycle: a block reads 2 (16 + C)
/// bytes for each number of the sum, C its columns. Where the whole row takes at most 96 of them (Poseidon-T's first two levels: 64 and 16
/// blocks of 24 and 86 KB for the MLP's second product, 0.3 and 1 us) it is faster than handing columns over, which costs about 1 us (a
/// fence, a counter, reading back). With wider rows there are fewer of them, and one block would read too much (320 KB of level 2, 4 us):
/// blocks of 16 columns make 48 of 4 for level 2 and 24 of 1 for level 3 (49 and 98 KB each, 0.6 and 1.1 us).
///
/// Against cuBLASLt's product and a norm that is one launch less, 1.5 to 2.5 us, and 4 bytes a number that do not travel. Many rows
/// read the weight again for every 16 of them where cuBLASLt does for 128, which is what kMostBytes weighs: 12 MB at 5.5 TB/s are 2.2 us.
/// So at batch 1 all of Poseidon-T's go here, and from batch 8 on the products behind the MLP's hidden numbers do not.
#include "runtime/kernels/linear_norm.h"

#include "runtime/kernels/cuda/joint_sums.h"
#include "runtime/kernels/cuda/norm_ending.h"
#include "runtime/kernels/cuda/tensor_core.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kRows = 16, kWarps = 8, kThreads = kWarps * kWarp;
constexpr int kDepth = 16 * kWarps;  // of a slice along the sum
constexpr int kStep = kDepth + 8;    // numbers between rows in shared memory: loads of matrices meet no bank twice
constexpr std::int64_t kWidest = 768, kMostBytes = 12 << 20;

/// Columns of a block, as the width of the rows asks for them.
int columns_of(std::int64_t width) { return width <= 48 ? 48 : width <= 96 ? 96 : 16; }

/// What a block has in shared memory: slices, and when they are multiplied in their place the warps' sums, and then whole rows.
template <int C>
struct Shared {
  // One slice is multiplied, the others are on their way. Of 96 columns 3 take 89 of the 99 KB that the smallest of multiprocessors give.
  static constexpr int kStages = C > 48 ? 3 : 4;
  static constexpr int kSlice = (kRows + C) * kStep;  // numbers: rows of x, then of the weight
  static constexpr int kSumStep = C + 8;              // lanes of a warp that store meet no bank twice
  static constexpr int kSums = kWarps * kRows * kSumStep;

  static std::size_t bytes(std::int64_t width) {
    return std::max(kStages * kSlice * sizeof(bf16), (static_cast<std::size_t>(kRows * width) + kSums) * sizeof(float));
  }
};

/// Starts copying Count rows of a matrix (rows, in) from `first` on, of each a slice; zeros beyond the matrix.
template <int Count>
__device__ __forceinline__ void start_rows(const bf16* matrix, std::int64_t rows, std::int64_t in, std::int64_t first, std::int64_t slice,
                                           bf16* to) {
  constexpr int kPieces = kDepth / 8;
  for (int item = static_cast<int>(threadIdx.x); item < Count * kPieces; item += kThreads) {
    const int row = item / kPieces, place = item % kPieces * 8;
    const std::int64_t column = slice * kDepth + place;
    const bool exists = first + row < rows && column < in;
    copy_async<16>(to + row * kStep + place, exists ? matrix + (first + row) * in + column : matrix, exists);
  }
}

/// This warp's part of the sums of 16 rows and C columns: accumulators of 16 x 8 numbers.
template <int C>
__device__ __forceinline__ void multiply(const LinearSize& size, const LinearNorm& at, std::int64_t row, std::int64_t column,
                                         float (&sums)[C / 8][4]) {
  constexpr int kStages = Shared<C>::kStages;
  bf16* slices = dynamic_shared<bf16>();
  const int along = static_cast<int>(threadIdx.x) / kWarp * 16;
  const auto count = static_cast<int>(divided_up<std::int64_t>(size.in, kDepth));
  const auto start = [&](int slice) {
    if (slice < count) {
      bf16* to = slices + slice % kStages * Shared<C>::kSlice;
      start_rows<kRows>(at.x, size.rows, size.in, row, slice, to);
      start_rows<C>(at.weight, size.out, size.in, column, slice, to + kRows * kStep);
    }
    commit_copies();
  };
  for (int slice = 0; slice < kStages - 1; ++slice) start(slice);
  for (int slice = 0; slice < count; ++slice) {
    wait_copies<kStages - 2>();
    __syncthreads();  // the slice has come to all, and all are done with the one whose place the next takes
    start(slice + kStages - 1);
    if (slice * kDepth + along >= size.in) continue;
    const bf16 *x = slices + slice % kStages * Shared<C>::kSlice, *weight = x + kRows * kStep;
    unsigned left[4];
    load_left<kStep>(left, x, 0, along);
#pragma unroll
    for (int n = 0; n < C / 16; ++n) {
      unsigned right[2][2];
      load_right_transposed<kStep>(right, weight, n * 16, along);
      mma_bf16(sums[n * 2], left, right[0]);
      mma_bf16(sums[n * 2 + 1], left, right[1]);
    }
  }
  wait_copies<0>();
  __syncthreads();
}

/// Adds up the warps' sums and the bias: store(row, column of the block, four numbers).
template <int C, class Store>
__device__ __forceinline__ void add_warps(const float (&sums)[C / 8][4], const bf16* bias, int columns, Store store) {
  constexpr int kStride = Shared<C>::kSumStep;
  float* shared = dynamic_shared<float>();  // (kWarps, kRows, kStride)
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int n = 0; n < C / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      cuda::store<2>(shared + (warp * kRows + half * 8 + lane / 4) * kStride + n * 8 + lane % 4 * 2,
                     Vector<float, 2>{sums[n][half * 2], sums[n][half * 2 + 1]});
    }
  }
  __syncthreads();
  for (int item = static_cast<int>(threadIdx.x); item < kRows * C / 4; item += kThreads) {
    const int row = item / (C / 4), column = item % (C / 4) * 4;
    if (column >= columns) continue;
    Vector<float, 4> total = load<4>(shared + row * kStride + column);
    for (int other = 1; other < kWarps; ++other) {
      const auto part = load<4>(shared + (other * kRows + row) * kStride + column);
#pragma unroll
      for (int i = 0; i < 4; ++i) total[i] += part[i];
    }
    if (bias != nullptr) {
      const auto added = load<4>(bias + column);
#pragma unroll
      for (int i = 0; i < 4; ++i) total[i] += compute(added[i]);
    }
    store(row, column, total);
  }
}

/// Normalises 16 rows in shared memory, 16 lanes each, and stores what becomes of those that exist.
__device__ __forceinline__ void end_rows(const NormRows& size, float eps, const LinearNorm& at, std::int64_t first, const float* rows) {
  constexpr int kLanes = kThreads / kRows;
  const int width = static_cast<int>(size.width), begin = static_cast<int>(threadIdx.x) % kLanes * 4;
  const float* own = rows + static_cast<int>(threadIdx.x) / kLanes * width;
  float sum = 0;
  for (int column = begin; column < width; column += kLanes * 4) {
    const auto values = load<4>(own + column);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum += values[i];
  }
  const float mean = warp_sum<kLanes>(sum) / static_cast<float>(width);
  float squares = 0;  // of distances from the mean: a large mean costs no digits
  for (int column = begin; column < width; column += kLanes * 4) {
    const auto values = load<4>(own + column);
#pragma unroll
    for (int i = 0; i < 4; ++i) squares += (values[i] - mean) * (values[i] - mean);
  }
  const float rstd = 1.0F / sqrt(warp_sum<kLanes>(squares) / static_cast<float>(width) + eps);
  const std::int64_t row = first + static_cast<int>(threadIdx.x) / kLanes;
  if (row >= size.count) return;
  const SampleAffine<float> affine(at.affine, (size.first + row) / size.rows);
  for (int column = begin; column < width; column += kLanes * 4) {
    auto values = load<4>(own + column);
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = (values[i] - mean) * rstd;
    store_affine(affine, at.residual, column, row * width + column, values, at.y);
  }
}

/// Block (tile of rows, part of the columns). What blocks of the same rows hand over: (tile, 16, width), and a counter for each tile.
struct Handover {
  float* sums;
  unsigned* counters;
};

template <int C, bool kWhole>
__global__ void __launch_bounds__(kThreads)
    linear_norm_kernel(LinearSize size, NormRows rows, float eps, LinearNorm at, Handover handover) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  const int column = static_cast<int>(blockIdx.y) * C, width = static_cast<int>(size.out);
  float sums[C / 8][4] = {};
  multiply<C>(size, at, row, column, sums);
  float* whole = dynamic_shared<float>() + Shared<C>::kSums;
  float* to = kWhole ? whole : handover.sums + row * width;
  add_warps<C>(sums, at.bias == nullptr ? nullptr : at.bias + column, width - column,
               [&](int i, int k, const Vector<float, 4>& total) { store<4>(to + i * width + column + k, total); });
  if constexpr (kWhole) {
    __syncthreads();
  } else {
    if (!is_last(handover.counters + blockIdx.x, gridDim.y)) return;
    for (int i = static_cast<int>(threadIdx.x); i < kRows * width; i += kThreads) whole[i] = __ldcg(to + i);
    __syncthreads();
  }
  end_rows(rows, eps, at, row, whole);
}

template <int C, bool kWhole>
void launch(Cuda device, LinearSize size, const NormRows& rows, double eps, const LinearNorm& at) {
  const std::int64_t tiles = divided_up<std::int64_t>(size.rows, kRows), parts = divided_up<std::int64_t>(size.out, C);
  const Block memory = workspace(device, kWhole ? 0 : static_cast<std::size_t>(tiles * kRows * size.out) * sizeof(float));
  const Handover handover{static_cast<float*>(memory.data()),
                          kWhole ? nullptr : block_counters(memory.device(), static_cast<std::size_t>(tiles))};
  launch_kernel(linear_norm_kernel<C, kWhole>, dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(parts)), kThreads,
                Shared<C>::bytes(size.out), device, size, rows, eps, at, handover);
}

}  // namespace

bool fits_linear_norm(LinearSize size) {
  const std::int64_t columns = columns_of(size.out), tiles = divided_up<std::int64_t>(size.rows, kRows);
  const std::int64_t bytes = tiles * divided_up(size.out, columns) * (kRows + columns) * size.in * static_cast<std::int64_t>(sizeof(bf16));
  return size.in % 8 == 0 && size.out % 8 == 0 && size.out <= kWidest && bytes <= kMostBytes;
}

void linear_norm(Cuda device, LinearSize size, const NormRows& rows, double eps, const LinearNorm& at) {
  if (size.rows == 0) return;
  const int columns = columns_of(size.out);
  if (columns == 48) return launch<48, true>(device, size, rows, eps, at);
  if (columns == 96) return launch<96, true>(device, size, rows, eps, at);
  launch<16, false>(device, size, rows, eps, at);
}

}  // namespace trident
