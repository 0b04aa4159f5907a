#include "launch/generate/navier_stokes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "launch/generate/initial_flow.h"

namespace trident {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double result = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) result = std::max(result, std::abs(a[k] - b[k]));
  return result;
}

/// u at time `time` of the same smooth flow, at the points of an 8 x 8 grid.
std::vector<double> u_at(const FlowParameters& parameters, double time) {
  NavierStokes solver(parameters);
  Flow flow;
  flow.vorticity.resize(solver.grid().modes());
  flow.vorticity[solver.grid().mode(1, 1)] = {1.0, 0.5};
  flow.vorticity[solver.grid().mode(-2, 1)] = {-0.6, 0.8};
  flow.vorticity[solver.grid().mode(0, 2)] = {0.3, -1.1};
  solver.advance(flow, time);
  std::vector<double> u(solver.grid().points()), v(u), coarse;
  solver.velocity(flow, u, v);
  const int n = parameters.resolution, stride = n / 8;
  for (int i = 0; i < n; i += stride) {
    for (int j = 0; j < n; j += stride) coarse.push_back(u[static_cast<std::size_t>(i * n + j)]);
  }
  return coarse;
}

TEST(PeriodicGrid, GivesBackTheCoefficientsOfAField) {
  PeriodicGrid grid(16);
  std::vector<Complex> modes(grid.modes()), again(grid.modes());
  modes[grid.mode(3, 0)] = {0.25, -0.5};
  modes[grid.mode(-3, 0)] = {0.25, 0.5};  // the mirror image on ky = 0
  modes[grid.mode(-2, 5)] = {1.0, 2.0};
  std::vector<double> field(grid.points());
  grid.to_points(modes.data(), field.data());
  const double x = 3.0 / 16.0, y = 5.0 / 16.0;
  const double expected = 0.5 * std::cos(3 * kTwoPi * x) + std::sin(3 * kTwoPi * x) + 2.0 * std::cos(kTwoPi * (5 * y - 2 * x)) -
                          4.0 * std::sin(kTwoPi * (5 * y - 2 * x));
  EXPECT_NEAR(field[3 * 16 + 5], expected, 1e-13);
  grid.to_modes(field.data(), again.data());
  for (std::size_t k = 0; k < modes.size(); ++k) EXPECT_LT(std::abs(again[k] - modes[k]), 1e-15);
}

TEST(NavierStokes, TaylorGreenVorticesDecayAtTheirViscousRate) {
  NavierStokes solver({.resolution = 32, .viscosity = 0.01});
  Flow flow;
  flow.vorticity.resize(solver.grid().modes());
  flow.vorticity[solver.grid().mode(1, 1)] = flow.vorticity[solver.grid().mode(-1, 1)] = 2.0;
  const Flow start = flow;
  solver.advance(flow, 1.0);
  const double factor = std::exp(-0.01 * 2.0 * kTwoPi * kTwoPi);
  for (std::size_t k = 0; k < flow.vorticity.size(); ++k)
    EXPECT_LT(std::abs(flow.vorticity[k] - factor * start.vorticity[k]), 1e-10 * factor);
}

TEST(NavierStokes, AVelocityAlongTheFirstAxisCarriesTheTracerAlongIt) {
  // omega = -du/dy of u = cos(2 pi y): at y = 0 the flow runs along +x with speed 1.
  NavierStokes solver({.resolution = 32, .viscosity = 0.0});
  Flow flow;
  flow.vorticity.resize(solver.grid().modes());
  flow.tracer.resize(solver.grid().modes());
  flow.vorticity[solver.grid().mode(0, 1)] = {0.0, -0.5 * kTwoPi};
  flow.tracer[solver.grid().mode(1, 0)] = flow.tracer[solver.grid().mode(-1, 0)] = 0.5;  // cos(2 pi x)
  solver.advance(flow, 0.125);
  std::vector<double> u(solver.grid().points()), v(u), c(u);
  solver.velocity(flow, u, v);
  solver.grid().to_points(flow.tracer.data(), c.data());
  EXPECT_NEAR(u[0], 1.0, 1e-12);
  EXPECT_NEAR(c[4 * 32], 1.0, 1e-5);  // the crest has come to x = 4 / 32
}

TEST(NavierStokes, WithoutViscosityKeepsEnergyAndEnstrophy) {
  NavierStokes solver({.resolution = 48, .viscosity = 0.0, .tolerance = 1e-9});
  Flow flow = initial_flow(FlowFamily::gaussians, solver.grid(), RandomKey(1), 0.39, false);
  const double energy = kinetic_energy(solver.grid(), flow), spin = enstrophy(solver.grid(), flow);
  solver.advance(flow, 0.3);
  EXPECT_NEAR(kinetic_energy(solver.grid(), flow) / energy, 1.0, 1e-7);
  EXPECT_NEAR(enstrophy(solver.grid(), flow) / spin, 1.0, 1e-7);
}

/// Half the mean of |grad omega|^2: viscosity takes 2 viscosity of it from the enstrophy per time.
double palinstrophy(const PeriodicGrid& grid, const Flow& flow) {
  double sum = 0.0;
  for_each_mode(grid, [&](int kx, int ky, std::size_t index) {
    sum += (ky == 0 ? 0.5 : 1.0) * kTwoPi * kTwoPi * (kx * kx + ky * ky) * std::norm(flow.vorticity[index]);
  });
  return sum;
}

TEST(NavierStokes, LosesEnergyAndEnstrophyToViscosityAlone) {
  constexpr double kViscosity = 2e-3, kInterval = 0.01;
  NavierStokes solver({.resolution = 48, .viscosity = kViscosity, .tolerance = 1e-9});
  Flow flow = initial_flow(FlowFamily::gaussians, solver.grid(), RandomKey(2), 0.39, false);
  const double energy = kinetic_energy(solver.grid(), flow), spin = enstrophy(solver.grid(), flow);
  double spin_integral = 0.0, gradient_integral = 0.0;  // by Simpson's rule
  for (int k = 0; k <= 20; ++k) {
    if (k > 0) solver.advance(flow, kInterval);
    const double weight = kInterval / 3.0 * (k == 0 || k == 20 ? 1.0 : k % 2 == 1 ? 4.0 : 2.0);
    spin_integral += weight * enstrophy(solver.grid(), flow);
    gradient_integral += weight * palinstrophy(solver.grid(), flow);
  }
  EXPECT_NEAR((energy - kinetic_energy(solver.grid(), flow)) / (2.0 * kViscosity * spin_integral), 1.0, 1e-6);
  EXPECT_NEAR((spin - enstrophy(solver.grid(), flow)) / (2.0 * kViscosity * gradient_integral), 1.0, 1e-5);
}

TEST(NavierStokes, ConvergesAsTheGridIsRefined) {
  const auto u = [](int resolution) { return u_at({.resolution = resolution, .viscosity = 5e-3, .tolerance = 1e-10}, 0.5); };
  const std::vector<double> fine = u(96);
  const double coarse_error = largest_difference(u(16), fine), medium_error = largest_difference(u(32), fine);
  EXPECT_GT(coarse_error, 1e-6);
  EXPECT_LT(medium_error, 1e-2 * coarse_error);
  EXPECT_LT(largest_difference(u(64), fine), 1e-9);
}

TEST(NavierStokes, ConvergesAsTheToleranceIsTightened) {
  const auto u = [](double tolerance) { return u_at({.resolution = 32, .viscosity = 1e-3, .tolerance = tolerance}, 0.5); };
  const std::vector<double> exact = u(1e-12);
  EXPECT_LT(largest_difference(u(1e-6), exact), 1e-5);
  EXPECT_LT(largest_difference(u(1e-9), exact), 1e-8);
}

class EveryFamily : public ::testing::TestWithParam<FlowFamily> {};

TEST_P(EveryFamily, IsDivergenceFreeAndKeepsTheMeanOfItsTracer) {
  NavierStokes solver({.resolution = 32});
  PeriodicGrid& grid = solver.grid();
  Flow flow = initial_flow(GetParam(), grid, RandomKey(3), 0.39, true);
  EXPECT_NEAR(std::sqrt(kinetic_energy(grid, flow)), 0.39, 1e-12);
  const Complex mean = flow.tracer[grid.mode(0, 0)];
  solver.advance(flow, 0.1);
  EXPECT_EQ(flow.tracer[grid.mode(0, 0)], mean);
  EXPECT_EQ(flow.vorticity[grid.mode(0, 0)], Complex());
  std::vector<double> u(grid.points()), v(u), divergence(u);
  solver.velocity(flow, u, v);
  std::vector<Complex> modes_u(grid.modes()), modes_v(grid.modes());
  grid.to_modes(u.data(), modes_u.data());
  grid.to_modes(v.data(), modes_v.data());
  for_each_mode(grid, [&](int kx, int ky, std::size_t k) {
    modes_u[k] = Complex(0.0, kTwoPi) * (static_cast<double>(kx) * modes_u[k] + static_cast<double>(ky) * modes_v[k]);
  });
  grid.to_points(modes_u.data(), divergence.data());
  for (const double value : divergence) EXPECT_LT(std::abs(value), 1e-12);
}

TEST_P(EveryFamily, HasTheSameLargeScalesOnEveryGrid) {
  PeriodicGrid coarse(32), fine(64);
  const Flow a = initial_flow(GetParam(), coarse, RandomKey(4), 1.0, true), b = initial_flow(GetParam(), fine, RandomKey(4), 1.0, true);
  // The scale is that of the resolved energy, so compare ratios.
  const Complex scale = b.vorticity[fine.mode(1, 1)] / a.vorticity[coarse.mode(1, 1)];
  for (int kx = -5; kx <= 5; ++kx) {
    EXPECT_LT(std::abs(b.vorticity[fine.mode(kx, 2)] - scale * a.vorticity[coarse.mode(kx, 2)]),
              1e-3 * std::abs(b.vorticity[fine.mode(1, 1)]));
    EXPECT_LT(std::abs(b.tracer[fine.mode(kx, 2)] - a.tracer[coarse.mode(kx, 2)]), 1e-14);
  }
}

INSTANTIATE_TEST_SUITE_P(Flows, EveryFamily,
                         ::testing::Values(FlowFamily::sines, FlowFamily::gaussians, FlowFamily::cells, FlowFamily::vortex_sheet,
                                           FlowFamily::brownian, FlowFamily::shear_layer));

}  // namespace
}  // namespace trident
