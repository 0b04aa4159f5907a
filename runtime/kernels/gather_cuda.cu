#include <limits>

#include "runtime/kernels/cuda/strided_index.h"
#include "runtime/kernels/gather.h"

namespace trident {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / cuda::kWarp;

/// Indices outside of the table cannot be told to the host without waiting for them: their rows become NaN.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(unsigned count, cuda::Divisor width, std::int64_t rows, const T* table, const std::int64_t* index, T* y) {
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) {
    const unsigned place = width.quotient(static_cast<unsigned>(i)), column = static_cast<unsigned>(i) - place * width.divisor;
    const std::int64_t row = index[place];
    y[i] = row >= 0 && row < rows ? table[row * width.divisor + column] : std::numeric_limits<T>::quiet_NaN();
  }
}

/// Block (row of the table, 32 columns), columns first. Each warp looks through a part of the indices, 32 at a time, and adds the gradients
/// of those that name the row in their order; then the warps' sums are added in theirs.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_gradient_kernel(GatherExtents extents, const T* dy, const std::int64_t* index, T* dtable) {
  __shared__ T sums[kWarps][cuda::kWarp];
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp, warp = static_cast<int>(threadIdx.x) / cuda::kWarp;
  const std::int64_t widths = cuda::divided_up<std::int64_t>(extents.width, cuda::kWarp), row = blockIdx.x / widths,
                     column = blockIdx.x % widths * cuda::kWarp + lane;
  const std::int64_t part = cuda::divided_up(extents.count, static_cast<std::int64_t>(kWarps * cuda::kWarp)) * cuda::kWarp;
  T sum = 0;
  for (std::int64_t first = warp * part; first < min(extents.count, (warp + 1) * part); first += cuda::kWarp) {
    const std::int64_t place = first + lane;
    unsigned found = __ballot_sync(cuda::kAllLanes, place < extents.count && index[place] == row);
    for (; found != 0; found &= found - 1) {
      const std::int64_t at = first + __ffs(static_cast<int>(found)) - 1;
      if (column < extents.width) sum += dy[at * extents.width + column];
    }
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= extents.width) return;
  for (int other = 1; other < kWarps; ++other) sum += sums[other][lane];
  dtable[row * extents.width + column] = sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads) dropout_kernel(unsigned count, cuda::Divisor width, DropoutPlaces places, double probability,
                                                           cuda::Compute<T> scale, StreamKey stream, const T* x, T* y) {
  const RandomKey key = stream.key();
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) {
    const unsigned token = width.quotient(static_cast<unsigned>(i)), k = static_cast<unsigned>(i) - token * width.divisor;
    const std::int64_t at = places.first + token, line = at / places.columns;
    const std::int64_t sample = line / places.rows, row = line % places.rows, column = at % places.columns;
    const std::int64_t index = places.origin + (sample * places.sample_step + row * places.row_step + column) * places.width + k;
    const bool kept = uniform(key, static_cast<std::uint64_t>(index)) >= probability;
    y[i] = cuda::stored<T>(kept ? cuda::compute(x[i]) * scale : cuda::Compute<T>(0));
  }
}

/// Calls part(first row, rows) for parts whose elements a Divisor can count.
template <class Part>
void for_each_part(std::int64_t rows, std::int64_t width, Part&& part) {
  if (width == 0) return;
  const std::int64_t most = std::max<std::int64_t>(1, (cuda::longest_loop() - 1) / width);
  for (std::int64_t first = 0; first < rows; first += most) part(first, std::min(most, rows - first));
}

}  // namespace

template <class T>
void gather_rows(Cuda cuda, const GatherExtents& extents, const T* table, const std::int64_t* index, T* y) {
  for_each_part(extents.count, extents.width, [&](std::int64_t first, std::int64_t places) {
    const std::int64_t count = places * extents.width;
    cuda::launch_kernel(gather_kernel<T>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, static_cast<unsigned>(count),
                        cuda::Divisor(extents.width), extents.rows, table, index + first, y + first * extents.width);
  });
}

template <class T>
void gather_rows_gradient(Cuda cuda, const GatherExtents& extents, const T* dy, const std::int64_t* index, std::int64_t*, T* dtable) {
  // In one dimension: rows may be of more than 32 x 65535 columns (patches of fields), tables of more rows.
  const auto grid = static_cast<unsigned>(extents.rows * cuda::divided_up<std::int64_t>(extents.width, cuda::kWarp));
  cuda::launch_kernel(gather_gradient_kernel<T>, grid, kThreads, 0, cuda, extents, dy, index, dtable);
}

template <class T>
void dropout(Cuda cuda, const DropoutPlaces& places, double probability, const StreamKey& key, const T* x, T* y) {
  const auto scale = static_cast<cuda::Compute<T>>(1.0 / (1.0 - probability));
  for_each_part(places.tokens, places.width, [&](std::int64_t first, std::int64_t tokens) {
    DropoutPlaces part = places;
    part.first += first;
    const std::int64_t count = tokens * places.width, offset = first * places.width;
    cuda::launch_kernel(dropout_kernel<T>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, static_cast<unsigned>(count),
                        cuda::Divisor(places.width), part, probability, scale, key, x + offset, y + offset);
  });
}

#define TRIDENT_GATHER(T)                                                                   \
  template void gather_rows(Cuda, const GatherExtents&, const T*, const std::int64_t*, T*); \
  template void gather_rows_gradient(Cuda, const GatherExtents&, const T*, const std::int64_t*, std::int64_t*, T*);
TRIDENT_GATHER(float)
TRIDENT_GATHER(double)
template void dropout(Cuda, const DropoutPlaces&, double, const StreamKey&, const float*, float*);
template void dropout(Cuda, const DropoutPlaces&, double, const StreamKey&, const double*, double*);
template void dropout(Cuda, const DropoutPlaces&, double, const StreamKey&, const bf16*, bf16*);

}  // namespace trident
