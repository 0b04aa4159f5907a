/// The viscous Burgers equation in one periodic dimension: u_t + u u_x = nu u_xx on [0, 1).
#pragma once

#include <complex>
#include <memory>
#include <vector>

#include "runtime/tensor/random.h"

namespace trident {

/// Pseudo-spectral, 2/3 rule, f64; fourth-order Runge-Kutta with an integrating factor for the viscosity.
class Burgers {
 public:
  /// n points x = i / n, even, at least 8.
  Burgers(int n, double viscosity);
  ~Burgers();
  Burgers(const Burgers&) = delete;
  Burgers& operator=(const Burgers&) = delete;

  int n() const { return n_; }
  /// The solution after `time`, from values at the points. Steps are as long as the flow takes for half an interval, and equally long.
  void advance(std::vector<double>& u, double time);

 private:
  using Modes = std::vector<std::complex<double>>;
  struct Plans;

  Modes to_modes(const std::vector<double>& u);
  std::vector<double> to_points(const Modes& modes);
  void slope(const Modes& modes, Modes& result);
  void step(Modes& modes, double seconds);

  int n_;
  double viscosity_;
  std::unique_ptr<Plans> plans_;
};

inline constexpr int kBurgersFrames = 17;  // from time 0 to 1
inline constexpr double kBurgersViscosity = 0.01;

/// A Gaussian random field of covariance 625^2 (-laplace + 25)^-4 without mean, at n points: the same function for every n. It has the
/// spectrum of the data that neuraloperator publishes.
std::vector<double> burgers_initial(int n, RandomKey key);

/// Points of the grid that a data set of `resolution` is solved on: the smallest even multiple that has at least 512.
int burgers_grid(int resolution);

/// Sample `key` at `resolution`: (frame, x), frame 0 the initial state.
void solve_burgers(int resolution, double viscosity, RandomKey key, float* frames);

}  // namespace trident
