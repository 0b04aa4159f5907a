/// Products of small matrices, one for every mode, and of large ones, all of complex numbers.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident {

/// c (m, n) = a (m, k) b (k, n) at every mode; conjugates of a or b where asked. Strides are complex elements; modes lie side by side.
struct ModeProduct {
  std::int64_t modes = 0, m = 0, n = 0, k = 0;
  std::int64_t a_m = 0, a_k = 0, b_k = 0, b_n = 0, c_m = 0, c_n = 0;
  bool conjugate_a = false, conjugate_b = false;
};
template <class T>
void mode_product(Cpu, const ModeProduct&, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c);
template <class T>
void mode_product(Cuda, const ModeProduct&, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c);

/// c (m, n) = a (m, k) b (k, n), row-major; b with any strides (complex elements), conjugated where asked.
struct ComplexProduct {
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t b_k = 0, b_n = 0;
  bool conjugate_b = false;
};
template <class T>
void complex_product(Cpu, const ComplexProduct&, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c);
template <class T>
void complex_product(Cuda, const ComplexProduct&, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c);

/// y (before, out, after) = matrix (out, in) x (before, in, after), row-major; the matrix with any strides, conjugated where asked.
struct MiddleProduct {
  std::int64_t before = 0, in = 0, out = 0, after = 0;
  std::int64_t matrix_out = 0, matrix_in = 0;  // strides (complex elements)
  bool conjugate_matrix = false;
};
template <class T>
void middle_product(Cpu, const MiddleProduct&, const std::complex<T>* x, const std::complex<T>* matrix, std::complex<T>* y);
template <class T>
void middle_product(Cuda, const MiddleProduct&, const std::complex<T>* x, const std::complex<T>* matrix, std::complex<T>* y);

}  // namespace trident
