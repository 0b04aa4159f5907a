/// One check for everything differentiable.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace trident::testing {

using Differentiable = std::function<Tensor(const std::vector<Tensor>& inputs)>;

struct GradcheckOptions {
  double tolerance = 1e-8;  // relative, in the 2-norm, per input
  double step = 2e-4;       // of the fourth-order central differences; no kink may lie within two steps of an input
};

/// Checks the gradient of <fn(inputs), random direction> with respect to every element of every input (f64) against finite differences;
/// that an input alone on the tape gets the same gradient as with the others; that a gradient which meets another is added to it; and that
/// strided inputs and a strided gradient of the output change nothing. Use: EXPECT_TRUE(gradcheck(fn, {x, weight})).
::testing::AssertionResult gradcheck(const Differentiable& fn, const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

/// The same, and where there is a GPU (or the emulated one) value and gradients on it within 1e-12 of the CPU's. For operations: `fn` must
/// bring what it captures to the device of its inputs.
::testing::AssertionResult gradcheck_on_every_device(const Differentiable& fn, const std::vector<Tensor>& inputs,
                                                     const GradcheckOptions& options = {});

}  // namespace trident::testing
