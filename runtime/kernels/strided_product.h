/// Products of matrices of complex numbers where they lie: any strides, in loops over further dimensions.
#pragma once

#include <array>

#include "runtime/kernels/dispatch.h"

namespace trident {

/// A dimension around the matrices: steps of a, b and c in complex elements. Where c's is 0 the products are added up.
struct ProductLoop {
  std::int64_t extent = 1;
  std::int64_t a = 0, b = 0, c = 0;
};

/// c (m, n) = sum of a (m, k) b (k, n) over the loops that add up, for each step of the others. On the CPU c's columns lie side by side,
/// and are replaced; it is fast where b's do too, or its rows (b_k is 1).
struct StridedProduct {
  static constexpr int kMostLoops = 6;
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t a_m = 0, a_k = 0, b_k = 0, b_n = 0, c_m = 0, c_n = 1;
  std::array<ProductLoop, kMostLoops> loops{};  // those that are not needed have extent 1
  bool conjugate_a = false, conjugate_b = false;
  bool add = false;  // to c
};
template <class T>
void strided_product(Cpu, const StridedProduct&, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c);
template <class T>
void strided_product(Cuda, const StridedProduct&, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c);

}  // namespace trident
