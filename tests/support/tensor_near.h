/// Comparing tensors in tests.
#pragma once

#include <gtest/gtest.h>

#include "runtime/tensor/tensor.h"

namespace trident::testing {

/// Passes if shape and number type are equal and |actual - expected| <= tolerance * |expected| in the 2-norm (absolute where expected is
/// 0). A failure prints the relative difference, and the largest one with its place. A tolerance of 0 asks for equal values.
::testing::AssertionResult tensor_near(const char* actual_text, const char* expected_text, const char* tolerance_text, const Tensor& actual,
                                       const Tensor& expected, double tolerance);

}  // namespace trident::testing

#define EXPECT_TENSOR_NEAR(actual, expected, tolerance) EXPECT_PRED_FORMAT3(::trident::testing::tensor_near, actual, expected, tolerance)
#define ASSERT_TENSOR_NEAR(actual, expected, tolerance) ASSERT_PRED_FORMAT3(::trident::testing::tensor_near, actual, expected, tolerance)
