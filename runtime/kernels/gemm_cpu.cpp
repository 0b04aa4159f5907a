#include <dnnl.h>

#include <algorithm>

#include "runtime/device/allocator.h"
#include "runtime/error.h"
#include "runtime/kernels/gemm.h"

namespace trident::cpu {
namespace {

/// c = beta c: an empty sum, of which oneDNN does not say what it does.
void scale(const Gemm& size, float* c) {
  for (std::int64_t row = 0; row < size.m; ++row, c += size.ldc) {
    for (std::int64_t i = 0; i < size.n; ++i) c[i] = size.beta == 0.0 ? 0.0F : static_cast<float>(size.beta) * c[i];
  }
}

/// Few rows against a large transposed matrix: oneDNN would repack all of that matrix for them, but takes it as it is when it comes first.
bool is_faster_turned(const Gemm& size) { return size.transpose_b && !size.transpose_a && size.m <= 32 && size.n >= 4 * size.m; }

/// c = a b^T + beta c by way of c^T = b a^T.
void turned_gemm(const Gemm& size, const float* a, const float* b, float* c) {
  const Block block(static_cast<std::size_t>(size.m * size.n) * sizeof(float), {});
  auto* turned = static_cast<float*>(block.data());
  gemm({.m = size.n, .n = size.m, .k = size.k, .lda = size.ldb, .ldb = size.lda, .ldc = size.m, .transpose_b = true}, b, a, turned);
  for (std::int64_t row = 0; row < size.m; ++row) {
    for (std::int64_t column = 0; column < size.n; ++column) {
      float& number = c[row * size.ldc + column];
      number = turned[column * size.m + row] + (size.beta == 0.0 ? 0.0F : static_cast<float>(size.beta) * number);
    }
  }
}

}  // namespace

void gemm(const Gemm& size, const float* a, const float* b, float* c) {
  if (size.m == 0 || size.n == 0) return;
  if (size.k == 0) return scale(size, c);
  if (is_faster_turned(size)) return turned_gemm(size, a, b, c);
  const auto status = dnnl_sgemm(size.transpose_a ? 'T' : 'N', size.transpose_b ? 'T' : 'N', size.m, size.n, size.k, 1.0F, a, size.lda, b,
                                 size.ldb, static_cast<float>(size.beta), c, size.ldc);
  if (status != dnnl_success) {
    throw DeviceError(concat("matmul: oneDNN refused a product of (", size.m, ", ", size.k, ") and (", size.k, ", ", size.n,
                             ") with status ", static_cast<int>(status), "; is there memory left?"));
  }
}

}  // namespace trident::cpu
