// Work is cut into blocks (channel, column) that stay in a core's cache. Where points fill whole vectors and the rows of a sample do not
// push each other out of the cache, a block is some columns of a sample as they lie. Elsewhere neighbouring points of one or several
// samples are gathered: whatever the number of points, products run over whole vectors, and rows lie no power of two apart.
#include <omp.h>

#include <algorithm>

#include "runtime/device/allocator.h"
#include "runtime/kernels/channel_mix.h"
#include "runtime/kernels/gelu_vector.h"
#include "runtime/kernels/lane_sums.h"
#include "runtime/kernels/tiled_product.h"

namespace trident {
namespace {

using cpu::kLanes;
using cpu::round_up;
using cpu::Rows;
using cpu::Tiled;
using cpu::Vector;

constexpr std::int64_t kBlockBytes = 1 << 18;  // of inputs and outputs together
constexpr std::int64_t kMostColumns = 1024;
constexpr std::int64_t kWorthThreads = 1 << 18;  // multiplications
constexpr std::int64_t kConflictBytes = 4096;    // rows that lie a multiple of it apart take the same places of the first cache

/// Columns [first, last) of all points of all samples.
struct Columns {
  std::int64_t first = 0, last = 0;
  std::int64_t count() const { return last - first; }
};

/// All columns cut into blocks; each thread gets some.
template <class T>
class Blocks {
 public:
  explicit Blocks(const MixSize& size)
      : points_(size.points),
        total_(size.batch * size.points),
        in_place_(size.points % kLanes<T> == 0 && size.points * static_cast<std::int64_t>(sizeof(T)) % kConflictBytes != 0) {
    if (total_ * size.in * size.out > kWorthThreads) threads_ = omp_get_max_threads();
    const std::int64_t fitting = kBlockBytes / static_cast<std::int64_t>(sizeof(T)) / (size.in + size.out),
                       even = (total_ + threads_ - 1) / threads_;
    columns_ = round_up(std::clamp<std::int64_t>(std::min(even, fitting), 1, kMostColumns), kLanes<T>);
    length_ = in_place_ ? points_ : total_;
    per_length_ = (length_ + columns_ - 1) / columns_;
  }
  std::int64_t count() const { return length_ == 0 ? 0 : total_ / length_ * per_length_; }
  int threads() const { return static_cast<int>(std::min<std::int64_t>(threads_, std::max<std::int64_t>(1, count()))); }
  bool in_place() const { return in_place_; }
  /// Numbers of so many channels of a gathered block.
  std::int64_t gathered(std::int64_t channels) const { return in_place_ ? 0 : channels * row_step(); }
  /// Between rows of a block in memory of its own: no power of two.
  std::int64_t row_step() const { return columns_ + kLanes<T>; }
  Columns operator[](std::int64_t index) const {
    const std::int64_t begin = index / per_length_ * length_, first = index % per_length_ * columns_;
    return {begin + first, begin + std::min(length_, first + columns_)};
  }

  /// Calls use(place in the block, sample, first point, points) for each sample's part of `columns`.
  template <class Use>
  void each_part(const Columns& columns, Use&& use) const {
    for (std::int64_t column = columns.first; column < columns.last;) {
      const std::int64_t sample = column / points_, point = column % points_, part = std::min(points_ - point, columns.last - column);
      use(column - columns.first, sample, point, part);
      column += part;
    }
  }

  /// The block of x (batch, channels, points): as it lies, or gathered into `memory` with zeros behind it up to whole vectors.
  Rows<const T> block_of(const T* x, std::int64_t channels, const Columns& columns, T* memory) const {
    if (in_place_) return {x + offset(channels, columns), points_};
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      T* row = memory + channel * row_step();
      each_part(columns, [&](std::int64_t place, std::int64_t sample, std::int64_t point, std::int64_t count) {
        std::copy_n(x + (sample * channels + channel) * points_ + point, count, row + place);
      });
      fill_end(columns, row);
    }
    return {memory, row_step()};
  }
  /// Where the block of x is computed: where it lies, or in `memory`, from where spread() takes it.
  Rows<T> target_in(T* x, std::int64_t channels, const Columns& columns, T* memory) const {
    return in_place_ ? Rows<T>{x + offset(channels, columns), points_} : Rows<T>{memory, row_step()};
  }
  void spread(const Rows<T>& block, std::int64_t channels, const Columns& columns, T* x) const {
    if (in_place_) return;
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      each_part(columns, [&](std::int64_t place, std::int64_t sample, std::int64_t point, std::int64_t count) {
        std::copy_n(block.data + channel * block.step + place, count, x + (sample * channels + channel) * points_ + point);
      });
    }
  }
  /// Zeros behind a gathered row, up to whole vectors.
  void fill_end(const Columns& columns, T* row) const {
    if (!in_place_) std::fill_n(row + columns.count(), round_up(columns.count(), kLanes<T>) - columns.count(), T(0));
  }

 private:
  std::int64_t offset(std::int64_t channels, const Columns& columns) const {
    return columns.first / points_ * channels * points_ + columns.first % points_;
  }

  std::int64_t points_, total_, threads_ = 1, columns_ = 1;
  bool in_place_;
  std::int64_t length_ = 0, per_length_ = 0;  // columns that blocks are cut from: a sample's or all; and blocks of them
};

template <class T>
const T* at(const T* pointer, std::int64_t offset) {
  return pointer == nullptr ? nullptr : pointer + offset;
}

/// One row's end: bias, addend and GELU, and the GELU's derivative.
template <class T>
void finish_row(std::int64_t count, bool with_gelu, T bias, T gate, const T* addend, const T* sums, T* slope, T* y) {
  for (std::int64_t i = 0; i < count; i += kLanes<T>) {
    const std::int64_t left = count - i;
    Vector<T> x = cpu::load_some(sums + i, left) + bias;
    if (addend != nullptr) x += gate * cpu::load_some(addend + i, left);
    if (!with_gelu) {
      cpu::store_some(y + i, x, left);
      continue;
    }
    const cpu::GeluAndSlope<T> result = cpu::gelu_and_slope(x);
    cpu::store_some(y + i, result.value, left);
    if (slope != nullptr) cpu::store_some(slope + i, result.slope, left);
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
void add_dots(std::int64_t columns, Rows<const T> a, Rows<const T> b, T* sums, std::int64_t sums_step) {
  Vector<T> dots[M * N];
#pragma GCC unroll 16
  for (int i = 0; i < M * N; ++i) dots[i] = Vector<T>{};
  for (std::int64_t i = 0; i < columns; i += kLanes<T>) {
    Vector<T> right[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) right[n] = cpu::load(b.data + n * b.step + i);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const Vector<T> left = cpu::load(a.data + m * a.step + i);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) dots[m * N + n] += left * right[n];
    }
  }
  constexpr int kTogether = std::min(M * N, kLanes<T>);
#pragma GCC unroll 4
  for (int first = 0; first < M * N; first += kTogether) {
    const Vector<T> totals = cpu::sums_of_lanes<kTogether, T>(dots + first);
#pragma GCC unroll 16
    for (int i = 0; i < kTogether; ++i) sums[(first + i) / N * sums_step + (first + i) % N] += totals[i];
  }
}

/// sums (rows of a, rows of b) += a b^T over the columns, in whole vectors, of two blocks.
template <class T>
void add_products_of_rows(std::int64_t columns, std::int64_t rows_a, std::int64_t rows_b, Rows<const T> a, Rows<const T> b, T* sums) {
  constexpr int kTall = 4, kWide = sizeof(Vector<T>) == 64 ? 4 : 2;
  for (std::int64_t row = 0; row < rows_a;) {
    const std::int64_t rows = row + kTall <= rows_a ? kTall : 1;
    for (std::int64_t column = 0; column < rows_b;) {
      const bool wide = column + kWide <= rows_b;
      const auto add =
          rows == 1 ? (wide ? add_dots<1, kWide, T> : add_dots<1, 1, T>) : (wide ? add_dots<kTall, kWide, T> : add_dots<kTall, 1, T>);
      add(columns, {a.data + row * a.step, a.step}, {b.data + column * b.step, b.step}, sums + row * rows_b + column, rows_b);
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

/// What one row of a block has to be read from and written to; null where not wanted. `slope` null: there is no GELU.
template <class T>
struct SlopeRow {
  const T *dy, *slope, *addend;
  T gate;
  T *gradient, *addend_gradient;  // before the GELU; and times the gate
  T *bias_sum, *gate_sum;
};

/// The gradient before the GELU in one row of a block, and what follows from it by itself.
template <class T>
void slope_row(std::int64_t count, const SlopeRow<T>& row) {
  Vector<T> sum{}, gated{};
  for (std::int64_t i = 0; i < count; i += kLanes<T>) {
    const std::int64_t left = count - i;
    Vector<T> gradient = cpu::load_some(row.dy + i, left);
    if (row.slope != nullptr) gradient *= cpu::load_some(row.slope + i, left);
    if (row.gradient != nullptr) cpu::store_some(row.gradient + i, gradient, left);
    if (row.addend_gradient != nullptr) cpu::store_some<T>(row.addend_gradient + i, row.gate * gradient, left);
    sum += gradient;
    if (row.gate_sum != nullptr) gated += gradient * cpu::load_some(row.addend + i, left);
  }
  if (row.bias_sum != nullptr) *row.bias_sum += cpu::sum_of_lanes<T>(sum);
  if (row.gate_sum != nullptr) *row.gate_sum += cpu::sum_of_lanes<T>(gated);
}

/// The gradient before the GELU in a block: written to `memory`, or to the addend's where that is the same, or dy itself without a GELU.
template <class T>
Rows<const T> slope_block(const Blocks<T>& blocks, const Columns& columns, const MixSize& size, const MixOperands<T>& from, const T* slope,
                          const T* dy, const MixGradients<T>& to, const PartialSums<T>& sums, T* memory) {
  const bool is_dy = blocks.in_place() && !size.gelu,
             is_addends = !is_dy && blocks.in_place() && from.gate == nullptr && to.addend != nullptr;
  const Rows<T> target = is_addends ? blocks.target_in(to.addend, size.out, columns, memory) : Rows<T>{memory, blocks.row_step()};
  for (std::int64_t channel = 0; channel < size.out; ++channel) {
    T* row = target.data + channel * target.step;
    blocks.each_part(columns, [&](std::int64_t place, std::int64_t sample, std::int64_t point, std::int64_t count) {
      const std::int64_t offset = (sample * size.out + channel) * size.points + point;
      slope_row<T>(count, {.dy = dy + offset,
                           .slope = size.gelu ? slope + offset : nullptr,
                           .addend = at(from.addend, offset),
                           .gate = from.gate == nullptr ? T(1) : from.gate[channel],
                           .gradient = is_dy ? nullptr : row + place,
                           .addend_gradient = to.addend == nullptr || is_addends ? nullptr : to.addend + offset,
                           .bias_sum = to.bias == nullptr ? nullptr : sums.bias + channel,
                           .gate_sum = to.gate == nullptr ? nullptr : sums.gate + channel});
    });
    blocks.fill_end(columns, row);
  }
  return is_dy ? blocks.block_of(dy, size.out, columns, memory) : Rows<const T>{target.data, target.step};
}

/// GELUs of a block in rows of a block of its own, whole vectors, and unless null their slopes.
template <class T>
Rows<const T> activated(const Blocks<T>& blocks, const Columns& columns, std::int64_t channels, Rows<const T> x, T* values, T* slopes) {
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t i = 0; i < columns.count(); i += kLanes<T>) {
      const std::int64_t place = channel * blocks.row_step() + i;
      const cpu::GeluAndSlope<T> result = cpu::gelu_and_slope(cpu::load(x.data + channel * x.step + i));
      cpu::store(values + place, result.value);
      if (slopes != nullptr) cpu::store(slopes + place, result.slope);
    }
  }
  return {values, blocks.row_step()};
}

/// The gradient of what GELUs were given from that of their results.
template <class T>
void through_slopes(const Blocks<T>& blocks, const Columns& columns, std::int64_t channels, const T* slopes, Rows<T> gradient) {
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    for (std::int64_t i = 0; i < columns.count(); i += kLanes<T>) {
      T* at = gradient.data + channel * gradient.step + i;
      cpu::store<T>(at, cpu::load(at) * cpu::load(slopes + channel * blocks.row_step() + i));
    }
  }
}

}  // namespace

template <class T>
void mix_forward(Cpu, const MixSize& size, const MixOperands<T>& from, T* slope, T* y) {
  const Blocks<T> blocks(size);
  const PackedWeight<T> weight(size.out, size.in, from.weight, size.in, 1);
#pragma omp parallel num_threads(blocks.threads()) if (blocks.threads() > 1)
  {
    const std::int64_t numbers_in = size.of_gelu ? size.in * blocks.row_step() : blocks.gathered(size.in);
    const Block memory = numbers<T>(numbers_in + blocks.gathered(size.out));
    T *inside = static_cast<T*>(memory.data()), *outside = inside + numbers_in;
#pragma omp for schedule(static)
    for (std::int64_t index = 0; index < blocks.count(); ++index) {
      const Columns columns = blocks[index];
      Rows<const T> x = blocks.block_of(from.x, size.in, columns, inside);
      if (size.of_gelu) x = activated<T>(blocks, columns, size.in, x, inside, nullptr);
      const Rows<T> sums = blocks.target_in(y, size.out, columns, outside);
      cpu::tiled_product<T>(weight.tiles(), round_up(columns.count(), kLanes<T>), x, sums);
      for (std::int64_t channel = 0; channel < size.out; ++channel) {
        const T bias = from.bias == nullptr ? T(0) : from.bias[channel], gate = from.gate == nullptr ? T(1) : from.gate[channel];
        blocks.each_part(columns, [&](std::int64_t place, std::int64_t sample, std::int64_t point, std::int64_t count) {
          const std::int64_t offset = (sample * size.out + channel) * size.points + point;
          finish_row(count, size.gelu, bias, gate, at(from.addend, offset), sums.data + channel * sums.step + place,
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
    const std::int64_t numbers_in = size.of_gelu ? size.in * blocks.row_step() : blocks.gathered(size.in);
    const Block memory = numbers<T>(numbers_in + (size.of_gelu ? numbers_in : 0) + size.out * blocks.row_step());
    T *inside = static_cast<T*>(memory.data()), *outside = inside + numbers_in, *slopes = outside + size.out * blocks.row_step();
    const PartialSums<T> mine(size, static_cast<T*>(sums.data()) + omp_get_thread_num() * own);
#pragma omp for schedule(static)
    for (std::int64_t index = 0; index < blocks.count(); ++index) {
      const Columns columns = blocks[index];
      const std::int64_t width = round_up(columns.count(), kLanes<T>);
      const Rows<const T> gradient = slope_block(blocks, columns, size, from, slope, dy, to, mine, outside);
      if (to.weight != nullptr || size.of_gelu) {
        Rows<const T> x = blocks.block_of(from.x, size.in, columns, inside);
        if (size.of_gelu) x = activated(blocks, columns, size.in, x, inside, slopes);
        if (to.weight != nullptr) add_products_of_rows(width, size.out, size.in, gradient, x, mine.weight);
      }
      if (to.x == nullptr) continue;
      const Rows<T> dx = blocks.target_in(to.x, size.in, columns, inside);
      cpu::tiled_product<T>(weight.tiles(), width, gradient, dx);
      if (size.of_gelu) through_slopes<T>(blocks, columns, size.in, slopes, dx);
      blocks.spread(dx, size.in, columns, to.x);
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
