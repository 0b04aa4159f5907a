#include "launch/generate/multigrid.h"

#include <algorithm>
#include <cmath>

#include "runtime/error.h"

namespace trident {
namespace {

constexpr int kCoarsest = 6;         // intervals per side below which a grid is only smoothed
constexpr int kSweeps = 2;           // before and after the coarser grid
constexpr int kCoarsestSweeps = 12;  // enough to solve a grid of kCoarsest intervals to a few digits
constexpr int kMostIterations = 200;

std::size_t points(int n) { return static_cast<std::size_t>(n + 1) * static_cast<std::size_t>(n + 1); }

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

double harmonic(double a, double b) { return 2.0 * a * b / (a + b); }

/// The coefficient of a coarser grid: the weighted geometric mean around each of its points, which favours neither large nor small ones.
std::vector<double> coarser(int n, const std::vector<double>& a, int coarse_n) {
  std::vector<double> result(points(coarse_n));
  const double ratio = static_cast<double>(n) / coarse_n;
  const auto row = static_cast<std::size_t>(n + 1);
  for (int i = 0; i <= coarse_n; ++i) {
    for (int j = 0; j <= coarse_n; ++j) {
      double sum = 0.0, weights = 0.0;
      for (int k = static_cast<int>(std::ceil((i - 1) * ratio)); k <= static_cast<int>((i + 1) * ratio); ++k) {
        for (int l = static_cast<int>(std::ceil((j - 1) * ratio)); l <= static_cast<int>((j + 1) * ratio); ++l) {
          if (k < 0 || l < 0 || k > n || l > n) continue;
          const double weight = (1.0 - std::abs(k / ratio - i)) * (1.0 - std::abs(l / ratio - j));
          sum += weight * std::log(a[static_cast<std::size_t>(k) * row + static_cast<std::size_t>(l)]);
          weights += weight;
        }
      }
      result[static_cast<std::size_t>(i) * static_cast<std::size_t>(coarse_n + 1) + static_cast<std::size_t>(j)] = std::exp(sum / weights);
    }
  }
  return result;
}

}  // namespace

double Diffusion::Level::diagonal(int i, int j) const {
  return down[at(i - 1, j)] + down[at(i, j)] + right[at(i, j - 1)] + right[at(i, j)];
}

double Diffusion::Level::neighbours(const std::vector<double>& u, int i, int j) const {
  return down[at(i - 1, j)] * u[at(i - 1, j)] + down[at(i, j)] * u[at(i + 1, j)] + right[at(i, j - 1)] * u[at(i, j - 1)] +
         right[at(i, j)] * u[at(i, j + 1)];
}

Diffusion::Level Diffusion::level_of(int n, const std::vector<double>& a) {
  Level level{.n = n, .down = std::vector<double>(points(n)), .right = std::vector<double>(points(n)), .coarse = {}, .weight = {}};
  for (int i = 0; i <= n; ++i) {
    for (int j = 0; j <= n; ++j) {
      if (i < n) level.down[level.at(i, j)] = harmonic(a[level.at(i, j)], a[level.at(i + 1, j)]);
      if (j < n) level.right[level.at(i, j)] = harmonic(a[level.at(i, j)], a[level.at(i, j + 1)]);
    }
  }
  return level;
}

void Diffusion::connect(Level& fine, int coarse_n) const {
  for (int i = 0; i <= fine.n; ++i) {
    const double place = static_cast<double>(i) * coarse_n / fine.n;
    const int before = std::min(static_cast<int>(place), coarse_n - 1);
    fine.coarse.push_back(before);
    fine.weight.push_back(place - before);
  }
}

Diffusion::Diffusion(int n, const std::vector<double>& a) {
  if (n < 2 || a.size() != points(n)) {
    throw ShapeError(concat("diffusion: ", a.size(), " coefficients for ", n, " intervals per side; give (n + 1)^2 of them, n at least 2"));
  }
  if (!std::all_of(a.begin(), a.end(), [](double value) { return value > 0.0 && std::isfinite(value); })) {
    throw DataError("diffusion: a coefficient is not above 0; give positive ones");
  }
  std::vector<double> coefficient = a;
  levels_.push_back(level_of(n, coefficient));
  while (n > kCoarsest) {
    const int coarse_n = (n + 1) / 2;
    coefficient = coarser(n, coefficient, coarse_n);
    connect(levels_.back(), coarse_n);
    levels_.push_back(level_of(coarse_n, coefficient));
    n = coarse_n;
  }
}

/// Gauss-Seidel on the points of one colour of a checkerboard, then on the other.
void Diffusion::smooth(const Level& level, const std::vector<double>& f, std::vector<double>& u, int first_color) const {
  for (int half = 0; half < 2; ++half) {
    for (int i = 1; i < level.n; ++i) {
      for (int j = 1 + (i + 1 + first_color + half) % 2; j < level.n; j += 2) {
        u[level.at(i, j)] = (f[level.at(i, j)] + level.neighbours(u, i, j)) / level.diagonal(i, j);
      }
    }
  }
}

/// Equations are those of cells, integrated over their area: so the transpose of the interpolation restricts a residual. The second half
/// sweeps the colours backwards, which keeps the cycle symmetric, as conjugate gradients need it.
void Diffusion::cycle(std::size_t depth, const std::vector<double>& f, std::vector<double>& u) const {
  const Level& level = levels_[depth];
  std::fill(u.begin(), u.end(), 0.0);
  const bool is_coarsest = depth + 1 == levels_.size();
  const int sweeps = is_coarsest ? kCoarsestSweeps : kSweeps;
  for (int sweep = 0; sweep < sweeps; ++sweep) smooth(level, f, u, 0);
  if (!is_coarsest) {
    const Level& below = levels_[depth + 1];
    std::vector<double> coarse_f(points(below.n)), coarse_u(points(below.n));
    const auto spread = [&](int i, int j, auto&& body) {
      const double wi = level.weight[static_cast<std::size_t>(i)], wj = level.weight[static_cast<std::size_t>(j)];
      const int ci = level.coarse[static_cast<std::size_t>(i)], cj = level.coarse[static_cast<std::size_t>(j)];
      body(below.at(ci, cj), (1.0 - wi) * (1.0 - wj));
      body(below.at(ci, cj + 1), (1.0 - wi) * wj);
      body(below.at(ci + 1, cj), wi * (1.0 - wj));
      body(below.at(ci + 1, cj + 1), wi * wj);
    };
    for (int i = 1; i < level.n; ++i) {
      for (int j = 1; j < level.n; ++j) {
        const double residual = f[level.at(i, j)] + level.neighbours(u, i, j) - level.diagonal(i, j) * u[level.at(i, j)];
        spread(i, j, [&](std::size_t coarse, double weight) { coarse_f[coarse] += weight * residual; });
      }
    }
    cycle(depth + 1, coarse_f, coarse_u);
    for (int i = 1; i < level.n; ++i) {
      for (int j = 1; j < level.n; ++j) {
        spread(i, j, [&](std::size_t coarse, double weight) { u[level.at(i, j)] += weight * coarse_u[coarse]; });
      }
    }
  }
  for (int sweep = 0; sweep < sweeps; ++sweep) smooth(level, f, u, 1);
}

void Diffusion::apply(const std::vector<double>& u, std::vector<double>& result) const {
  const Level& level = levels_.front();
  const double scale = static_cast<double>(level.n) * level.n;
  result.assign(u.size(), 0.0);
  for (int i = 1; i < level.n; ++i) {
    for (int j = 1; j < level.n; ++j)
      result[level.at(i, j)] = scale * (level.diagonal(i, j) * u[level.at(i, j)] - level.neighbours(u, i, j));
  }
}

Diffusion::Result Diffusion::solve(const std::vector<double>& f, std::vector<double>& u, double tolerance) const {
  const Level& level = levels_.front();
  u.assign(points(level.n), 0.0);
  std::vector<double> residual(points(level.n)), preconditioned(residual.size()), direction(residual.size()), image(residual.size());
  for (int i = 1; i < level.n; ++i) {
    for (int j = 1; j < level.n; ++j) residual[level.at(i, j)] = f[level.at(i, j)];
  }
  const double size = std::sqrt(dot(residual, residual));
  Result result;
  if (size == 0.0) return result;
  double product = 0.0;
  while (true) {
    result.residual = std::sqrt(dot(residual, residual)) / size;
    if (result.residual <= tolerance) return result;
    if (result.iterations == kMostIterations) {
      throw Error(concat("diffusion: the residual is ", result.residual, " of the right side after ", kMostIterations,
                         " iterations; make the coefficient's contrast smaller"));
    }
    cycle(0, residual, preconditioned);
    const double next = dot(residual, preconditioned);
    const double share = result.iterations == 0 ? 0.0 : next / product;
    product = next;
    for (std::size_t k = 0; k < direction.size(); ++k) direction[k] = preconditioned[k] + share * direction[k];
    apply(direction, image);
    const double step = product / dot(direction, image);
    for (std::size_t k = 0; k < u.size(); ++k) {
      u[k] += step * direction[k];
      residual[k] -= step * image[k];
    }
    ++result.iterations;
  }
}

}  // namespace trident
