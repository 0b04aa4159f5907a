/// A few neighbouring lanes normalise a row that they keep in registers; both directions read each number once and are limited by memory:
/// forward x, residual and y move (bf16, with residual: 6 bytes a number, 10 where the sum's rest is carried along), backward x, dy and dx.
/// Sums over rows are added up in blocks of rows (registers, then lanes, then warps in order), and the blocks' by those who come last.
#include "runtime/kernels/cuda/joint_sums.h"
#include "runtime/kernels/cuda/norm_ending.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

/// How lanes share a row: vectors of N numbers, `lanes` (a power of two) per row, P vectors a lane; P = 0: as many as there are, read again
/// by every pass.
struct Split {
  int lanes, pieces;
};

Split split_of(std::int64_t vectors) {
  constexpr int kInRegisters[] = {1, 2, 3, 6, 12, 24};
  int lanes = 1;
  while (lanes < kWarp && lanes * 3 < vectors) lanes *= 2;
  for (const int pieces : kInRegisters) {
    if (std::int64_t{pieces} * lanes >= vectors) return {lanes, pieces};
  }
  return {lanes, 0};
}

/// Calls visit(piece, column) for the vectors of one lane.
template <int N, int P, class Visit>
__device__ __forceinline__ void for_each_vector(std::int64_t width, int lane, int lanes, Visit&& visit) {
  if constexpr (P > 0) {
#pragma unroll
    for (int piece = 0; piece < P; ++piece) {
      const int column = (piece * lanes + lane) * N;
      if (column < width) visit(piece, column);
    }
  } else {
    for (std::int64_t column = static_cast<std::int64_t>(lane) * N; column < width; column += static_cast<std::int64_t>(lanes) * N)
      visit(0, column);
  }
}

template <class T>
__device__ __forceinline__ T lanes_sum(T value, int lanes) {
  for (int bit = lanes / 2; bit > 0; bit /= 2) value += __shfl_xor_sync(kAllLanes, value, bit);
  return value;
}

/// A lane's part of a row of numbers.
template <class T, int N, int P>
struct RowPart {
  const T* from;
  Vector<T, N> values[P > 0 ? P : 1];

  __device__ __forceinline__ RowPart(const T* row, std::int64_t width, int lane, int lanes) : from(row) {
    if constexpr (P > 0) {
      for_each_vector<N, P>(width, lane, lanes, [&](int piece, int column) { values[piece] = load<N>(row + column); });
    }
  }
  __device__ __forceinline__ Vector<T, N> at(int piece, std::int64_t column) const {
    if constexpr (P > 0) return values[piece];
    return load<N>(from + column);
  }
};

template <class T>
struct NormOperands {
  const T* x;
  NormNumbers<Wide<T>> affine;
  NormResidual<T> residual;
  T* y;
  Wide<T>*mean, *rstd;
};

template <class T, int N, int P>
__global__ void __launch_bounds__(kThreads) layer_norm_kernel(NormRows size, int lanes, Wide<T> eps, NormOperands<T> at) {
  using C = Wide<T>;
  const int lane = static_cast<int>(threadIdx.x) % lanes, group = static_cast<int>(threadIdx.x) / lanes, groups = kThreads / lanes;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * groups; first < size.count;
       first += static_cast<std::int64_t>(gridDim.x) * groups) {
    // Groups past the last row work on it too, because their warp's sums need all lanes, and write nothing.
    const bool writes = first + group < size.count;
    const std::int64_t row = writes ? first + group : size.count - 1;
    const RowPart<T, N, P> x(at.x + row * size.width, size.width, lane, lanes);
    C mean = 0, rstd = 1;
    if (at.mean != nullptr) {
      C sum = 0;
      for_each_vector<N, P>(size.width, lane, lanes, [&](int piece, std::int64_t column) {
        const auto values = x.at(piece, column);
#pragma unroll
        for (int i = 0; i < N; ++i) sum += compute(values[i]);
      });
      mean = lanes_sum(sum, lanes) / static_cast<C>(size.width);
      C squares = 0;  // of distances from the mean: a large mean costs no digits
      for_each_vector<N, P>(size.width, lane, lanes, [&](int piece, std::int64_t column) {
        const auto values = x.at(piece, column);
#pragma unroll
        for (int i = 0; i < N; ++i) squares += (compute(values[i]) - mean) * (compute(values[i]) - mean);
      });
      rstd = C(1) / sqrt(lanes_sum(squares, lanes) / static_cast<C>(size.width) + eps);
    }
    if (!writes) continue;
    const SampleAffine<C> affine(at.affine, (size.first + row) / size.rows);
    for_each_vector<N, P>(size.width, lane, lanes, [&](int piece, std::int64_t column) {
      const auto values = x.at(piece, column);
      Vector<C, N> normalised;
#pragma unroll
      for (int i = 0; i < N; ++i) normalised[i] = (compute(values[i]) - mean) * rstd;
      store_affine(affine, at.residual, column, row * size.width + column, normalised, at.y);
    });
    if (lane == 0 && at.mean != nullptr) {
      at.mean[row] = mean;
      at.rstd[row] = rstd;
    }
  }
}

/// The rows of x that belong to a sample begin here.
__device__ __forceinline__ std::int64_t first_row(const NormRows& size, std::int64_t sample) {
  return min(max(sample * size.rows - size.first, std::int64_t{0}), size.count);
}

/// Rows of a sample whose sums one block adds up: several rounds of `groups` rows where there are many. By extents alone.
std::int64_t rows_per_block(const NormRows& size, std::int64_t groups) {
  constexpr std::int64_t kEnoughBlocks = 264;
  return divided_up(divided_up(size.count, kEnoughBlocks), groups) * groups;
}

/// The rows of one sample that a block has: block blockIdx.x of sample blockIdx.y.
struct BlockRows {
  std::int64_t sample, first, last;

  __device__ __forceinline__ BlockRows(const NormRows& size, std::int64_t block_rows) : sample(blockIdx.y) {
    const std::int64_t begin = first_row(size, sample), end = first_row(size, sample + 1);
    first = min(end, begin + static_cast<std::int64_t>(blockIdx.x) * block_rows);
    last = min(end, first + block_rows);
  }
};

constexpr int kSums = 3;  // over rows: for scale, for shift and for a bias in x

/// What a row was normalised by.
template <class T>
struct RowStatistics {
  Wide<T> mean, rstd;

  __device__ __forceinline__ RowStatistics(const NormGradient<T>& g, std::int64_t row)
      : mean(g.mean == nullptr ? Wide<T>(0) : g.mean[row]), rstd(g.mean == nullptr ? Wide<T>(1) : g.rstd[row]) {}
};

/// What the rows' sums go to, and where those of a block are kept until then: kSums, and with time those for the slopes of the first two.
template <class C>
struct NormTotals {
  JointSums<C> joint;
  NormSums<C> to;

  /// `at(i)`: this block's sums (kSums, width) over its rows.
  template <class At>
  __device__ __forceinline__ void add(const SampleAffine<C>& affine, std::int64_t width, At at) const {
    const unsigned part = blockIdx.y * gridDim.x + blockIdx.x;
    C* own = joint.part(0, part);
    for (std::int64_t i = threadIdx.x; i < kSums * width; i += kThreads) {
      const C sum = i < 2 * width ? affine.factor * at(i) : at(i);
      own[i] = sum;
      if (i < 2 * width && affine.of.time != nullptr) own[kSums * width + i] = affine.time * sum;
    }
    add_up(joint, 0, part, [&](std::int64_t i, C sum) {
      const std::int64_t which = i / width;
      const Into<C>& into = which == 0   ? to.scale
                            : which == 1 ? to.shift
                            : which == 2 ? to.bias
                            : which == 3 ? to.scale_slope
                                         : to.shift_slope;
      if (into.to == nullptr) return;
      C& target = into.to[i % width];
      target = into.sum == Sum::adds ? target + sum : sum;
    });
  }
};

/// dx of a block's rows; with kAdds also the sums over rows.
template <class T, int N, int P, bool kAdds>
__global__ void __launch_bounds__(kThreads, P <= 3 ? 2 : 1)
    gradient_kernel(NormRows size, int lanes, std::int64_t block_rows, NormGradient<T> g, NormTotals<Wide<T>> totals) {
  using C = Wide<T>;
  const int lane = static_cast<int>(threadIdx.x) % lanes, group = static_cast<int>(threadIdx.x) / lanes, groups = kThreads / lanes;
  const BlockRows rows(size, block_rows);
  const SampleAffine<C> affine(g.affine, rows.sample);
  constexpr int kKept = kAdds ? P : 0;
  C sums[kSums][kKept > 0 ? kKept * N : 1] = {};
  for (std::int64_t base = rows.first; base < rows.last; base += groups) {
    const bool counts = base + group < rows.last;
    const std::int64_t row = counts ? base + group : rows.last - 1;
    const RowPart<T, N, P> x(g.x + row * size.width, size.width, lane, lanes), dy(g.dy + row * size.width, size.width, lane, lanes);
    const RowStatistics<T> of(g, row);
    const C mean = of.mean, rstd = of.rstd;
    C total = 0, along = 0;  // of the gradient of the normalised row; of its product with that row
    for_each_vector<N, P>(size.width, lane, lanes, [&](int piece, std::int64_t column) {
      const auto value = x.at(piece, column), slope = dy.at(piece, column);
      const auto scale = affine.template scale<N>(column);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const C d = counts ? compute(slope[i]) : C(0), normalised = (compute(value[i]) - mean) * rstd, gained = d * scale[i];
        total += gained;
        along += gained * normalised;
        if constexpr (kAdds) {
          sums[0][piece * N + i] += d * normalised;
          sums[1][piece * N + i] += d;
        }
      }
    });
    if (g.dx == nullptr) continue;
    const bool normalises = g.mean != nullptr;
    const C offset = normalises ? lanes_sum(total, lanes) / static_cast<C>(size.width) : C(0);
    const C factor = normalises ? lanes_sum(along, lanes) * rstd / static_cast<C>(size.width) : C(0);
    if (!counts) continue;
    for_each_vector<N, P>(size.width, lane, lanes, [&](int piece, std::int64_t column) {
      const auto value = x.at(piece, column), slope = dy.at(piece, column);
      const auto scale = affine.template scale<N>(column);
      Vector<T, N> dx;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const C gradient = rstd * (compute(slope[i]) * scale[i] - offset - (compute(value[i]) - mean) * factor);
        dx[i] = stored<T>(gradient);
        if constexpr (kAdds) sums[2][piece * N + i] += gradient;
      }
      store<N>(g.dx + row * size.width + column, dx);
    });
  }
  if constexpr (kAdds) {
    C* shared = dynamic_shared<C>();  // (kSums, width)
    for (int warp = 0; warp < kThreads / kWarp; ++warp) {
      if (static_cast<int>(threadIdx.x) / kWarp == warp) {
        for_each_vector<N, P>(kWarp * P * N, lane, lanes, [&](int piece, int column) {
#pragma unroll
          for (int i = 0; i < N; ++i) {
#pragma unroll
            for (int which = 0; which < kSums; ++which) {
              C sum = sums[which][piece * N + i];
              for (int bit = lanes; bit < kWarp; bit *= 2)  // lanes of other groups that hold the same column
                sum += __shfl_xor_sync(kAllLanes, sum, bit);
              if (static_cast<int>(threadIdx.x) % kWarp >= lanes || column >= size.width) continue;
              C& together = shared[which * size.width + column + i];
              together = warp == 0 ? sum : together + sum;
            }
          }
        });
      }
      __syncthreads();
    }
    totals.add(affine, size.width, [=](std::int64_t i) { return shared[i]; });
  }
}

/// The sums of a block's rows where rows do not fit in registers: a thread per column.
template <class T>
__global__ void __launch_bounds__(kThreads)
    column_sums_kernel(NormRows size, std::int64_t block_rows, NormGradient<T> g, NormTotals<Wide<T>> totals) {
  using C = Wide<T>;
  const BlockRows rows(size, block_rows);
  totals.add(SampleAffine<C>(g.affine, rows.sample), size.width, [&](std::int64_t i) {
    const std::int64_t which = i / size.width, column = i % size.width;
    C sum = 0;
    if (which == 2 && g.dx == nullptr) return sum;
    for (std::int64_t row = rows.first; row < rows.last; ++row) {
      const std::int64_t place = row * size.width + column;
      const C slope = compute(which == 2 ? g.dx[place] : g.dy[place]);
      const RowStatistics<T> of(g, row);
      sum += which == 0 ? slope * (compute(g.x[place]) - of.mean) * of.rstd : slope;
    }
    return sum;
  });
}

/// Calls launch(N, P) as constants: vectors where rows are made of whole ones, else single numbers.
template <class T, class Launch>
void with_split(std::int64_t width, bool vectors, int most_pieces, Launch&& launch) {
  using std::integral_constant;
  constexpr int N = kVectorWidth<T>;
  const Split split = split_of(vectors ? width / N : width);
  const auto go = [&](auto pieces) { launch(integral_constant<int, N>{}, pieces, split.lanes); };
  if (!vectors || split.pieces == 0 || split.pieces > most_pieces) {
    if (vectors) return launch(integral_constant<int, N>{}, integral_constant<int, 0>{}, kWarp);
    return launch(integral_constant<int, 1>{}, integral_constant<int, 0>{}, kWarp);
  }
  switch (split.pieces) {
    case 1:
      return go(integral_constant<int, 1>{});
    case 2:
      return go(integral_constant<int, 2>{});
    case 3:
      return go(integral_constant<int, 3>{});
    case 6:
      return go(integral_constant<int, 6>{});
    case 12:
      return go(integral_constant<int, 12>{});
    default:
      return go(integral_constant<int, 24>{});
  }
}

/// Whether rows and the affine part's numbers are made of whole vectors.
template <class W, class... T>
bool are_vectors(std::int64_t width, const NormNumbers<W>& affine, const T*... rows) {
  constexpr int N = std::min({kVectorWidth<T>...});
  return fits_vectors<N>(width, rows...) && fits_vectors<N>(width, affine.scale, affine.shift, affine.scale_slope, affine.shift_slope);
}

}  // namespace

template <class T>
void layer_norm(Cuda device, const NormRows& size, double eps, const T* x, const NormNumbers<Wide<T>>& affine,
                const NormResidual<T>& residual, T* y, Wide<T>* mean, Wide<T>* rstd) {
  if (size.count == 0) return;
  const bool vectors =
      are_vectors(size.width, affine, x, residual.value, residual.rest, static_cast<const T*>(y), static_cast<const T*>(residual.y_rest));
  with_split<T>(size.width, vectors, 24, [&](auto n, auto pieces, int lanes) {
    launch_kernel(layer_norm_kernel<T, n(), pieces()>, strided_grid(size.count, kThreads / lanes), kThreads, 0, device, size, lanes, eps,
                  NormOperands<T>{x, affine, residual, y, mean, rstd});
  });
}

template <class T>
void layer_norm_gradient(Cuda device, const NormRows& size, const NormGradient<T>& g) {
  using C = Wide<T>;
  const bool vectors = are_vectors(size.width, g.affine, g.x, g.dy, static_cast<const T*>(g.dx)), adds = g.sums.any();
  constexpr int kMostPieces = std::min(12, 48 / kVectorWidth<T>);  // of x, dy and both sums in registers
  with_split<T>(size.width, vectors, kMostPieces, [&](auto n, auto pieces, int lanes) {
    if constexpr (pieces() <= kMostPieces) {
      const std::int64_t block_rows = rows_per_block(size, kThreads / lanes), blocks = divided_up(size.rows, block_rows);
      const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(size.samples));
      const std::int64_t sums = adds ? (kSums + (g.affine.time == nullptr ? 0 : 2)) * size.width : 0;
      const JointMemory<C> memory(device, 1, blocks * size.samples, sums);
      const NormTotals<C> totals{memory.sums(), g.sums};
      if constexpr (pieces() > 0) {
        if (adds) {
          launch_kernel(gradient_kernel<T, n(), pieces(), true>, grid, kThreads, static_cast<std::size_t>(kSums * size.width) * sizeof(C),
                        device, size, lanes, block_rows, g, totals);
          return;
        }
      }
      if (g.dx != nullptr)
        launch_kernel(gradient_kernel<T, n(), pieces(), false>, grid, kThreads, 0, device, size, lanes, block_rows, g, totals);
      if (adds) launch_kernel(column_sums_kernel<T>, grid, kThreads, 0, device, size, block_rows, g, totals);
    }
  });
}

#define TRIDENT_LAYER_NORM(T)                                                                                                          \
  template void layer_norm(Cuda, const NormRows&, double, const T*, const NormNumbers<Wide<T>>&, const NormResidual<T>&, T*, Wide<T>*, \
                           Wide<T>*);                                                                                                  \
  template void layer_norm_gradient(Cuda, const NormRows&, const NormGradient<T>&);
TRIDENT_LAYER_NORM(float)
TRIDENT_LAYER_NORM(double)
TRIDENT_LAYER_NORM(bf16)

}  // namespace trident
