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
  return key.conjugates == Conjugates::counted && !alone ? 2.0 : 1.0;
}

std::vector<Pair> alone(std::int64_t count) {
  std::vector<Pair> entries;
  for (std::int64_t i = 0; i < count; ++i) entries.push_back({i, -1});
  return entries;
}

/// n and N - n, for n from 0 to N / 2.
std::vector<Pair> pairs_of_points(const FourierAxis& axis) {
  if (axis.first_point != 0 || axis.points != axis.period) return alone(axis.points);
  std::vector<Pair> pairs;
  for (std::int64_t n = 0; 2 * n <= axis.period; ++n) pairs.push_back({n, n == 0 || 2 * n == axis.period ? -1 : axis.period - n});
  return pairs;
}

/// k and -k where both are kept.
std::vector<Pair> pairs_of_modes(const FourierAxis& axis) {
  std::vector<Pair> pairs;
  for (std::int64_t i = 0; i < axis.modes; ++i) {
    const std::int64_t frequency = axis.first_mode + i, mirrored = -frequency - axis.first_mode;
    const bool paired = frequency != 0 && mirrored >= 0 && mirrored < axis.modes;
    if (!paired) pairs.push_back({i, -1});
    if (paired && frequency > 0) pairs.push_back({i, mirrored});
  }
  return pairs;
}

bool operator<(const AxisKey& a, const AxisKey& b) {
  const auto tie = [](const AxisKey& key) {
    const FourierAxis& axis = key.axis;
    return std::tuple(axis.period, axis.first_point, axis.points, axis.first_mode, axis.modes, key.direction, key.side, key.real,
                      key.conjugates, key.scale);
  };
  return tie(a) < tie(b);
}

/// The matrices and their memory.
template <class T>
struct Stored {
  AxisMatrices<T> matrices;
  Block block;

  explicit Stored(const AxisKey& key) {
    const bool to_modes = key.direction == Direction::to_modes;
    const std::vector<Pair> points = pairs_of_points(key.axis),
                            modes = key.side == Side::left ? pairs_of_modes(key.axis) : alone(key.axis.modes);
    AxisMatrices<T>& m = matrices;
    m.in = to_modes ? points : modes, m.out = to_modes ? modes : points;
    m.step = round_up(m.width(), kLanes<T>);
    const std::int64_t size = key.side == Side::right ? m.depth() * m.step : Tiled<T>::size_for(m.width(), m.depth());
    block = Block(static_cast<std::size_t>(2 * size) * sizeof(T), Device{});
    auto *cosines = static_cast<T*>(block.data()), *sines = cosines + size;
    std::fill_n(cosines, 2 * size, T(0));
    const std::int64_t height = Tiled<T>::height_for(m.width());
    const Tiled<T> left_cosines{cosines, m.width(), m.depth(), height}, left_sines{sines, m.width(), m.depth(), height};
    for (std::int64_t out = 0; out < m.width(); ++out) {
      for (std::int64_t in = 0; in < m.depth(); ++in) {
        const std::int64_t n = key.axis.first_point + points[static_cast<std::size_t>(to_modes ? in : out)].plus;
        const std::int64_t k = key.axis.first_mode + modes[static_cast<std::size_t>(to_modes ? out : in)].plus;
        const auto [cosine, sine] = angle(k, n, key.axis.period);
        const double factor = key.scale * (key.real ? weight(key, k) : 1.0);
        const bool left = key.side == Side::left;
        (left ? left_cosines.at(out, in) : cosines[in * m.step + out]) = static_cast<T>(factor * cosine);
        // A real field takes A - B where a complex one takes A - i B or A + i B.
        (left ? left_sines.at(out, in) : sines[in * m.step + out]) = static_cast<T>(key.real ? -factor * sine : factor * sine);
      }
    }
    m.left_cosines = {cosines, m.width(), m.depth(), height}, m.left_sines = {sines, m.width(), m.depth(), height};
    m.cosines = cosines, m.sines = sines;
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
