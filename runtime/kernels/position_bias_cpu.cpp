#include "runtime/kernels/position_bias.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/kernels/vector.h"

namespace trident {
namespace {

using cpu::broadcast, cpu::load, cpu::maximum, cpu::store;
using Lanes = cpu::Vector<double>;
constexpr std::int64_t kLanes = cpu::kLanes<double>;

constexpr std::int64_t kVectors = 4, kStrip = 4 * kVectors * kLanes;  // of offsets: at a time, and of a task
constexpr int kHeads = 4;                                             // at a time

std::int64_t round_up(std::int64_t count, std::int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

/// Calls work(count as a constant) for 1 to kHeads heads.
template <int Count = kHeads, class Work>
void with_heads(std::int64_t count, Work&& work) {
  if constexpr (Count > 1) {
    if (count < Count) return with_heads<Count - 1>(count, work);
  }
  work(std::integral_constant<int, Count>{});
}

/// An attention's weights in f64, hidden numbers close together and filled up with zeros to whole vectors.
class WideWeights {
 public:
  template <class T>
  WideWeights(std::int64_t hidden, const PositionBiasWeights<T>& from)
      : step_(round_up(hidden, kLanes)), numbers_(static_cast<std::size_t>((3 + from.heads) * step_)) {
    double* to = numbers_.data();
    for (std::int64_t j = 0; j < hidden; ++j) {
      to[j] = static_cast<double>(from.up[2 * j]), to[step_ + j] = static_cast<double>(from.up[2 * j + 1]);
      to[2 * step_ + j] = static_cast<double>(from.up_bias[j]);
    }
    for (std::int64_t head = 0; head < from.heads; ++head) std::copy_n(from.down + head * hidden, hidden, to + (3 + head) * step_);
  }
  const double* up(int coordinate) const { return numbers_.data() + coordinate * step_; }
  const double* up_bias() const { return numbers_.data() + 2 * step_; }
  const double* down(std::int64_t head) const { return numbers_.data() + (3 + head) * step_; }

 private:
  std::int64_t step_;
  std::vector<double> numbers_;
};

/// Sums (Heads, kVectors vectors) that go through the sigmoid, for heads from `head` on, at offsets of these coordinates.
template <int Heads>
void sums_of(const WideWeights& weights, std::int64_t hidden, std::int64_t head, const double* rows, const double* columns, double* to) {
  Lanes sums[Heads][kVectors] = {};
  for (std::int64_t j = 0; j < hidden; ++j) {
    const Lanes up_row = broadcast(weights.up(0)[j]), up_column = broadcast(weights.up(1)[j]), bias = broadcast(weights.up_bias()[j]);
    for (std::int64_t v = 0; v < kVectors; ++v) {
      const Lanes value = maximum<double>(load(rows + v * kLanes) * up_row + (load(columns + v * kLanes) * up_column + bias), Lanes{});
      for (int h = 0; h < Heads; ++h) sums[h][v] += value * weights.down(head + h)[j];
    }
  }
  for (int h = 0; h < Heads; ++h) {
    for (std::int64_t v = 0; v < kVectors; ++v) store(to + (h * kVectors + v) * kLanes, sums[h][v]);
  }
}

/// Biases at offsets [first, first + kStrip).
template <class T>
void compute_strip(PositionBiasSize size, const double* coordinates, const PositionBias<T>& at, std::int64_t first) {
  const WideWeights weights(size.hidden, at.weights);
  for (std::int64_t begin = first; begin < std::min(first + kStrip, size.offsets); begin += kVectors * kLanes) {
    const std::int64_t count = std::min(kVectors * kLanes, size.offsets - begin);
    double rows[kVectors * kLanes] = {}, columns[kVectors * kLanes] = {}, sums[kHeads * kVectors * kLanes];
    for (std::int64_t i = 0; i < count; ++i) rows[i] = coordinates[2 * (begin + i)], columns[i] = coordinates[2 * (begin + i) + 1];
    for (std::int64_t head = 0; head < at.weights.heads; head += kHeads) {
      with_heads(at.weights.heads - head, [&](auto heads) {
        sums_of<heads()>(weights, size.hidden, head, rows, columns, sums);
        for (int h = 0; h < heads(); ++h) {
          for (std::int64_t i = 0; i < count; ++i) {
            const double sum = sums[h * kVectors * kLanes + i];
            const BoundedBias bias = bounded_bias(sum, std::exp(-std::abs(sum)));
            const std::int64_t to = (head + h) * size.offsets + begin + i;
            at.y[to] = static_cast<T>(bias.value);
            if (at.slopes != nullptr) at.slopes[to] = static_cast<T>(bias.slope);
          }
        }
      });
    }
  }
}

/// Gradients of what goes through the sigmoid, (offsets, heads).
template <class T>
void write_slopes(PositionBiasSize size, const PositionBiasGradient<T>& at, double* slopes) {
  for (std::int64_t head = 0; head < at.weights.heads; ++head) {
    for (std::int64_t i = 0; i < size.offsets; ++i) {
      const std::int64_t from = head * size.offsets + i;
      slopes[i * at.weights.heads + head] = static_cast<double>(at.dy[from]) * static_cast<double>(at.slopes[from]);
    }
  }
}

/// Gradients that belong to a vector of hidden numbers.
struct HiddenGradients {
  Lanes up[2], up_bias;
};

/// Adds what `Heads` heads give to `hidden`, and finds the gradients of their weights `down`.
template <int Heads>
void differentiate(PositionBiasSize size, const double* coordinates, const WideWeights& weights, std::int64_t heads, std::int64_t head,
                   const double* slopes, std::int64_t j, HiddenGradients& hidden, Lanes (&down)[kHeads]) {
  const Lanes up_row = load(weights.up(0) + j), up_column = load(weights.up(1) + j), up_bias = load(weights.up_bias() + j);
  Lanes weight[Heads], sum[Heads] = {};
  for (int h = 0; h < Heads; ++h) weight[h] = load(weights.down(head + h) + j);
  HiddenGradients more = hidden;
  for (std::int64_t i = 0; i < size.offsets; ++i) {
    const double row = coordinates[2 * i], column = coordinates[2 * i + 1], *slope = slopes + i * heads + head;
    const Lanes value = maximum<double>(row * up_row + (column * up_column + up_bias), Lanes{});
    Lanes gradient{};
    for (int h = 0; h < Heads; ++h) {
      sum[h] += value * slope[h];
      gradient += weight[h] * slope[h];
    }
    gradient = value > 0.0 ? gradient : Lanes{};
    more.up[0] += gradient * row, more.up[1] += gradient * column, more.up_bias += gradient;
  }
  hidden = more;
  for (int h = 0; h < Heads; ++h) down[h] = sum[h];
}

template <class T>
void put(Into<T> into, std::int64_t index, double value) {
  if (into.to == nullptr) return;
  into.to[index] = static_cast<T>(into.sum == Sum::adds ? static_cast<double>(into.to[index]) + value : value);
}

/// Gradients of everything that belongs to hidden numbers [j, j + kLanes).
template <class T>
void write_gradients(PositionBiasSize size, const double* coordinates, const PositionBiasGradient<T>& at, const WideWeights& weights,
                     const double* slopes, std::int64_t j) {
  HiddenGradients hidden = {};
  const std::int64_t count = std::min(kLanes, size.hidden - j), all = at.weights.heads;
  for (std::int64_t head = 0; head < all; head += kHeads) {
    Lanes down[kHeads];
    with_heads(all - head, [&](auto heads) { differentiate<heads()>(size, coordinates, weights, all, head, slopes, j, hidden, down); });
    for (std::int64_t h = 0; h < std::min<std::int64_t>(kHeads, all - head); ++h) {
      for (std::int64_t i = 0; i < count; ++i) put(at.down, (head + h) * size.hidden + j + i, down[h][i]);
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t coordinate = 0; coordinate < 2; ++coordinate) put(at.up, 2 * (j + i) + coordinate, hidden.up[coordinate][i]);
    put(at.up_bias, j + i, hidden.up_bias[i]);
  }
}

}  // namespace

template <class T>
void position_biases(Cpu, PositionBiasSize size, const double* coordinates, std::span<const PositionBias<T>> of) {
  const std::int64_t strips = round_up(size.offsets, kStrip) / kStrip, count = std::ssize(of);
#pragma omp parallel for schedule(static)
  for (std::int64_t task = 0; task < count * strips; ++task) {
    compute_strip(size, coordinates, of[static_cast<std::size_t>(task / strips)], task % strips * kStrip);
  }
}

template <class T>
void position_bias_gradients(Cpu, PositionBiasSize size, const double* coordinates, std::span<const PositionBiasGradient<T>> of) {
  constexpr std::int64_t kParts = 8;  // of the hidden numbers: few attentions keep several threads busy
  const std::int64_t vectors = round_up(size.hidden, kLanes) / kLanes, count = std::ssize(of);
  std::vector<std::vector<double>> slopes(of.size());
  std::vector<WideWeights> weights;
  for (const PositionBiasGradient<T>& at : of) weights.emplace_back(size.hidden, at.weights);
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      slopes[at].resize(static_cast<std::size_t>(size.offsets * of[at].weights.heads));
      write_slopes(size, of[at], slopes[at].data());
    }
#pragma omp for schedule(static)
    for (std::int64_t task = 0; task < count * kParts; ++task) {
      const auto at = static_cast<std::size_t>(task / kParts);
      const std::int64_t part = task % kParts;
      for (std::int64_t v = vectors * part / kParts; v < vectors * (part + 1) / kParts; ++v) {
        write_gradients(size, coordinates, of[at], weights[at], slopes[at].data(), v * kLanes);
      }
    }
  }
}

#define TRIDENT_POSITION_BIAS(T)                                                                            \
  template void position_biases<T>(Cpu, PositionBiasSize, const double*, std::span<const PositionBias<T>>); \
  template void position_bias_gradients<T>(Cpu, PositionBiasSize, const double*, std::span<const PositionBiasGradient<T>>);
TRIDENT_POSITION_BIAS(float)
TRIDENT_POSITION_BIAS(double)

}  // namespace trident
