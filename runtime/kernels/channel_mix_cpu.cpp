// Neighbouring points of one or several samples are gathered into blocks (channel, column) that stay in a core's cache: whatever the number
// of points, products run over whole vectors, and rows that lie a power of two apart in memory do not push each other out of the cache.
#include <omp.h>

#include <algorithm>

#include "runtime/device/allocator.h"
#include "runtime/kernels/activation.h"
#include "runtime/kernels/channel_mix.h"
#include "runtime/kernels/tiled_product.h"

namespace trident {
namespace {

using cpu::kLanes;
using cpu::round_up;
using cpu::Tiled;
using cpu::Vector;

constexpr std::int64_t kBlockBytes = 1 << 18;  // of inputs and outputs together
constexpr std::int64_t kMostColumns = 1024;
constexpr std::int64_t kWorthThreads = 1 << 18;  // multiplications

/// Columns [first, last) of all points of all samples.
struct Columns {
  std::int64_t first = 0, last = 0;
  std::int64_t count() const { return last - first; }
};

/// All columns cut into blocks; each thread gets some.
template <class T>
class Blocks {
 public:
  explicit Blocks(const MixSize& size) : points_(size.points), total_(size.batch * size.points) {
    if (total_ * size.in * size.out > kWorthThreads) threads_ = omp_get_max_threads();
    const std::int64_t fitting = kBlockBytes / static_cast<std::int64_t>(sizeof(T)) / (size.in + size.out),
                       even = (total_ + threads_ - 1) / threads_;
    columns_ = round_up(std::clamp<std::int64_t>(std::min(even, fitting), 1, kMostColumns), kLanes<T>);
  }
  std::int64_t count() const { return (total_ + columns_ - 1) / columns_; }
  int threads() const { return static_cast<int>(std::min<std::int64_t>(threads_, std::max<std::int64_t>(1, count()))); }
  /// Between rows of a block: no power of two.
  std::int64_t step() const { return columns_ + kLanes<T>; }
  Columns operator[](std::int64_t index) const { return {index * columns_, std::min(total_, (index + 1) * columns_)}; }

  /// Calls use(place in the block, sample, first point, points) for each sample's part of `columns`.
  template <class Use>
  void each_part(const Columns& columns, Use&& use) const {
    for (std::int64_t column = columns.first; column < columns.last;) {
      const std::int64_t sample = column / points_, point = column % points_, part = std::min(points_ - point, columns.last - column);
      use(column - columns.first, sample, point, part);
      column += part;
    }
  }

 private:
  std::int64_t points_, total_, threads_ = 1, columns_ = 1;
};

/// The block (channels, columns) of x (batch, channels, points), zeros behind it up to whole vectors.
template <class T>
void gather(const Blocks<T>& blocks, const Columns& columns, std::int64_t channels, std::int64_t points, const T* x, T* block) {
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    T* row = block + channel * blocks.step();
    blocks.each_part(columns, [&](std::int64_t place, std::int64_t sample, std::int64_t point, std::int64_t count) {
      std::copy_n(x + (sample * channels + channel) * points + point, count, row + place);
    });
    std::fill_n(row + columns.count(), round_up(columns.count(), kLanes<T>) - columns.count(), T(0));
  }
}

template <class T>
const T* at(const T* pointer, std::int64_t offset) {
  return pointer == nullptr ? nullptr : pointer + offset;
}

/// One row's end: bias, addend and GELU, and the GELU's derivative. `sums` are overwritten.
template <class T>
void finish_row(std::int64_t count, bool with_gelu, T bias, T gate, const T* addend, T* sums, T* slope, T* y) {
  T* before = with_gelu ? sums : y;
  if (addend == nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) before[i] = sums[i] + bias;
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) before[i] = sums[i] + bias + gate * addend[i];
  }
  if (!with_gelu) return;
  if (slope == nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) y[i] = gelu(sums[i]);
    return;
  }
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const T x = sums[i], below = normal_distribution(x);
    y[i] = x * below;
    slope[i] = below + x * normal_density(x);
  }
}

/// The weight, or its transpose, packed for products.
template <class T>
class PackedWeight {
 public:
  PackedWeight(std::int64_t rows, std::int64_t depth, const T* weight, std::int64_t row_step, std::int64_t column_step)
      : block_(static_cast<std::size_t>(Tiled<T>::size_for(rows, depth)) * sizeof(T), {}),
        tiles_(cpu::tiled(rows, depth, weight, row_step, column_step, static_cast<T*>(block_.data()))) {}
  const Tiled<const T>& tiles() const { return tiles_; }

 private:
  Block block_;
  Tiled<const T> tiles_;
};

template <class T>
Block numbers(std::int64_t count) {
  return Block(static_cast<std::size_t>(count) * sizeof(T), {});
}

/// sums (M, N) += the products of rows of a with rows of b, summed over `columns`.
template <int M, int N, class T>
void add_dots(std::int64_t columns, const T* a, const T* b, std::int64_t step, T* sums, std::int64_t sums_step) {
  Vector<T> dots[M][N];
  for (int m = 0; m < M; ++m) {
    for (int n = 0; n < N; ++n) dots[m][n] = Vector<T>{};
  }
  for (std::int64_t i = 0; i < columns; i += kLanes<T>) {
    Vector<T> right[N];
    for (int n = 0; n < N; ++n) right[n] = cpu::load(b + n * step + i);
    for (int m = 0; m < M; ++m) {
      const Vector<T> left = cpu::load(a + m * step + i);
      for (int n = 0; n < N; ++n) dots[m][n] += left * right[n];
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int n = 0; n < N; ++n) sums[m * sums_step + n] += cpu::sum_of_lanes<T>(dots[m][n]);
  }
}

/// sums (rows of a, rows of b) += a b^T over the columns, in whole vectors, of two blocks.
template <class T>
void add_products_of_rows(std::int64_t columns, std::int64_t rows_a, std::int64_t rows_b, const T* a, const T* b, std::int64_t step,
                          T* sums) {
  constexpr int kTall = 4, kWide = sizeof(Vector<T>) == 64 ? 4 : 2;
  for (std::int64_t row = 0; row < rows_a;) {
    const std::int64_t rows = row + kTall <= rows_a ? kTall : 1;
    for (std::int64_t column = 0; column < rows_b;) {
      const bool wide = column + kWide <= rows_b;
      const auto add =
          rows == 1 ? (wide ? add_dots<1, kWide, T> : add_dots<1, 1, T>) : (wide ? add_dots<kTall, kWide, T> : add_dots<kTall, 1, T>);
      add(columns, a + row * step, b + column * step, step, sums + row * rows_b + column, rows_b);
      column += wide ? kWide : 1;
    }
    row += rows;
  }
}

/// The gradients of one thread, added up over its blocks, where they are sums over all points.
template <class T>
struct PartialSums {
  T *weight, *bias, *gate;
  static std::int64_t numbers(const MixSize& size) { return size.out * (size.in + 2); }
  PartialSums(const MixSize& size, T* memory) : weight(memory), bias(memory + size.out * size.in), gate(bias + size.out) {}
};

/// What the threads have summed, in their order.
template <class T>
void add_parts(std::int64_t threads, std::int64_t stride, std::int64_t count, const T* first, T* total) {
  if (total == nullptr) return;
  std::copy_n(first, count, total);
  for (std::int64_t thread = 1; thread < threads; ++thread) {
    const T* source = first + thread * stride;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) total[i] += source[i];
  }
}

/// The gradient before the GELU in one row of a block, and what follows from it by itself.
template <class T>
void slope_row(std::int64_t count, const T* dy, const T* slope, T factor, const T* addend, T* gradient, T* daddend, T* bias_sum,
               T* gate_sum) {
  T sum = 0, gated = 0;
  if (slope == nullptr) {
    std::copy_n(dy, count, gradient);
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) gradient[i] = dy[i] * slope[i];
  }
  if (bias_sum != nullptr) {
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < count; ++i) sum += gradient[i];
    *bias_sum += sum;
  }
  if (gate_sum != nullptr) {
#pragma omp simd reduction(+ : gated)
    for (std::int64_t i = 0; i < count; ++i) gated += gradient[i] * addend[i];
    *gate_sum += gated;
  }
  if (daddend == nullptr) return;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) daddend[i] = factor * gradient[i];
}

}  // namespace

template <class T>
void mix_forward(Cpu, const MixSize& size, const MixOperands<T>& from, T* slope, T* y) {
  const Blocks<T> blocks(size);
  const PackedWeight<T> weight(size.out, size.in, from.weight, size.in, 1);
#pragma omp parallel num_threads(blocks.threads()) if (blocks.threads() > 1)
  {
    const Block memory = numbers<T>((size.in + size.out) * blocks.step());
    T *x = static_cast<T*>(memory.data()), *sums = x + size.in * blocks.step();
#pragma omp for schedule(static)
    for (std::int64_t index = 0; index < blocks.count(); ++index) {
      const Columns columns = blocks[index];
      gather(blocks, columns, size.in, size.points, from.x, x);
      cpu::tiled_product<T>(weight.tiles(), round_up(columns.count(), kLanes<T>), {x, blocks.step()}, {sums, blocks.step()});
      for (std::int64_t channel = 0; channel < size.out; ++channel) {
        const T bias = from.bias == nullptr ? T(0) : from.bias[channel], gate = from.gate == nullptr ? T(1) : from.gate[channel];
        blocks.each_part(columns, [&](std::int64_t place, std::int64_t sample, std::int64_t point, std::int64_t count) {
          const std::int64_t offset = (sample * size.out + channel) * size.points + point;
          finish_row(count, size.gelu, bias, gate, at(from.addend, offset), sums + channel * blocks.step() + place,
                     slope == nullptr ? nullptr : slope + offset, y + offset);
        });
      }
    }
  }
}

template <class T>
void mix_backward(Cpu, const MixSize& size, const MixOperands<T>& from, const T* slope, const T* dy, const MixGradients<T>& to) {
  const Blocks<T> blocks(size);
  const PackedWeight<T> weight(size.in, size.out, from.weight, 1, size.in);
  const std::int64_t own = PartialSums<T>::numbers(size);
  const Block sums = numbers<T>(blocks.threads() * own);
  std::fill_n(static_cast<T*>(sums.data()), blocks.threads() * own, T(0));
#pragma omp parallel num_threads(blocks.threads()) if (blocks.threads() > 1)
  {
    const Block memory = numbers<T>((size.in + size.out) * blocks.step());
    T *x = static_cast<T*>(memory.data()), *gradient = x + size.in * blocks.step();
    const PartialSums<T> mine(size, static_cast<T*>(sums.data()) + omp_get_thread_num() * own);
#pragma omp for schedule(static)
    for (std::int64_t index = 0; index < blocks.count(); ++index) {
      const Columns columns = blocks[index];
      const std::int64_t width = round_up(columns.count(), kLanes<T>);
      for (std::int64_t channel = 0; channel < size.out; ++channel) {
        T* row = gradient + channel * blocks.step();
        blocks.each_part(columns, [&](std::int64_t place, std::int64_t sample, std::int64_t point, std::int64_t count) {
          const std::int64_t offset = (sample * size.out + channel) * size.points + point;
          slope_row(count, dy + offset, size.gelu ? slope + offset : nullptr, from.gate == nullptr ? T(1) : from.gate[channel],
                    at(from.addend, offset), row + place, to.addend == nullptr ? nullptr : to.addend + offset,
                    to.bias == nullptr ? nullptr : mine.bias + channel, to.gate == nullptr ? nullptr : mine.gate + channel);
        });
        std::fill_n(row + columns.count(), width - columns.count(), T(0));
      }
      if (to.weight != nullptr) {
        gather(blocks, columns, size.in, size.points, from.x, x);
        add_products_of_rows(width, size.out, size.in, gradient, x, blocks.step(), mine.weight);
      }
      if (to.x == nullptr) continue;
      cpu::tiled_product<T>(weight.tiles(), width, {gradient, blocks.step()}, {x, blocks.step()});
      for (std::int64_t channel = 0; channel < size.in; ++channel) {
        blocks.each_part(columns, [&](std::int64_t place, std::int64_t sample, std::int64_t point, std::int64_t count) {
          std::copy_n(x + channel * blocks.step() + place, count, to.x + (sample * size.in + channel) * size.points + point);
        });
      }
    }
  }
  const PartialSums<T> first(size, static_cast<T*>(sums.data()));
  add_parts(blocks.threads(), own, size.out * size.in, first.weight, to.weight);
  add_parts(blocks.threads(), own, size.out, first.bias, to.bias);
  add_parts(blocks.threads(), own, size.out, first.gate, to.gate);
}

#define TRIDENT_CHANNEL_MIX(T)                                                      \
  template void mix_forward<T>(Cpu, const MixSize&, const MixOperands<T>&, T*, T*); \
  template void mix_backward<T>(Cpu, const MixSize&, const MixOperands<T>&, const T*, const T*, const MixGradients<T>&);
TRIDENT_CHANNEL_MIX(float)
TRIDENT_CHANNEL_MIX(double)

}  // namespace trident
