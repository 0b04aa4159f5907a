#include "checkpoint/box.h"

#include <gtest/gtest.h>

#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"

namespace trident {
namespace {

/// As a tensor that was saved by PyTorch as the transpose of another lies in its file.
TEST(Box, TakesItsPartOfATensorOfAnyStrides) {
  const Tensor columns = view::permute(from_values<double>({3, 2}, std::vector{0.0, 10.0, 1.0, 11.0, 2.0, 12.0}), {1, 0});  // (2, 3)
  const Tensor part = zeros({2, 2}, DType::f64);
  EXPECT_EQ(copy_overlap(part, {{0, 2}, {1, 3}}, columns, whole_box({2, 3})), 4);
  EXPECT_EQ(to_host<double>(part), (std::vector{1.0, 2.0, 11.0, 12.0}));
}

}  // namespace
}  // namespace trident
