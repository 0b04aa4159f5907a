/// Darcy flow through random media: -div(a grad u) = 1 on the unit square, u = 0 on its boundary.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/tensor/random.h"

namespace trident {

/// How a Gaussian random field g becomes the coefficient.
enum class Medium {
  two_phase,  // kLowCoefficient where g < 0, kHighCoefficient elsewhere
  log_normal  // exp(g / its standard deviation)
};
inline auto config_names(Medium) {
  return std::array{std::pair{Medium::two_phase, "two-phase"}, std::pair{Medium::log_normal, "log-normal"}};
}

/// Of the data that neuraloperator publishes, where -laplace(u) is 50 in one phase and 1 / 0.36 in the other.
inline constexpr double kLowCoefficient = 0.02, kHighCoefficient = 0.36;  // the attribute `medium` of a set says so
inline constexpr double kDarcyTolerance = 1e-8;                           // of the residual over the right side

/// A field of covariance (-laplace + 9)^-2 with zero slope at the boundary and zero mean, over its standard deviation, on the points (i /
/// n, j / n), 0 <= i, j <= n: the same function for every n.
std::vector<double> gaussian_field(int n, RandomKey key);

/// The medium as the data set holds it: the phase (0 or 1), or the coefficient itself.
std::vector<double> medium_of(Medium medium, int n, RandomKey key);
/// Its coefficient.
std::vector<double> coefficient_of(Medium medium, const std::vector<double>& values);

/// Points per side of the grid that a data set of `resolution` is solved on: the smallest multiple that has at least 256.
int darcy_grid(int resolution);

/// Sample `key` at `resolution`: medium and pressure at the points (i / resolution, j / resolution), 0 <= i, j < resolution.
void solve_darcy(Medium medium, int resolution, RandomKey key, float* values, float* pressure);

}  // namespace trident
