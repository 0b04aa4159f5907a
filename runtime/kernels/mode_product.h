/// Products of small matrices of complex numbers, one for every mode.
#pragma once

#include "runtime/kernels/dispatch.h"

namespace trident {

/// c (m, n) = a (m, k) b (k, n) at every mode; conjugates of a or b where asked. Strides are complex elements; modes lie side by side.
struct ModeProduct {
  std::int64_t modes = 0, m = 0, n = 0, k = 0;
  std::int64_t a_m = 0, a_k = 0, b_k = 0, b_n = 0, c_m = 0, c_n = 0;
  bool conjugate_a = false, conjugate_b = false;
  bool add = false;  // to what c has
};
template <class T>
void mode_product(Cpu, const ModeProduct&, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c);
template <class T>
void mode_product(Cuda, const ModeProduct&, const std::complex<T>* a, const std::complex<T>* b, std::complex<T>* c);

}  // namespace trident
