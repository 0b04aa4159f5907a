#include "launch/generate/darcy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "checkpoint/torch_reader.h"
#include "launch/data/hdf5_file.h"
#include "launch/generate/multigrid.h"
#include "launch/generate/pair_set.h"
#include "parallel/communicator.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

constexpr double kPi = std::numbers::pi;

std::vector<double> on_points(int n, double (*value)(double, double)) {
  std::vector<double> result;
  for (int i = 0; i <= n; ++i) {
    for (int j = 0; j <= n; ++j) result.push_back(value(static_cast<double>(i) / n, static_cast<double>(j) / n));
  }
  return result;
}

/// u = sin(pi x) sin(2 pi y) and a = exp(x + y): f = -div(a grad u) by hand.
double smooth_u(double x, double y) { return std::sin(kPi * x) * std::sin(2 * kPi * y); }
double smooth_a(double x, double y) { return std::exp(x + y); }
double smooth_f(double x, double y) {
  const double ux = kPi * std::cos(kPi * x) * std::sin(2 * kPi * y), uy = 2 * kPi * std::sin(kPi * x) * std::cos(2 * kPi * y);
  return -smooth_a(x, y) * (ux + uy - 5 * kPi * kPi * smooth_u(x, y));
}

double largest_error(int n) {
  std::vector<double> u;
  Diffusion(n, on_points(n, smooth_a)).solve(on_points(n, smooth_f), u, 1e-12);
  const std::vector<double> exact = on_points(n, smooth_u);
  double error = 0.0;
  for (std::size_t k = 0; k < u.size(); ++k) error = std::max(error, std::abs(u[k] - exact[k]));
  return error;
}

TEST(Diffusion, ConvergesInSecondOrderWhereTheCoefficientIsSmooth) {
  const double coarse = largest_error(16), middle = largest_error(32), fine = largest_error(64);
  EXPECT_NEAR(std::log2(coarse / middle), 2.0, 0.1);
  EXPECT_NEAR(std::log2(middle / fine), 2.0, 0.1);
}

TEST(Diffusion, SolvesItsEquationsAtEveryPointOfALayeredMedium) {
  const std::vector<double> a = on_points(32, [](double x, double) { return x < 0.5 ? 0.02 : 0.36; });
  std::vector<double> u, image;
  const Diffusion diffusion(32, a);
  const std::vector<double> ones(a.size(), 1.0);
  diffusion.solve(ones, u, 1e-12);
  diffusion.apply(u, image);
  for (int i = 1; i < 32; ++i) {
    for (int j = 1; j < 32; ++j) EXPECT_NEAR(image[static_cast<std::size_t>(i * 33 + j)], 1.0, 1e-9);
  }
}

TEST(Diffusion, TakesFewIterationsOnGridsOfAnySize) {
  for (const int n : {5, 7, 64, 75, 100, 129}) {
    const auto a = coefficient_of(Medium::two_phase, medium_of(Medium::two_phase, n, RandomKey(3)));
    const std::vector<double> ones(a.size(), 1.0);
    std::vector<double> u;
    const auto result = Diffusion(n, a).solve(ones, u, kDarcyTolerance);
    EXPECT_LE(result.iterations, 25) << n;
    EXPECT_LE(result.residual, kDarcyTolerance);
  }
}

TEST(Diffusion, RefusesCoefficientsThatAreNotAboveZero) {
  EXPECT_THROW(Diffusion(4, std::vector<double>(25, 0.0)), DataError);
  EXPECT_THROW(Diffusion(4, std::vector<double>(16, 1.0)), ShapeError);
}

TEST(Darcy, ApproachesTheFinestGridInARandomMedium) {
  // The same medium on finer grids.
  const auto mean_of = [](int n) {
    const auto a = coefficient_of(Medium::two_phase, medium_of(Medium::two_phase, n, RandomKey(11)));
    const std::vector<double> ones(a.size(), 1.0);
    std::vector<double> u;
    Diffusion(n, a).solve(ones, u, 1e-10);
    double sum = 0.0;
    for (const double value : u) sum += value;
    return sum / n / n;
  };
  const double reference = mean_of(512);
  const double coarse = std::abs(mean_of(64) - reference), fine = std::abs(mean_of(256) - reference);
  EXPECT_LT(coarse / reference, 0.03);
  EXPECT_LT(fine / reference, 0.005);
  EXPECT_LT(fine, coarse);
}

TEST(Darcy, IsTheSameFunctionAtEveryResolution) {
  std::vector<float> x16(256), y16(256), x32(1024), y32(1024);
  solve_darcy(Medium::log_normal, 16, RandomKey(5), x16.data(), y16.data());
  solve_darcy(Medium::log_normal, 32, RandomKey(5), x32.data(), y32.data());
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t j = 0; j < 16; ++j) {
      EXPECT_EQ(y16[i * 16 + j], y32[64 * i + 2 * j]);
      EXPECT_EQ(x16[i * 16 + j], x32[64 * i + 2 * j]);
    }
  }
  EXPECT_EQ(y16[3], 0.0F);  // the first row lies on the boundary
}

/// What each phase of neuraloperator's data says: -laplace(y) where the phase is the same all around, on points 64 / 2047 apart.
TEST(Darcy, HasTheEquationOfTheDataThatNeuraloperatorPublishes) {
  TorchReader reader(std::filesystem::path(TRIDENT_GOLDEN_FOLDER) / "data" / "darcy_test_32_part.pt");
  const auto y = to_host<float>(reader.tensor("y"));
  const Tensor phases = empty(reader.tensor("x").shape(), DType::f32);
  copy_into(phases, reader.tensor("x"));
  const auto x = to_host<float>(phases);
  const double h = 64.0 / 2047.0;
  std::array<std::vector<double>, 2> found;
  const std::int64_t samples = reader.tensor("y").size(0);
  for (std::int64_t s = 0; s < samples; ++s) {
    for (int i = 3; i < 29; ++i) {
      for (int j = 3; j < 29; ++j) {
        const auto at = [&](int di, int dj) { return static_cast<std::size_t>(s * 1024 + (i + di) * 32 + j + dj); };
        bool same = true;
        for (int di = -3; di <= 3; ++di) {
          for (int dj = -3; dj <= 3; ++dj) same = same && x[at(di, dj)] == x[at(0, 0)];
        }
        if (!same) continue;
        found[x[at(0, 0)] > 0.0F ? 1 : 0].push_back((4.0 * y[at(0, 0)] - y[at(1, 0)] - y[at(-1, 0)] - y[at(0, 1)] - y[at(0, -1)]) / h / h);
      }
    }
  }
  for (auto& values : found) {
    ASSERT_GT(values.size(), 100U);
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  }
  EXPECT_NEAR(found[0][found[0].size() / 2] * kLowCoefficient, 1.0, 0.004);
  EXPECT_NEAR(found[1][found[1].size() / 2] * kHighCoefficient, 1.0, 0.004);
}

TEST(PairSet, WritesDarcySamplesThatDependOnTheirNumberAlone) {
  const testing::TemporaryFolder folder;
  const auto written = [&](const char* name, std::int64_t first, std::int64_t count) {
    GenerateOptions options;
    options.problem = "Darcy";
    options.trajectories = count;
    options.first = first;
    options.resolution = 8;
    options.output = (folder / name).string();
    generate_pair_set(options, *make_self_communicator());
    const Hdf5Dataset y = Hdf5File::open(options.output).dataset("y");
    EXPECT_EQ(y.shape(), (Shape{count, 8, 8}));
    std::vector<float> values(64);
    y.read<float>({count - 1, 0, 0}, {1, 8, 8}, values.data());
    return values;
  };
  EXPECT_EQ(written("a.h5", 0, 3), written("b.h5", 2, 1));
}

TEST(PairSet, RefusesWhatIsNotPossible) {
  GenerateOptions options;
  options.problem = "Darcy";
  options.trajectories = 1;
  options.output = "x.h5";
  options.coefficient = "three-phase";
  EXPECT_NE(testing::message_of<ConfigError>([&] { generate_pair_set(options, *make_self_communicator()); }).find("two-phase, log-normal"),
            std::string::npos);
  options.problem = "Burgers1D";
  options.viscosity = 0.0;
  EXPECT_NE(testing::message_of<ConfigError>([&] { generate_pair_set(options, *make_self_communicator()); }).find("--viscosity 0"),
            std::string::npos);
}

}  // namespace
}  // namespace trident
