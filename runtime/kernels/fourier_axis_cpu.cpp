#include "runtime/kernels/fourier_axis.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <tuple>

#include "runtime/device/allocator.h"

namespace trident::cpu {
namespace {

struct Angle {
  double cosine, sine;
};
/// e^{2 pi i k n / period}, exact where it is 1, i, -1 or -i: what must vanish then does.
Angle angle(std::int64_t k, std::int64_t n, std::int64_t period) {
  const std::int64_t steps = ((k % period) * (n % period) % period + period) % period;
  if (4 * steps % period == 0) {
    constexpr Angle kQuarters[4] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
    return kQuarters[4 * steps / period];
  }
  const double turn = 2.0 * std::numbers::pi * static_cast<double>(steps) / static_cast<double>(period);
  return {std::cos(turn), std::sin(turn)};
}

double weight(const AxisKey& key, std::int64_t mode) {
  const bool alone = mode == 0 || 2 * mode == key.axis.period;
  return key.real && key.conjugates == Conjugates::counted && !alone ? 2.0 : 1.0;
}

std::vector<PointQuad> points_of(const FourierAxis& axis) {
  std::vector<PointQuad> quads;
  const std::int64_t period = axis.period;
  if (axis.first_point != 0 || axis.points != period) {
    for (std::int64_t i = 0; i < axis.points; ++i) quads.push_back({i});
    return quads;
  }
  const bool halves = period % 2 == 0;
  for (std::int64_t n = 0; (halves ? 4 : 2) * n <= period; ++n) {
    PointQuad quad{n};
    if (n > 0) quad.minus = period - n;
    if (halves && 4 * n < period) quad.half_minus = period / 2 - n;
    if (quad.half_minus >= 0 && n > 0) quad.half_plus = period / 2 + n;
    quads.push_back(quad);
  }
  return quads;
}

/// k and -k where both are kept and `paired`, of this parity.
void add_modes(const FourierAxis& axis, bool paired, Parity parity, std::vector<ModePair>& pairs) {
  for (std::int64_t i = 0; i < axis.modes; ++i) {
    const std::int64_t frequency = axis.first_mode + i, mirrored = -frequency - axis.first_mode;
    if ((frequency % 2 == 0) != (parity == Parity::even)) continue;
    const bool both = paired && frequency != 0 && mirrored >= 0 && mirrored < axis.modes;
    if (!both) pairs.push_back({i, -1});
    if (both && frequency > 0) pairs.push_back({i, mirrored});
  }
}

/// Entries [first, last) as few tiles of at most `most`, as even as can be.
void add_tiles(std::int64_t first, std::int64_t last, std::int64_t most, Parity parity, std::vector<Tile>& tiles) {
  const std::int64_t size = last - first, count = (size + most - 1) / most;
  for (std::int64_t i = 0; i < count; ++i) tiles.push_back({first + i * size / count, first + (i + 1) * size / count, parity});
}

/// Nothing where the points are not 16, 32 or 64, all of the grid, or modes not from -N/2 to N/2 (of a real field, from 0 on).
template <class T>
std::optional<Radix2<T>> radix2_of(const AxisKey& key) {
  const FourierAxis& axis = key.axis;
  const std::int64_t half = axis.period / 2, lowest = key.real ? 0 : -half;
  const bool whole = axis.first_point == 0 && axis.points == axis.period, fits = half == 8 || half == 16 || half == 32;
  if (!whole || !fits || axis.period % 2 != 0 || axis.first_mode < lowest || axis.first_mode + axis.modes > half + 1) return {};
  if (!key.real && key.scale != 1.0) return {};
  const double counted = weight(key, 1);
  Radix2<T> radix2{.places = std::vector<ModePair>(static_cast<std::size_t>(half + 1), {-1, -1}),
                   .scale = static_cast<T>(key.scale * counted),
                   .alone = static_cast<T>(1.0 / counted)};
  for (std::int64_t i = 0; i < axis.modes; ++i) {
    const std::int64_t frequency = axis.first_mode + i;
    ModePair& pair = radix2.places[static_cast<std::size_t>(std::abs(frequency))];
    (frequency < 0 ? pair.minus : pair.plus) = i;
  }
  return radix2;
}

bool operator<(const AxisKey& a, const AxisKey& b) {
  const auto tie = [](const AxisKey& key) {
    const FourierAxis& axis = key.axis;
    return std::tuple(axis.period, axis.first_point, axis.points, axis.first_mode, axis.modes, key.direction, key.real, key.conjugates,
                      key.scale);
  };
  return tie(a) < tie(b);
}

/// The matrices and their memory.
template <class T>
struct Stored {
  AxisMatrices<T> matrices;
  Block block;

  explicit Stored(const AxisKey& key) {
    const FourierAxis& axis = key.axis;
    const bool to_modes = key.direction == Direction::to_modes;
    AxisMatrices<T>& m = matrices;
    m.radix2 = radix2_of<T>(key);
    if (m.radix2) return;
    m.points = points_of(axis);
    add_modes(axis, !key.real, Parity::even, m.modes);
    m.even_modes = static_cast<std::int64_t>(m.modes.size());
    add_modes(axis, !key.real, Parity::odd, m.modes);
    const auto points = static_cast<std::int64_t>(m.points.size()), modes = static_cast<std::int64_t>(m.modes.size());
    if (to_modes) {
      add_tiles(0, m.even_modes, kTileModes, Parity::even, m.tiles);
      add_tiles(m.even_modes, modes, kTileModes, Parity::odd, m.tiles);
    } else {
      add_tiles(0, points, kTilePoints, Parity::even, m.tiles);
    }
    block = Block(static_cast<std::size_t>(2 * points * modes) * sizeof(T), Device{});
    T* next = static_cast<T*>(block.data());
    m.factors = next;
    for (const Tile& tile : m.tiles) {
      for (std::int64_t in = 0; in < (to_modes ? points : modes); ++in) {
        const auto each = [&](auto&& part_of) {
          for (std::int64_t out = tile.first; out < tile.last; ++out) {
            const std::int64_t n = axis.first_point + m.points[static_cast<std::size_t>(to_modes ? in : out)].plus,
                               k = axis.first_mode + m.modes[static_cast<std::size_t>(to_modes ? out : in)].plus;
            *next++ = static_cast<T>(key.scale * weight(key, k) * part_of(angle(k, n, axis.period)));
          }
        };
        each([](Angle angle) { return angle.cosine; });
        each([&](Angle angle) { return to_modes ? -angle.sine : angle.sine; });
      }
    }
  }
};

}  // namespace

template <class T>
const AxisMatrices<T>& axis_matrices(const AxisKey& key) {
  static std::mutex mutex;
  static auto& all =
      *new std::map<AxisKey, Stored<T>, bool (*)(const AxisKey&, const AxisKey&)>([](const AxisKey& a, const AxisKey& b) { return a < b; });
  const std::lock_guard lock(mutex);
  return all.try_emplace(key, key).first->second.matrices;
}

template const AxisMatrices<float>& axis_matrices(const AxisKey&);
template const AxisMatrices<double>& axis_matrices(const AxisKey&);

}  // namespace trident::cpu
