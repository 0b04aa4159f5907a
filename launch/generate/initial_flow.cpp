#include "launch/generate/initial_flow.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace trident {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

/// Numbers drawn one after the other from a stream.
class Draws {
 public:
  explicit Draws(RandomKey key) : key_(key) {}
  double between(double low, double high) { return low + (high - low) * uniform(key_, index_++); }

 private:
  RandomKey key_;
  std::uint64_t index_ = 0;
};

/// Fields that are smooth below the grid of the published sets: a Gaussian of this width rounds off jumps, so that their Fourier series
/// ends.
constexpr double kSmoothing = 1.0 / 128.0;
double smoothing(double width, double k2) { return std::exp(-0.5 * kTwoPi * kTwoPi * width * width * k2); }

Complex phase(double turns) { return std::polar(1.0, kTwoPi * turns); }

/// exp(-2 pi i k position) for k = -K..K, K = `largest`.
std::vector<Complex> phases(double position, int largest) {
  std::vector<Complex> result;
  for (int k = -largest; k <= largest; ++k) result.push_back(phase(-k * position));
  return result;
}

/// Adds weight(k2) exp(-2 pi i k . (x, y)) to every coefficient: a bump at (x, y).
template <class Weight>
void add_bump(const PeriodicGrid& grid, double x, double y, Weight weight, std::vector<Complex>& modes) {
  const int largest = grid.largest();
  const std::vector<Complex> px = phases(x, largest), py = phases(y, largest);
  for_each_mode(grid, [&](int kx, int ky, std::size_t index) {
    const Complex a = px[static_cast<std::size_t>(kx + largest)], b = py[static_cast<std::size_t>(ky + largest)];
    modes[index] += weight(static_cast<double>(kx * kx + ky * ky)) *
                    Complex(a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real());
  });
}

/// curl of a velocity; what it is not the curl of, the gradient part, drops out.
void add_curl(const PeriodicGrid& grid, const std::vector<Complex>& u, const std::vector<Complex>& v, std::vector<Complex>& vorticity) {
  for_each_mode(grid, [&](int kx, int ky, std::size_t index) {
    vorticity[index] += Complex(0.0, kTwoPi) * (static_cast<double>(kx) * v[index] - static_cast<double>(ky) * u[index]);
  });
}

/// sum over i, j = 1..10 of a_ij / (i + j)^(1/2) sin(2 pi i x + b_ij) sin(2 pi j y + c_ij), per velocity.
std::vector<Complex> sines(const PeriodicGrid& grid, Draws draws) {
  std::vector<Complex> modes(grid.modes());
  for (int i = 1; i <= 10; ++i) {
    for (int j = 1; j <= 10; ++j) {
      const double amplitude = draws.between(-1.0, 1.0) / std::sqrt(static_cast<double>(i + j));
      const double b = draws.between(0.0, 1.0), c = draws.between(0.0, 1.0);
      if (i > grid.largest() || j > grid.largest()) continue;
      // sin s sin t = -1/4 (e^is - e^-is)(e^it - e^-it); the halves with e^-it are the mirror images.
      modes[grid.mode(i, j)] -= 0.25 * amplitude * phase(b + c);
      modes[grid.mode(-i, j)] += 0.25 * amplitude * phase(c - b);
    }
  }
  return modes;
}

void add_sines(const PeriodicGrid& grid, RandomKey key, std::vector<Complex>& vorticity) {
  add_curl(grid, sines(grid, Draws(key.fold("u"))), sines(grid, Draws(key.fold("v"))), vorticity);
}

void add_gaussians(const PeriodicGrid& grid, RandomKey key, std::vector<Complex>& vorticity) {
  Draws draws(key);
  for (int k = 0; k < 100; ++k) {
    const double amplitude = draws.between(-1.0, 1.0), width = draws.between(0.01, 0.1);
    const double x = draws.between(0.0, 1.0), y = draws.between(0.0, 1.0);
    // a / width exp(-r^2 / (2 width^2)) has the transform 2 pi a width exp(-(2 pi k width)^2 / 2).
    add_bump(
        grid, x, y, [&](double k2) { return kTwoPi * amplitude * width * smoothing(width, k2); }, vorticity);
  }
}

/// A field that is constant in each of 10 x 10 cells, shifted by a random offset. `value` draws one cell's.
template <class Value>
void add_cells(const PeriodicGrid& grid, Draws draws, Value value, std::vector<Complex>& modes) {
  constexpr int cells = 10;
  const int largest = grid.largest();
  const double x0 = draws.between(0.0, 1.0), y0 = draws.between(0.0, 1.0);
  // The transform of the indicator of [first, first + 1/10).
  const auto indicator = [](int k, double first) {
    return k == 0 ? Complex(1.0 / cells) : (phase(-k * first) - phase(-k * (first + 1.0 / cells))) / Complex(0.0, kTwoPi * k);
  };
  for (int i = 0; i < cells; ++i) {
    // The row of cells first as a function of ky, then times its indicator along x.
    std::vector<Complex> row(static_cast<std::size_t>(largest) + 1);
    for (int j = 0; j < cells; ++j) {
      const double amplitude = value(draws);
      for (int ky = 0; ky <= largest; ++ky)
        row[static_cast<std::size_t>(ky)] += amplitude * indicator(ky, y0 + static_cast<double>(j) / cells);
    }
    for (int kx = -largest; kx <= largest; ++kx) {
      const Complex along_x = indicator(kx, x0 + static_cast<double>(i) / cells);
      for (int ky = 0; ky <= largest; ++ky) {
        modes[grid.mode(kx, ky)] +=
            along_x * row[static_cast<std::size_t>(ky)] * smoothing(kSmoothing, static_cast<double>(kx * kx + ky * ky));
      }
    }
  }
}

/// Vorticity on the curve y = 1/2 + 0.2 sin(2 pi x) + small random sines, spread to a width of 5/128.
void add_vortex_sheet(const PeriodicGrid& grid, RandomKey key, std::vector<Complex>& vorticity) {
  Draws draws(key);
  std::vector<std::pair<double, double>> waves;  // amplitude, phase of frequency i
  for (int i = 1; i <= 10; ++i) {
    const double amplitude = draws.between(0.0, 0.003125);
    waves.emplace_back(amplitude, draws.between(0.0, 1.0));
  }
  const int samples = std::max(1024, 8 * grid.n());  // the trapezoidal rule on a smooth closed curve converges exponentially
  for (int m = 0; m < samples; ++m) {
    const double x = static_cast<double>(m) / samples;
    double y = 0.5 + 0.2 * std::sin(kTwoPi * x), slope = 0.2 * kTwoPi * std::cos(kTwoPi * x);
    for (std::size_t i = 0; i < waves.size(); ++i) {
      const double turns = static_cast<double>(i + 1) * (x + waves[i].second);
      y += waves[i].first * std::sin(kTwoPi * turns);
      slope += waves[i].first * kTwoPi * static_cast<double>(i + 1) * std::cos(kTwoPi * turns);
    }
    const double length = std::sqrt(1.0 + slope * slope) / samples;
    add_bump(
        grid, x, y, [&](double k2) { return length * (k2 == 0.0 ? 0.0 : 1.0); }, vorticity);
  }
  for_each_mode(grid, [&](int kx, int ky, std::size_t index) {
    vorticity[index] *= smoothing(0.5 * 5.0 / 128.0, static_cast<double>(kx * kx + ky * ky));
  });
}

/// Independent normal coefficients times |k|^(-3/2): along a line the field has the k^-2 spectrum of a Brownian bridge.
std::vector<Complex> brownian(const PeriodicGrid& grid, RandomKey key) {
  std::vector<Complex> modes(grid.modes());
  for_each_mode(grid, [&](int kx, int ky, std::size_t index) {
    // On ky = 0 the mirror image lies in the same array.
    const bool mirrored = ky == 0 && kx < 0;
    if (kx == 0 && ky == 0) return;
    const int first = mirrored ? -kx : kx;
    const std::uint64_t number = 2 * (static_cast<std::uint64_t>(first + (1 << 20)) << 21 | static_cast<std::uint64_t>(ky));
    const double scale =
        std::pow(static_cast<double>(kx * kx + ky * ky), -0.75) * smoothing(kSmoothing, static_cast<double>(kx * kx + ky * ky));
    const Complex draw(normal(key, number), normal(key, number + 1));
    modes[index] = scale * (mirrored ? std::conj(draw) : draw);
  });
  return modes;
}

void add_brownian(const PeriodicGrid& grid, RandomKey key, std::vector<Complex>& vorticity) {
  add_curl(grid, brownian(grid, key.fold("u")), brownian(grid, key.fold("v")), vorticity);
}

/// u = tanh(2 pi (y - 1/4) / 0.1) below the middle, its opposite above, on lines y + s(x) of a random s; v = 0.
void add_shear_layer(const PeriodicGrid& grid, RandomKey key, std::vector<Complex>& vorticity) {
  Draws draws(key);
  std::vector<std::pair<double, double>> waves;
  for (int k = 1; k <= 10; ++k) {
    const double amplitude = 0.025 * draws.between(0.0, 1.0);
    waves.emplace_back(amplitude, draws.between(0.0, 1.0));
  }
  PeriodicGrid fine(4 * grid.n());  // the layers are thinner than the spacing of a coarse grid
  std::vector<double> field(fine.points());
  for (int i = 0; i < fine.n(); ++i) {
    const double x = static_cast<double>(i) / fine.n();
    double shift = 0.0;
    for (std::size_t k = 0; k < waves.size(); ++k)
      shift += waves[k].first * std::sin(kTwoPi * (static_cast<double>(k + 1) * x - waves[k].second));
    for (int j = 0; j < fine.n(); ++j) {
      const double line = static_cast<double>(j) / fine.n() + shift, y = line - std::floor(line);
      const double distance = y <= 0.5 ? y - 0.25 : 0.75 - y;
      field[static_cast<std::size_t>(i) * static_cast<std::size_t>(fine.n()) + static_cast<std::size_t>(j)] =
          std::tanh(kTwoPi * distance / 0.1);
    }
  }
  std::vector<Complex> fine_modes(fine.modes()), u(grid.modes());
  fine.to_modes(field.data(), fine_modes.data());
  for_each_mode(grid, [&](int kx, int ky, std::size_t index) { u[index] = fine_modes[fine.mode(kx, ky)]; });
  add_curl(grid, u, std::vector<Complex>(grid.modes()), vorticity);
}

}  // namespace

Flow initial_flow(FlowFamily family, PeriodicGrid& grid, RandomKey key, double velocity_std, bool with_tracer) {
  Flow flow;
  flow.vorticity.resize(grid.modes());
  const RandomKey own = key.fold("vorticity");
  switch (family) {
    case FlowFamily::sines:
      add_sines(grid, own, flow.vorticity);
      break;
    case FlowFamily::gaussians:
      add_gaussians(grid, own, flow.vorticity);
      break;
    case FlowFamily::cells:
      add_cells(
          grid, Draws(own), [](Draws& draws) { return draws.between(-1.0, 1.0); }, flow.vorticity);
      break;
    case FlowFamily::vortex_sheet:
      add_vortex_sheet(grid, own, flow.vorticity);
      break;
    case FlowFamily::brownian:
      add_brownian(grid, own, flow.vorticity);
      break;
    case FlowFamily::shear_layer:
      add_shear_layer(grid, own, flow.vorticity);
      break;
  }
  flow.vorticity[grid.mode(0, 0)] = 0.0;
  // Twice the kinetic energy is the mean of u^2 + v^2.
  const double scale = velocity_std / std::sqrt(kinetic_energy(grid, flow));
  for (Complex& mode : flow.vorticity) mode *= scale;
  if (!with_tracer) return flow;
  flow.tracer.resize(grid.modes());
  add_cells(
      grid, Draws(key.fold("tracer")), [](Draws& draws) { return draws.between(0.0, 1.0) < 0.2 ? 1.0 : 0.0; }, flow.tracer);
  return flow;
}

}  // namespace trident
