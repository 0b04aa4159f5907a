#include "tests/support/gradcheck.h"

#include <string>

#include "runtime/autograd/tape.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/on_gpu.h"
#include "tests/support/random_tensor.h"
#include "tests/support/tensor_near.h"

namespace trident::testing {
namespace {

double inner_product(const Tensor& a, const Tensor& b) {
  const std::vector<double> left = to_host<double>(a), right = to_host<double>(b);
  double total = 0;
  for (std::size_t i = 0; i < left.size(); ++i) total += left[i] * right[i];
  return total;
}

Tensor copy_of(const Tensor& x) {
  const Tensor copy = empty_like(x);
  copy_into(copy, x);
  return copy;
}

/// The gradients of <fn(inputs), dy>, zero where none arrives; only inputs marked in `on_tape` become leaves.
std::vector<Tensor> gradients_of(const Differentiable& fn, const std::vector<Tensor>& inputs, const std::vector<bool>& on_tape,
                                 const Tensor& dy) {
  std::vector<Tensor> arguments, leaves;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    arguments.push_back(on_tape[i] ? leaf(inputs[i]) : inputs[i]);
    if (on_tape[i]) leaves.push_back(arguments.back());
  }
  std::vector<Tensor> found = gradients(fn(arguments), dy, leaves);
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (!found[i].defined()) found[i] = zeros(leaves[i].shape(), DType::f64);
  }
  return found;
}

/// The same where gradients meet others, which are random and taken off again: in leaves that hold some, or in values that have got some
/// from later uses.
std::vector<Tensor> gradients_that_meet_others(const Differentiable& fn, const std::vector<Tensor>& inputs, const Tensor& dy,
                                               bool in_leaves) {
  std::vector<Tensor> leaves, arguments, others;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    others.push_back(to_device(random_tensor(inputs[i].shape(), 70 + i), dy.device()));
    leaves.push_back(leaf(inputs[i], in_leaves ? copy_of(others[i]) : zeros(inputs[i].shape(), DType::f64, dy.device())));
    arguments.push_back(in_leaves ? leaves[i] : affine(leaves[i], 1.0));
  }
  const Tensor y = fn(arguments);
  if (!y.node()) return std::vector<Tensor>(inputs.size());
  Tensor share = sum(reshape(y * dy, {y.numel()}));
  for (std::size_t i = 0; i < inputs.size() && !in_leaves; ++i) share = share + sum(arguments[i] * others[i]);
  backward(share);
  std::vector<Tensor> found;
  for (std::size_t i = 0; i < inputs.size(); ++i) found.push_back(gradient_of(leaves[i]) - others[i]);
  return found;
}

/// Fourth-order central differences of <fn(inputs), dy> with respect to every element of inputs[which].
Tensor differences(const Differentiable& fn, const std::vector<Tensor>& inputs, std::size_t which, const Tensor& dy, double step) {
  std::vector<Tensor> moved = inputs;
  moved[which] = copy_of(inputs[which]);
  double* x = moved[which].data<double>();
  const Tensor result = empty_like(moved[which]);
  for (std::int64_t i = 0; i < result.numel(); ++i) {
    const double before = x[i];
    const auto at = [&](double steps) {
      x[i] = before + steps * step;
      return inner_product(fn(moved), dy);
    };
    result.data<double>()[i] = (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * step);
    x[i] = before;
  }
  return result;
}

::testing::AssertionResult near(const std::string& what, const Tensor& actual, const Tensor& expected, double tolerance) {
  return tensor_near(what.c_str(), "what was expected", "", actual, expected, tolerance);
}

::testing::AssertionResult same_where_they_meet_others(const Differentiable& fn, const std::vector<Tensor>& inputs, const Tensor& dy,
                                                       const std::vector<Tensor>& expected) {
  constexpr double kTolerance = 1e-12;  // another number is in the sums
  for (const bool in_leaves : {true, false}) {
    const std::vector<Tensor> found = gradients_that_meet_others(fn, inputs, dy, in_leaves);
    for (std::size_t i = 0; i < found.size(); ++i) {
      const std::string what = concat("the gradient of input ", i, in_leaves ? " in a leaf that holds one" : " where it meets another");
      if (auto same = near(what, found[i], expected[i], kTolerance); !same) return same;
    }
  }
  return ::testing::AssertionSuccess();
}

/// The value and the gradients on a GPU against those of the CPU.
::testing::AssertionResult same_on_gpu(const Differentiable& fn, const std::vector<Tensor>& inputs, const Tensor& y, const Tensor& dy,
                                       const std::vector<Tensor>& expected) {
  constexpr double kTolerance = 1e-12;  // sums in another order
  std::vector<Tensor> on_gpu;
  for (const Tensor& input : inputs) on_gpu.push_back(to_device(input, kGpu));
  if (auto same = near("the output on a GPU", fn(on_gpu), y, kTolerance); !same) return same;
  const std::vector<Tensor> found = gradients_of(fn, on_gpu, std::vector<bool>(inputs.size(), true), to_device(dy, kGpu));
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (auto same = near(concat("the gradient of input ", i, " on a GPU"), found[i], expected[i], kTolerance); !same) return same;
  }
  return same_where_they_meet_others(fn, on_gpu, to_device(dy, kGpu), expected);
}

enum class Devices { cpu, every };

::testing::AssertionResult check(const Differentiable& fn, const std::vector<Tensor>& inputs, const GradcheckOptions& options,
                                 Devices devices) {
  for (const Tensor& input : inputs) {
    if (input.dtype() != DType::f64)
      return ::testing::AssertionFailure() << "gradcheck: inputs must be f64, got " << name_of(input.dtype());
  }
  const Tensor y = fn(inputs);
  const Tensor dy = random_tensor(y.shape(), 7);
  const std::vector<bool> all(inputs.size(), true);
  const std::vector<Tensor> found = gradients_of(fn, inputs, all, dy);

  std::vector<Tensor> strided;
  for (const Tensor& input : inputs) strided.push_back(strided_copy_of(input));
  if (auto same = near("the output for strided inputs", fn(strided), y, 1e-14); !same) return same;
  const std::vector<Tensor> of_strided = gradients_of(fn, strided, all, strided_copy_of(dy));

  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string name = concat("the gradient of input ", i);
    if (auto right = near(name, found[i], differences(fn, inputs, i, dy, options.step), options.tolerance); !right) return right;
    if (auto same = near(name + " with strided tensors", of_strided[i], found[i], 1e-13); !same) return same;
    std::vector<bool> alone(inputs.size(), false);
    alone[i] = true;
    if (auto same = near(name + " alone on the tape", gradients_of(fn, inputs, alone, dy)[0], found[i], 1e-14); !same) return same;
  }
  if (auto same = same_where_they_meet_others(fn, inputs, dy, found); !same) return same;
  const bool has_gpu = devices == Devices::every && cuda_device_count() > 0;
  return has_gpu ? same_on_gpu(fn, inputs, y, dy, found) : ::testing::AssertionSuccess();
}

}  // namespace

::testing::AssertionResult gradcheck(const Differentiable& fn, const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  return check(fn, inputs, options, Devices::cpu);
}

::testing::AssertionResult gradcheck_on_every_device(const Differentiable& fn, const std::vector<Tensor>& inputs,
                                                     const GradcheckOptions& options) {
  return check(fn, inputs, options, Devices::every);
}

}  // namespace trident::testing
