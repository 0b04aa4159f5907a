#include "runtime/kernels/cuda/strided_index.h"
#include "runtime/kernels/windows.h"

namespace trident {
namespace {

constexpr int kThreads = 256;

/// Offsets into the fields of one level of one unit, one channel.
__device__ __forceinline__ std::int64_t plane_of(const WindowExtents& e, std::int64_t unit, std::int64_t channel) {
  return (e.sample[unit] * e.channels + channel) * e.ny * e.nx;
}

/// `count` points of windows of the units from `first` on.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(unsigned count, std::int64_t first, WindowExtents e, cuda::Divisor columns, cuda::Divisor rows, cuda::Divisor channels,
                  cuda::Divisor levels, const T* x, T* windows) {
  for (std::int64_t i = cuda::grid_thread(); i < count; i += cuda::grid_threads()) {
    const unsigned line = columns.quotient(static_cast<unsigned>(i)), plane = rows.quotient(line), place = channels.quotient(plane);
    const unsigned b = static_cast<unsigned>(i) - line * columns.divisor, a = line - plane * rows.divisor,
                   channel = plane - place * channels.divisor;
    const unsigned unit_here = levels.quotient(place), level = place - unit_here * levels.divisor;
    const std::int64_t unit = first + unit_here;
    const std::int64_t row = e.row_index[(level * e.units + unit) * e.rows + a],
                       column = e.column_index[(level * e.units + unit) * e.columns + b];
    windows[i] = row < 0 || column < 0 ? T(0) : x[plane_of(e, unit, channel) + row * e.nx + column];
  }
}

/// The first unit whose sample is at least `sample`.
__device__ __forceinline__ std::int64_t first_unit(const WindowExtents& e, std::int64_t sample) {
  std::int64_t low = 0, high = e.units;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (e.sample[middle] < sample) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// Blocks stride over the rows of the fields; a thread adds up points of a row. Windows name a point more than once where they wrap around
/// it, so every thread looks for its point in all of them: in a fixed order, without atomic sums.
template <class T>
__global__ void __launch_bounds__(kThreads) gather_gradient_kernel(WindowExtents e, const T* dwindows, T* dx) {
  for (std::int64_t line = blockIdx.x; line < e.samples * e.channels * e.ny; line += gridDim.x) {
    const std::int64_t row = line % e.ny, channel = line / e.ny % e.channels, sample = line / e.ny / e.channels;
    const std::int64_t first = first_unit(e, sample), last = first_unit(e, sample + 1);
    for (std::int64_t column = threadIdx.x; column < e.nx; column += kThreads) {
      T sum = 0;
      for (std::int64_t unit = first; unit < last; ++unit) {
        for (std::int64_t level = 0; level < e.levels; ++level) {
          const std::int64_t* rows = e.row_index + (level * e.units + unit) * e.rows;
          const std::int64_t* columns = e.column_index + (level * e.units + unit) * e.columns;
          const T* from = dwindows + ((unit * e.levels + level) * e.channels + channel) * e.rows * e.columns;
          for (std::int64_t a = 0; a < e.rows; ++a) {
            if (rows[a] != row) continue;
            for (std::int64_t b = 0; b < e.columns; ++b) {
              if (columns[b] == column) sum += from[a * e.columns + b];
            }
          }
        }
      }
      dx[line * e.nx + column] = sum;
    }
  }
}

}  // namespace

template <class T>
void gather_windows(Cuda cuda, const WindowExtents& e, const T* x, T* windows) {
  const std::int64_t of_unit = e.levels * e.channels * e.rows * e.columns;
  if (of_unit == 0) return;
  const std::int64_t most = std::max<std::int64_t>(1, (cuda::longest_loop() - 1) / of_unit);
  for (std::int64_t first = 0; first < e.units; first += most) {
    const std::int64_t count = std::min(most, e.units - first) * of_unit;
    cuda::launch_kernel(gather_kernel<T>, cuda::strided_grid(count, kThreads), kThreads, 0, cuda, static_cast<unsigned>(count), first, e,
                        cuda::Divisor(e.columns), cuda::Divisor(e.rows), cuda::Divisor(e.channels), cuda::Divisor(e.levels), x,
                        windows + first * of_unit);
  }
}

template <class T>
void gather_windows_gradient(Cuda cuda, const WindowExtents& e, const T* dwindows, T* dx) {
  cuda::launch_kernel(gather_gradient_kernel<T>, cuda::strided_grid(e.samples * e.channels * e.ny, 1), kThreads, 0, cuda, e, dwindows, dx);
}

template void gather_windows(Cuda, const WindowExtents&, const float*, float*);
template void gather_windows(Cuda, const WindowExtents&, const double*, double*);
template void gather_windows_gradient(Cuda, const WindowExtents&, const float*, float*);
template void gather_windows_gradient(Cuda, const WindowExtents&, const double*, double*);

}  // namespace trident
