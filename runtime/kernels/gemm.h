/// One matrix product on the CPU: by oneDNN in f32, by our own tiles in f64, which oneDNN does not have.
#pragma once

#include <cstdint>

namespace trident::cpu {

/// Row-major c (m, n) = op(a) op(b) + beta c; ld: elements between rows as stored. Runs on the calling thread alone inside a parallel
/// region, else on all threads.
struct Gemm {
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t lda = 0, ldb = 0, ldc = 0;
  bool transpose_a = false, transpose_b = false;
  double beta = 0.0;
};
void gemm(const Gemm&, const float* a, const float* b, float* c);
void gemm(const Gemm&, const double* a, const double* b, double* c);

}  // namespace trident::cpu
