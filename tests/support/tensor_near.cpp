#include "tests/support/tensor_near.h"

#include <cmath>

#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident::testing {
namespace {

std::vector<c128> numbers_of(const Tensor& x) {
  if (is_complex(x.dtype())) {
    const Tensor wide = empty(x.shape(), DType::c128);
    copy_into(wide, x);
    return to_host<c128>(wide);
  }
  const Tensor wide = empty(x.shape(), DType::f64);
  copy_into(wide, x);
  const std::vector<double> values = to_host<double>(wide);
  return {values.begin(), values.end()};
}

std::string place_of(std::int64_t index, const Shape& shape) {
  Shape place = shape;
  for (int dim = shape.rank() - 1; dim >= 0; --dim) {
    place[dim] = index % shape[dim];
    index /= shape[dim];
  }
  return to_string(place);
}

}  // namespace

::testing::AssertionResult tensor_near(const char* actual_text, const char* expected_text, const char*, const Tensor& actual,
                                       const Tensor& expected, double tolerance) {
  const auto failure = [&] { return ::testing::AssertionFailure() << actual_text << " is not near " << expected_text << ": "; };
  if (!actual.defined() || !expected.defined()) {
    return failure() << (actual.defined() ? "the expected" : "the actual") << " tensor is undefined";
  }
  if (actual.shape() != expected.shape())
    return failure() << "shape " << to_string(actual.shape()) << ", expected " << to_string(expected.shape());
  if (actual.dtype() != expected.dtype()) return failure() << name_of(actual.dtype()) << ", expected " << name_of(expected.dtype());
  const std::vector<c128> found = numbers_of(actual), wanted = numbers_of(expected);
  double difference_squares = 0, expected_squares = 0, largest = -1;
  std::size_t place = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i] == wanted[i]) {
      expected_squares += std::norm(wanted[i]);
      continue;
    }
    const double difference = std::abs(found[i] - wanted[i]);
    difference_squares += difference * difference;
    expected_squares += std::norm(wanted[i]);
    if (!(difference <= largest)) {
      largest = difference;
      place = i;
    }
  }
  const double difference = std::sqrt(difference_squares), size = std::sqrt(expected_squares);
  const double relative = size > 0 ? difference / size : difference;
  if (relative <= tolerance) return ::testing::AssertionSuccess();
  return failure() << "relative 2-norm " << relative << ", allowed " << tolerance << "; largest difference " << largest << " at "
                   << place_of(static_cast<std::int64_t>(place), actual.shape()) << ": " << found[place] << ", expected " << wanted[place];
}

}  // namespace trident::testing
