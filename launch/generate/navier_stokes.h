/// Incompressible flow on the periodic unit square: the vorticity equation with a passive tracer, pseudo-spectral in space, adaptive
/// Runge-Kutta with an integrating factor in time.
///   d omega / dt + u . grad omega = viscosity lap omega        (u, v) = (d psi / dy, -d psi / dx), -lap psi = omega
///   d c / dt     + u . grad c     = viscosity lap c
#pragma once

#include <span>
#include <vector>

#include "launch/generate/periodic_grid.h"

namespace trident {

struct FlowParameters {
  int resolution = 128;      // points per side
  double viscosity = 4e-4;   // unit square per time
  double viscous_above = 0;  // modes of at most so many cycles per side feel no viscosity
  double tolerance = 1e-6;   // relative error of a time step
};

/// Fourier coefficients of vorticity and tracer (empty: none). The mean of the vorticity is 0.
struct Flow {
  std::vector<Complex> vorticity, tracer;
  double step = 0.0;  // what the next time step should be; 0: not known yet
};

class NavierStokes {
 public:
  explicit NavierStokes(const FlowParameters& parameters);

  PeriodicGrid& grid() { return grid_; }
  /// Moves the flow on by `duration`. Throws Error if no step is small enough.
  void advance(Flow& flow, double duration);
  /// Velocities along x and y at the grid's points.
  void velocity(const Flow& flow, std::span<double> u, std::span<double> v);

 private:
  void velocity_modes(std::span<const Complex> vorticity);
  void rates(std::span<const Complex> state, std::span<Complex> result);
  void set_decay(double step);
  double try_step(double step);

  FlowParameters parameters_;
  PeriodicGrid grid_;
  std::vector<double> damping_, decay_;  // viscous rate of each mode; its factor over half a step
  double step_of_decay_ = -1.0;
  // Vorticity, then tracer: the state, its slope, and what a step works with.
  std::vector<Complex> state_, slope_, stage_, sum_, middle_slope_, end_slope_;
  std::vector<Complex> modes_u_, modes_v_;
  std::vector<double> u_, v_, c_, product_, other_product_;
};

/// Half the mean of u^2 + v^2, and half the mean of omega^2, by Parseval's sum. Viscosity takes 2 viscosity enstrophy of the energy per
/// time.
double kinetic_energy(const PeriodicGrid& grid, const Flow& flow);
double enstrophy(const PeriodicGrid& grid, const Flow& flow);

}  // namespace trident
