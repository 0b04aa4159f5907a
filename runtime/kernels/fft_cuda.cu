#include "runtime/kernels/fft.h"

#include <algorithm>

#include "runtime/kernels/cuda/complex_number.h"
#include "runtime/kernels/cuda/fourier_plan.h"
#include "runtime/kernels/cuda/workspace.h"

namespace trident {
namespace {

using cuda::Complex;

constexpr int kThreads = 256;
constexpr std::int64_t kMostNumbers = std::int64_t{1} << 25;  // complex numbers that fields under way may take

dim3 blocks_for(std::int64_t count) { return dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)); }

template <class T>
__global__ void to_complex_kernel(std::int64_t count, const T* x, Complex<T>* z) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) z[i] = {x[i], T(0)};
}

template <class T>
__global__ void real_parts_kernel(std::int64_t count, const Complex<T>* z, T* y) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) y[i] = z[i].re;
}

/// The place on an axis of `old_extent` of what stands at `place` on one of `new_extent`; -1 if the mode is not kept.
__device__ __forceinline__ std::int64_t source_place(std::int64_t place, std::int64_t old_extent, std::int64_t new_extent) {
  const std::int64_t kept = min(old_extent, new_extent);
  if (place < (kept + 1) / 2) return place;
  const std::int64_t below = new_extent - place;  // of the mode -below
  return below <= kept / 2 ? old_extent - below : -1;
}

template <class T>
__global__ void move_modes_kernel(Resampling size, T scale, const Complex<T>* from, Complex<T>* to) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= size.fields * size.new_rows * size.new_columns) return;
  const std::int64_t column = source_place(i % size.new_columns, size.columns, size.new_columns);
  const std::int64_t row = source_place(i / size.new_columns % size.new_rows, size.rows, size.new_rows);
  const std::int64_t field = i / (size.new_rows * size.new_columns);
  if (row < 0 || column < 0) {
    to[i] = {T(0), T(0)};
    return;
  }
  const Complex<T> z = from[(field * size.rows + row) * size.columns + column];
  to[i] = {scale * z.re, scale * z.im};
}

template <class T>
void resample(Cuda cuda, const Resampling& size, T scale, const T* x, T* y) {
  const std::int64_t old_numbers = size.fields * size.rows * size.columns, new_numbers = size.fields * size.new_rows * size.new_columns;
  const Block old_block = cuda::workspace(cuda, static_cast<std::size_t>(old_numbers) * sizeof(Complex<T>));
  const Block new_block = cuda::workspace(cuda, static_cast<std::size_t>(new_numbers) * sizeof(Complex<T>));
  auto *from = static_cast<Complex<T>*>(old_block.data()), *to = static_cast<Complex<T>*>(new_block.data());
  cuda::launch_kernel(to_complex_kernel<T>, blocks_for(old_numbers), dim3(kThreads), 0, cuda, old_numbers, x, from);
  cuda::fast_fourier_transform(cuda, size.fields, size.rows, size.columns, cuda::FourierSign::forward, reinterpret_cast<T*>(from));
  cuda::launch_kernel(move_modes_kernel<T>, blocks_for(new_numbers), dim3(kThreads), 0, cuda, size, scale,
                      static_cast<const Complex<T>*>(from), to);
  cuda::fast_fourier_transform(cuda, size.fields, size.new_rows, size.new_columns, cuda::FourierSign::backward, reinterpret_cast<T*>(to));
  cuda::launch_kernel(real_parts_kernel<T>, blocks_for(new_numbers), dim3(kThreads), 0, cuda, new_numbers,
                      static_cast<const Complex<T>*>(to), y);
}

}  // namespace

template <class T>
void spectral_resample(Cuda cuda, const Resampling& size, T scale, const T* x, T* y) {
  const std::int64_t points = size.rows * size.columns, new_points = size.new_rows * size.new_columns;
  const std::int64_t together = std::max<std::int64_t>(1, kMostNumbers / std::max(points, new_points));
  for (std::int64_t field = 0; field < size.fields; field += together) {
    Resampling part = size;
    part.fields = std::min(together, size.fields - field);
    resample(cuda, part, scale, x + field * points, y + field * new_points);
  }
}

template void spectral_resample(Cuda, const Resampling&, float, const float*, float*);
template void spectral_resample(Cuda, const Resampling&, double, const double*, double*);

}  // namespace trident
