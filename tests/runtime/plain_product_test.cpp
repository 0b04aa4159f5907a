#include "runtime/kernels/cuda/plain_product.h"

#include <gtest/gtest.h>

#include "runtime/ops/elementwise.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::kGpu;
using testing::random_tensor;
class PlainProduct : public testing::OnGpu {};

/// Both products of matrices of these sizes in a batch, with gaps between rows and a bias, added to what is there.
template <class T, class Out>
void expect_same(cuda::Product size, double tolerance) {
  const auto number = [&](std::int64_t count, std::uint64_t seed, DType dtype) {
    return to_device(cast(random_tensor({count}, seed), dtype), kGpu);
  };
  size.lda = (size.transpose_a ? size.m : size.k) + 1, size.ldb = (size.transpose_b ? size.k : size.n) + 2, size.ldc = size.n + 3;
  size.stride_a = (size.transpose_a ? size.k : size.m) * size.lda, size.stride_b = 0, size.stride_c = size.m * size.ldc;
  const Tensor a = number(size.count * size.stride_a, 1, dtype_of<T>);
  const Tensor b = number((size.transpose_b ? size.n : size.k) * size.ldb, 2, dtype_of<T>), bias = number(size.n, 3, dtype_of<Out>);
  const Tensor plain = number(size.count * size.stride_c, 4, dtype_of<Out>), library = number(size.count * size.stride_c, 4, dtype_of<Out>);
  const Cuda device = current_cuda("test", kGpu);
  cuda::plain_product(device, size, a.data<T>(), b.data<T>(), bias.data<Out>(), plain.data<Out>());
  cuda::product(device, size, a.data<T>(), b.data<T>(), bias.data<Out>(), library.data<Out>());
  EXPECT_TENSOR_NEAR(to_device(plain, {}), to_device(library, {}), tolerance);
}

TEST_F(PlainProduct, IsThatOfTheLibrary) {
  for (const bool transpose_a : {false, true}) {
    for (const bool transpose_b : {false, true}) {
      for (const double beta : {0.0, 1.0}) {
        for (const std::int64_t k : {0, 1, 19}) {
          const cuda::Product size{
              .m = 5, .n = 37, .k = k, .transpose_a = transpose_a, .transpose_b = transpose_b, .count = 3, .beta = beta};
          expect_same<double, double>(size, 1e-14);
          expect_same<float, float>(size, 1e-6);
          expect_same<bf16, float>(size, 1e-6);
          expect_same<bf16, bf16>(size, 1e-2);
        }
      }
    }
  }
}

}  // namespace
}  // namespace trident
