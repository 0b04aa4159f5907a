#include "models/layers/resample.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "models/module.h"
#include "runtime/error.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/matmul.h"
#include "runtime/ops/shape.h"
#include "runtime/tensor/constant.h"

namespace trident {
namespace {

/// A linear map from `columns` points to `rows`, row-major.
template <class Number>
struct Matrix {
  std::int64_t rows = 0, columns = 0;
  std::vector<Number> values;
  Matrix(std::int64_t rows, std::int64_t columns) : rows(rows), columns(columns), values(static_cast<std::size_t>(rows * columns)) {}
  Number& operator()(std::int64_t row, std::int64_t column) { return values[static_cast<std::size_t>(row * columns + column)]; }
};

Tensor tensor_of(std::int64_t rows, std::int64_t columns, const std::vector<double>& values, const Tensor& like) {
  return constant({rows, columns}, values, like.dtype(), like.device());
}

/// Where row `row` of `rows` lies among `columns` points.
double position(std::int64_t row, std::int64_t rows, std::int64_t columns) {
  return rows > 1 ? static_cast<double>(row) * static_cast<double>(columns - 1) / static_cast<double>(rows - 1) : 0.0;
}

Matrix<double> linear_weights(std::int64_t rows, std::int64_t columns) {
  Matrix<double> result(rows, columns);
  for (std::int64_t row = 0; row < rows; ++row) {
    const double at = position(row, rows, columns);
    const auto below = std::min(static_cast<std::int64_t>(at), columns - 1);
    const double share = at - static_cast<double>(below);
    result(row, below) += 1.0 - share;
    result(row, std::min(below + 1, columns - 1)) += share;
  }
  return result;
}

/// The cubic convolution kernel of Keys 1981 with a = -3/4, at a distance of up to 2 points.
double keys_kernel(double distance) {
  constexpr double a = -0.75;
  const double d = std::fabs(distance);
  return d <= 1.0 ? ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0 : ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
}

Matrix<double> cubic_weights(std::int64_t rows, std::int64_t columns) {
  Matrix<double> result(rows, columns);
  for (std::int64_t row = 0; row < rows; ++row) {
    const double at = position(row, rows, columns);
    const auto below = static_cast<std::int64_t>(std::floor(at));
    for (std::int64_t point = below - 1; point <= below + 2; ++point) {
      result(row, std::clamp<std::int64_t>(point, 0, columns - 1)) += keys_kernel(at - static_cast<double>(point));
    }
  }
  return result;
}

/// Frequencies first..last out of `columns` points, put back together on `rows`, each times its factor.
template <class Factor>
Matrix<std::complex<double>> fourier_weights(std::int64_t rows, std::int64_t columns, std::int64_t first, std::int64_t last,
                                             const Factor& factor) {
  Matrix<std::complex<double>> result(rows, columns);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const double shift =
          static_cast<double>(row) / static_cast<double>(rows) - static_cast<double>(column) / static_cast<double>(columns);
      std::complex<double> sum = 0.0;
      for (std::int64_t k = first; k <= last; ++k)
        sum += factor(k) * std::polar(1.0, 2.0 * std::numbers::pi * static_cast<double>(k) * shift);
      result(row, column) = sum / static_cast<double>(columns);
    }
  }
  return result;
}

Matrix<std::complex<double>> fourier_weights(std::int64_t rows, std::int64_t columns) {
  const std::int64_t shared = std::min(rows, columns);
  return fourier_weights(rows, columns, -(shared / 2), (shared - 1) / 2, [](std::int64_t) { return 1.0; });
}

/// Of the last dimension, whose negative frequencies are conjugates: they are counted with the positive ones but for 0 and the result's
/// highest.
Matrix<std::complex<double>> half_fourier_weights(std::int64_t rows, std::int64_t columns) {
  return fourier_weights(rows, columns, 0, std::min(rows, columns) / 2,
                         [=](std::int64_t k) { return k == 0 || 2 * k == rows ? 1.0 : 2.0; });
}

/// The matrix applied along one dimension.
Tensor along(const Tensor& x, int dim, const Tensor& matrix) {
  if (dim == x.rank() - 1) return linear(x, matrix);
  Shape order, back(x.shape());
  for (int i = 0; i < x.rank(); ++i) {
    if (i != dim) order.push_back(i);
  }
  order.push_back(dim);
  for (int i = 0; i < x.rank(); ++i) back[static_cast<int>(order[i])] = i;
  return permute(linear(permute(x, order), matrix), back);
}

/// A complex field as its two parts; the imaginary one is undefined if it is 0.
struct ComplexPair {
  Tensor re, im;
};

ComplexPair along(const ComplexPair& x, int dim, const Matrix<std::complex<double>>& weights) {
  std::vector<double> parts[2];
  for (const std::complex<double>& value : weights.values) parts[0].push_back(value.real()), parts[1].push_back(value.imag());
  const Tensor re = tensor_of(weights.rows, weights.columns, parts[0], x.re), im = tensor_of(weights.rows, weights.columns, parts[1], x.re);
  if (!x.im.defined()) return {along(x.re, dim, re), along(x.re, dim, im)};
  return {along(x.re, dim, re) - along(x.im, dim, im), along(x.re, dim, im) + along(x.im, dim, re)};
}

}  // namespace

Tensor resample(const Tensor& x, const std::vector<std::int64_t>& extents) {
  const int dims = x.rank() - 2;
  if (dims < 1 || dims > 3 || static_cast<std::size_t>(dims) != extents.size()) {
    throw ShapeError(concat("resample: x ", to_string(x.shape()), " has ", dims, " space dimensions, ", extents.size(),
                            " extents are given; expected 1 to 3 of both"));
  }
  Tensor y = cast(x, parameter_type(x.dtype()));  // weights of bf16 would not add up to 1
  if (dims == 3) {
    ComplexPair pair{y, {}};
    for (int dim = 2; dim < 5; ++dim) {
      const std::int64_t rows = extents[static_cast<std::size_t>(dim - 2)], columns = x.size(dim);
      pair = along(pair, dim, dim == 4 ? half_fourier_weights(rows, columns) : fourier_weights(rows, columns));
    }
    return cast(pair.re, x.dtype());
  }
  for (int dim = 2; dim < x.rank(); ++dim) {
    const std::int64_t rows = extents[static_cast<std::size_t>(dim - 2)], columns = x.size(dim);
    const Matrix<double> weights = dims == 1 ? linear_weights(rows, columns) : cubic_weights(rows, columns);
    y = along(y, dim, tensor_of(rows, columns, weights.values, y));
  }
  return cast(y, x.dtype());
}

}  // namespace trident
