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
    const std::vector<Pair> points = pairs_of_points(axis), modes = key.real ? alone(axis.modes) : pairs_of_modes(axis);
    AxisMatrices<T>& m = matrices;
    m.in = to_modes ? points : modes, m.out = to_modes ? modes : points;
    m.in_even = even_first(m.in, to_modes ? axis.first_point : axis.first_mode, axis.period);
    block = Block(static_cast<std::size_t>(m.width() * m.factors_of_one()) * sizeof(T), Device{});
    T* next = static_cast<T*>(block.data());
    m.factors = next;
    for (std::int64_t tile = 0; tile < m.tiles(); ++tile) {
      const auto each = [&](std::int64_t in, auto&& factor_of) {
        for (std::int64_t out = m.begin_of(tile); out < m.begin_of(tile + 1); ++out) {
          const std::int64_t entry_in = m.in[static_cast<std::size_t>(in)].plus, entry_out = m.out[static_cast<std::size_t>(out)].plus;
          const std::int64_t n = axis.first_point + (to_modes ? entry_in : entry_out),
                             k = axis.first_mode + (to_modes ? entry_out : entry_in);
          *next++ = static_cast<T>(key.scale * weight(key, k) * factor_of(angle(k, n, axis.period)));
        }
      };
      for (std::int64_t in = 0; in < m.depth(); ++in) {
        each(in, [](Angle angle) { return angle.cosine; });
        if (in >= m.in_even) each(in, [&](Angle angle) { return to_modes ? -angle.sine : angle.sine; });
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
