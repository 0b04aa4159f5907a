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

/// Those of frequency 0 or half the period, or at such points, first: their sines are 0. Returns how many there are.
std::int64_t even_first(std::vector<Pair>& entries, std::int64_t first, std::int64_t period) {
  const auto others = std::ranges::stable_partition(entries, [&](const Pair& entry) { return 2 * (first + entry.plus) % period == 0; });
  return static_cast<std::int64_t>(others.begin() - entries.begin());
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
    std::vector<Pair> points = pairs_of_points(axis), modes = key.real ? alone(axis.modes) : pairs_of_modes(axis);
    const std::int64_t even_points = even_first(points, axis.first_point, axis.period),
                       even_modes = even_first(modes, axis.first_mode, axis.period);
    AxisMatrices<T>& m = matrices;
    m.in = to_modes ? points : modes, m.in_even = to_modes ? even_points : even_modes;
    m.out = to_modes ? modes : points, m.out_even = to_modes ? even_modes : even_points;
    const std::int64_t size = Tiled<T>::size_for(m.width(), m.depth());
    block = Block(static_cast<std::size_t>(2 * size) * sizeof(T), Device{});
    std::fill_n(static_cast<T*>(block.data()), 2 * size, T(0));
    const Tiled<T> cosines = tiles(m.width(), m.depth(), static_cast<T*>(block.data())),
                   sines = tiles(m.width() - m.out_even, m.depth() - m.in_even, static_cast<T*>(block.data()) + size);
    for (std::int64_t out = 0; out < m.width(); ++out) {
      for (std::int64_t in = 0; in < m.depth(); ++in) {
        const std::int64_t n = axis.first_point + points[static_cast<std::size_t>(to_modes ? in : out)].plus;
        const std::int64_t k = axis.first_mode + modes[static_cast<std::size_t>(to_modes ? out : in)].plus;
        const auto [cosine, sine] = angle(k, n, axis.period);
        const double factor = key.scale * weight(key, k);
        cosines.at(out, in) = static_cast<T>(factor * cosine);
        if (out >= m.out_even && in >= m.in_even) sines.at(out - m.out_even, in - m.in_even) = static_cast<T>(factor * sine);
      }
    }
    m.cosines = {cosines.data, cosines.rows, cosines.depth, cosines.height};
    m.sines = {sines.data, sines.rows, sines.depth, sines.height};
  }

 private:
  static Tiled<T> tiles(std::int64_t rows, std::int64_t depth, T* memory) { return {memory, rows, depth, Tiled<T>::height_for(rows)}; }
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
