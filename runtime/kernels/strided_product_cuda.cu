#include <complex>

#include "runtime/kernels/cuda/kernel.h"
#include "runtime/kernels/strided_product.h"

namespace trident {
namespace {

constexpr int kThreads = 256;

/// Steps through the loops that add up, or through the others; `index` counts their steps, the last loop fastest.
struct Place {
  std::int64_t a = 0, b = 0, c = 0;
};
__device__ inline Place place_of(const StridedProduct& size, bool adding, std::int64_t index) {
  Place place;
  for (int i = StridedProduct::kMostLoops - 1; i >= 0; --i) {
    const ProductLoop& loop = size.loops[static_cast<std::size_t>(i)];
    if (loop.extent == 1 || (loop.c == 0) != adding) continue;
    const std::int64_t step = index % loop.extent;
    index /= loop.extent;
    place.a += step * loop.a, place.b += step * loop.b, place.c += step * loop.c;
  }
  return place;
}

std::int64_t steps_of(const StridedProduct& size, bool adding) {
  std::int64_t steps = 1;
  for (const ProductLoop& loop : size.loops) {
    if (loop.extent != 1 && (loop.c == 0) == adding) steps *= loop.extent;
  }
  return steps;
}

/// A thread for each number of c; neighbours take neighbouring columns.
template <class T>
__global__ void __launch_bounds__(kThreads)
    strided_product_kernel(StridedProduct size, std::int64_t numbers, std::int64_t adding, const T* a, const T* b, T* c) {
  const T a_sign = size.conjugate_a ? T(-1) : T(1), b_sign = size.conjugate_b ? T(-1) : T(1);
  for (std::int64_t i = cuda::grid_thread(); i < numbers; i += cuda::grid_threads()) {
    const std::int64_t column = i % size.n, row = i / size.n % size.m;
    const Place apart = place_of(size, false, i / (size.n * size.m));
    T re = 0, im = 0;
    for (std::int64_t step = 0; step < adding; ++step) {
      const Place at = place_of(size, true, step);
      const T* left = a + 2 * (apart.a + at.a + row * size.a_m);
      const T* right = b + 2 * (apart.b + at.b + column * size.b_n);
      for (std::int64_t k = 0; k < size.k; ++k, left += 2 * size.a_k, right += 2 * size.b_k) {
        const T x = left[0], y = a_sign * left[1], u = right[0], v = b_sign * right[1];
        re += x * u - y * v;
        im += x * v + y * u;
      }
    }
    T* to = c + 2 * (apart.c + row * size.c_m + column);
    to[0] = re, to[1] = im;
  }
}

}  // namespace

template <class T>
void strided_product(Cuda cuda, const StridedProduct& size, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c) {
  const std::int64_t numbers = size.m * size.n * steps_of(size, false);
  cuda::launch_kernel(strided_product_kernel<T>, cuda::strided_grid(numbers, kThreads), kThreads, 0, cuda, size, numbers,
                      steps_of(size, true), reinterpret_cast<const T*>(a), reinterpret_cast<const T*>(b), reinterpret_cast<T*>(c));
}

#define TRIDENT_STRIDED_PRODUCT(T) \
  template void strided_product(Cuda, const StridedProduct&, const std::complex<T>*, const std::complex<T>*, std::complex<T>*);
TRIDENT_STRIDED_PRODUCT(float)
TRIDENT_STRIDED_PRODUCT(double)

}  // namespace trident
