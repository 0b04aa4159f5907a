#include "launch/generate/darcy.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "launch/generate/multigrid.h"

namespace trident {
namespace {

constexpr int kLeastGrid = 256;  // intervals per side
constexpr int kModes = 128;      // cosines per axis; the rest has 1e-4 of the field's standard deviation
constexpr double kTau2 = 9.0;    // of the covariance

/// cos(pi k i / n) for the modes k and the points i.
std::vector<double> cosines(int n) {
  std::vector<double> table;
  for (int i = 0; i <= n; ++i) {
    for (int k = 0; k < kModes; ++k) table.push_back(std::cos(std::numbers::pi * k * i / n));
  }
  return table;
}

}  // namespace

std::vector<double> gaussian_field(int n, RandomKey key) {
  const auto modes = static_cast<std::size_t>(kModes), points = static_cast<std::size_t>(n) + 1;
  std::vector<double> coefficients(modes * modes);
  double variance = 0.0;
  for (std::size_t k = 0; k < modes; ++k) {
    for (std::size_t l = 0; l < modes; ++l) {
      if (k + l == 0) continue;  // zero mean
      const double frequency = std::numbers::pi * std::numbers::pi * static_cast<double>(k * k + l * l);
      const double norm = (k == 0 ? 1.0 : std::numbers::sqrt2) * (l == 0 ? 1.0 : std::numbers::sqrt2);
      const double deviation = 1.0 / (frequency + kTau2);
      variance += deviation * deviation;
      coefficients[k * modes + l] = norm * deviation * normal(key, k * modes + l);
    }
  }
  const std::vector<double> table = cosines(n);
  std::vector<double> half(points * modes), field(points * points);
  for (std::size_t i = 0; i < points; ++i) {
    for (std::size_t k = 0; k < modes; ++k) {
      for (std::size_t l = 0; l < modes; ++l) half[i * modes + l] += table[i * modes + k] * coefficients[k * modes + l];
    }
  }
  const double scale = 1.0 / std::sqrt(variance);
  for (std::size_t i = 0; i < points; ++i) {
    for (std::size_t j = 0; j < points; ++j) {
      double sum = 0.0;
      for (std::size_t l = 0; l < modes; ++l) sum += half[i * modes + l] * table[j * modes + l];
      field[i * points + j] = scale * sum;
    }
  }
  return field;
}

std::vector<double> medium_of(Medium medium, int n, RandomKey key) {
  std::vector<double> values = gaussian_field(n, key);
  for (double& value : values) value = medium == Medium::two_phase ? (value < 0.0 ? 0.0 : 1.0) : std::exp(value);
  return values;
}

std::vector<double> coefficient_of(Medium medium, const std::vector<double>& values) {
  std::vector<double> result = values;
  if (medium == Medium::log_normal) return result;
  for (double& value : result) value = value == 0.0 ? kLowCoefficient : kHighCoefficient;
  return result;
}

int darcy_grid(int resolution) { return resolution * ((kLeastGrid + resolution - 1) / resolution); }

void solve_darcy(Medium medium, int resolution, RandomKey key, float* values, float* pressure) {
  const int n = darcy_grid(resolution), stride = n / resolution;
  const std::vector<double> field = medium_of(medium, n, key);
  const std::vector<double> source(field.size(), 1.0);
  std::vector<double> u;
  Diffusion(n, coefficient_of(medium, field)).solve(source, u, kDarcyTolerance);
  for (int i = 0; i < resolution; ++i) {
    for (int j = 0; j < resolution; ++j) {
      const auto at = static_cast<std::size_t>(i * stride) * static_cast<std::size_t>(n + 1) + static_cast<std::size_t>(j * stride);
      *values++ = static_cast<float>(field[at]);
      *pressure++ = static_cast<float>(u[at]);
    }
  }
}

}  // namespace trident
