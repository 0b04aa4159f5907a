#include "launch/generate/burgers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "checkpoint/torch_reader.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

/// The Cole-Hopf solution u = -2 nu phi_x / phi for phi = 1 + b exp(-4 pi^2 nu t) cos(2 pi x).
double cole_hopf(double x, double t, double nu, double b) {
  const double decay = b * std::exp(-kTwoPi * kTwoPi * nu * t);
  return 2.0 * nu * kTwoPi * decay * std::sin(kTwoPi * x) / (1.0 + decay * std::cos(kTwoPi * x));
}

double error_after(int n, double time, double nu) {
  constexpr double kSteepness = 0.9;
  std::vector<double> u;
  for (int i = 0; i < n; ++i) u.push_back(cole_hopf(static_cast<double>(i) / n, 0.0, nu, kSteepness));
  Burgers(n, nu).advance(u, time);
  double error = 0.0;
  for (int i = 0; i < n; ++i)
    error = std::max(error, std::abs(u[static_cast<std::size_t>(i)] - cole_hopf(static_cast<double>(i) / n, time, nu, kSteepness)));
  return error;
}

TEST(Burgers, ConvergesToTheExactSolution) {
  const double coarse = error_after(24, 0.5, 0.02), middle = error_after(48, 0.5, 0.02), fine = error_after(96, 0.5, 0.02);
  EXPECT_LT(middle, coarse / 16.0);  // faster than fourth order: spectral in space
  EXPECT_LT(fine, 1e-7);
}

TEST(Burgers, KeepsTheMeanAndLosesEnergy) {
  std::vector<double> u = burgers_initial(64, RandomKey(2));
  for (double& value : u) value += 0.25;
  const auto sums = [&] {
    double mean = 0.0, energy = 0.0;
    for (const double value : u) mean += value / 64.0, energy += value * value / 64.0;
    return std::pair(mean, energy);
  };
  const auto [mean, energy] = sums();
  Burgers(64, 0.01).advance(u, 0.5);
  EXPECT_NEAR(sums().first, mean, 1e-12);
  EXPECT_LT(sums().second, energy);
}

TEST(Burgers, IsTheSameFunctionAtEveryResolution) {
  std::vector<float> coarse(16 * kBurgersFrames), fine(32 * kBurgersFrames);
  solve_burgers(16, 0.01, RandomKey(4), coarse.data());
  solve_burgers(32, 0.01, RandomKey(4), fine.data());
  for (std::size_t frame = 0; frame < kBurgersFrames; ++frame) {
    for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(coarse[frame * 16 + i], fine[frame * 32 + 2 * i]);
  }
  EXPECT_EQ(burgers_grid(16), 512);
  EXPECT_EQ(burgers_grid(171), 1026);
}

/// From the initial states of neuraloperator's data, which are known at 16 points only, its frames come out.
TEST(Burgers, FollowsTheDataThatNeuraloperatorPublishes) {
  TorchReader reader(std::filesystem::path(TRIDENT_GOLDEN_FOLDER) / "data" / "burgers_test_16_part.pt");
  const auto y = to_host<double>(reader.tensor("y"));
  const std::int64_t samples = reader.tensor("y").size(0);
  for (std::int64_t s = 0; s < samples; ++s) {
    // The trigonometric interpolant of frame 0 on 64 points.
    std::vector<double> u(64);
    for (int k = 0; k <= 8; ++k) {
      double cosine = 0.0, sine = 0.0;
      for (int i = 0; i < 16; ++i) {
        cosine += y[static_cast<std::size_t>(s * 272 + i)] * std::cos(kTwoPi * k * i / 16) / 8;
        sine += y[static_cast<std::size_t>(s * 272 + i)] * std::sin(kTwoPi * k * i / 16) / 8;
      }
      const double share = k == 0 || k == 8 ? 0.5 : 1.0;
      for (int i = 0; i < 64; ++i)
        u[static_cast<std::size_t>(i)] += share * (cosine * std::cos(kTwoPi * k * i / 64) + sine * std::sin(kTwoPi * k * i / 64));
    }
    double difference = 0.0, size = 0.0;
    Burgers solver(64, kBurgersViscosity);
    for (int frame = 1; frame < kBurgersFrames; ++frame) {
      solver.advance(u, 1.0 / (kBurgersFrames - 1));
      for (int i = 0; i < 16; ++i) {
        const double theirs = y[static_cast<std::size_t>(s * 272 + frame * 16 + i)];
        difference += std::pow(u[static_cast<std::size_t>(4 * i)] - theirs, 2);
        size += theirs * theirs;
      }
    }
    EXPECT_LT(std::sqrt(difference / size), 0.03) << s;
  }
}

TEST(Burgers, RefusesOddNumbersOfPoints) { EXPECT_THROW(Burgers(15, 0.01), ConfigError); }

}  // namespace
}  // namespace trident
