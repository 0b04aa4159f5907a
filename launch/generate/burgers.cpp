#include "launch/generate/burgers.h"

#include <fftw3.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>

#include "launch/generate/fftw_planner.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr int kLeastGrid = 512;
constexpr int kInitialModes = 128;
constexpr double kTwoPi = 2.0 * std::numbers::pi;

}  // namespace

struct Burgers::Plans {
  explicit Plans(int n) : real(static_cast<std::size_t>(n)), half(static_cast<std::size_t>(n / 2 + 1)) {
    const std::lock_guard lock(fftw_planner());
    auto* modes = reinterpret_cast<fftw_complex*>(half.data());
    forward = fftw_plan_dft_r2c_1d(n, real.data(), modes, FFTW_ESTIMATE);
    backward = fftw_plan_dft_c2r_1d(n, modes, real.data(), FFTW_ESTIMATE);
  }
  ~Plans() {
    const std::lock_guard lock(fftw_planner());
    fftw_destroy_plan(forward);
    fftw_destroy_plan(backward);
  }

  std::vector<double> real;
  Modes half;
  fftw_plan forward = nullptr, backward = nullptr;
};

Burgers::Burgers(int n, double viscosity) : n_(n), viscosity_(viscosity) {
  if (n < 8 || n % 2 != 0 || !(viscosity >= 0.0)) {
    throw ConfigError(concat("burgers: ", n, " points and viscosity ", viscosity, "; give an even number from 8 on, and 0 or more"));
  }
  plans_ = std::make_unique<Plans>(n);
}
Burgers::~Burgers() = default;

Burgers::Modes Burgers::to_modes(const std::vector<double>& u) {
  plans_->real = u;
  fftw_execute(plans_->forward);
  Modes modes = plans_->half;
  for (auto& mode : modes) mode /= n_;
  return modes;
}

std::vector<double> Burgers::to_points(const Modes& modes) {
  std::copy(modes.begin(), modes.end(), plans_->half.begin());
  fftw_execute(plans_->backward);
  return plans_->real;
}

/// -(u^2 / 2)_x of the modes below n / 3.
void Burgers::slope(const Modes& modes, Modes& result) {
  std::vector<double> u = to_points(modes);
  for (double& value : u) value *= 0.5 * value;
  result = to_modes(u);
  for (std::size_t k = 0; k < result.size(); ++k) {
    const bool kept = 3 * k < static_cast<std::size_t>(n_);
    result[k] = kept ? result[k] * std::complex<double>(0.0, -kTwoPi * static_cast<double>(k)) : 0.0;
  }
}

void Burgers::step(Modes& modes, double seconds) {
  const std::size_t size = modes.size();
  std::vector<double> decay(size);  // of the viscosity over half a step
  for (std::size_t k = 0; k < size; ++k) {
    const double wave = kTwoPi * static_cast<double>(k);
    decay[k] = std::exp(-viscosity_ * wave * wave * seconds / 2.0);
  }
  Modes k1, k2, k3, k4, stage(size);
  slope(modes, k1);
  for (std::size_t k = 0; k < size; ++k) stage[k] = decay[k] * (modes[k] + seconds / 2.0 * k1[k]);
  slope(stage, k2);
  for (std::size_t k = 0; k < size; ++k) stage[k] = decay[k] * modes[k] + seconds / 2.0 * k2[k];
  slope(stage, k3);
  for (std::size_t k = 0; k < size; ++k) stage[k] = decay[k] * (decay[k] * modes[k] + seconds * k3[k]);
  slope(stage, k4);
  for (std::size_t k = 0; k < size; ++k) {
    modes[k] =
        decay[k] * decay[k] * (modes[k] + seconds / 6.0 * k1[k]) + seconds / 3.0 * decay[k] * (k2[k] + k3[k]) + seconds / 6.0 * k4[k];
  }
}

void Burgers::advance(std::vector<double>& u, double time) {
  double fastest = 0.0;
  for (const double value : u) fastest = std::max(fastest, std::abs(value));
  const auto steps = std::max(1, static_cast<int>(std::ceil(2.0 * time * fastest * n_)));
  Modes modes = to_modes(u);
  for (std::size_t k = 0; k < modes.size(); ++k) {
    if (3 * k >= static_cast<std::size_t>(n_)) modes[k] = 0.0;
  }
  for (int i = 0; i < steps; ++i) step(modes, time / steps);
  u = to_points(modes);
}

std::vector<double> burgers_initial(int n, RandomKey key) {
  std::vector<double> u(static_cast<std::size_t>(n));
  for (int k = 1; k < std::min(kInitialModes, n / 2); ++k) {
    const double wave = kTwoPi * k, decay = 25.0 / (wave * wave + 25.0), deviation = std::numbers::sqrt2 * decay * decay;
    const double cosine = deviation * normal(key, static_cast<std::uint64_t>(2 * k)),
                 sine = deviation * normal(key, static_cast<std::uint64_t>(2 * k + 1));
    for (int i = 0; i < n; ++i) u[static_cast<std::size_t>(i)] += cosine * std::cos(wave * i / n) + sine * std::sin(wave * i / n);
  }
  return u;
}

int burgers_grid(int resolution) {
  const int n = resolution * ((kLeastGrid + resolution - 1) / resolution);
  return n % 2 == 0 ? n : 2 * n;
}

void solve_burgers(int resolution, double viscosity, RandomKey key, float* frames) {
  const int n = burgers_grid(resolution), stride = n / resolution;
  Burgers solver(n, viscosity);
  std::vector<double> u = burgers_initial(n, key);
  for (int frame = 0; frame < kBurgersFrames; ++frame) {
    if (frame > 0) solver.advance(u, 1.0 / (kBurgersFrames - 1));
    for (int i = 0; i < resolution; ++i) *frames++ = static_cast<float>(u[static_cast<std::size_t>(i * stride)]);
  }
}

}  // namespace trident
