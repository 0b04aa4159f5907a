// Blocks of channels and points are copied into strips (channel_strips.h), with memory asked for some channels ahead, on the way through
// what comes before the product; each tile of the product meets what comes behind it while it lies in the first cache.
#include "runtime/kernels/channel_mix.h"

#include "runtime/kernels/channel_strips.h"
#include "runtime/kernels/gelu_vector.h"
#include "runtime/kernels/strip_product.h"

namespace trident {
namespace {

using cpu::Blocks;
using cpu::Columns;
using cpu::kLanes;
using cpu::kStrip;
using cpu::numbers;
using cpu::round_up;
using cpu::Rows;
using cpu::Run;
using cpu::Storing;
using cpu::StripMemory;
using cpu::Strips;
using cpu::Tiled;
using cpu::Vector;

constexpr std::int64_t kWorthThreads = 1 << 18;       // multiplications
constexpr std::int64_t kWorthThreadsToAdd = 1 << 15;  // numbers of sums of shares
constexpr std::int64_t kConflictBytes = 4096;         // rows that lie a multiple of it apart take the same places of the first cache
constexpr std::int64_t kChannelsAhead = 4;            // that memory is asked for
constexpr std::int64_t kLargeBytes = 4 << 20;         // do not stay in the caches until they are read again

bool worth_threads(const MixSize& size) { return size.batch * size.points * size.in * size.out > kWorthThreads; }
template <class T>
bool is_large(std::int64_t count) {
  return count * static_cast<std::int64_t>(sizeof(T)) >= kLargeBytes;
}

template <class T>
void put_some(T* to, Vector<T> value, std::int64_t count, Storing storing) {
  if (storing == Storing::streamed) {
    cpu::stream(to, value);
  } else {
    cpu::store_some(to, value, count);
  }
}
template <class T>
void put(T* to, Vector<T> value, Storing storing) {
  put_some<T>(to, value, kLanes<T>, storing);
}

/// The weight, or its transpose, packed for products, and what sums begin with.
template <class T>
class PackedWeight {
 public:
  PackedWeight(std::int64_t rows, std::int64_t depth, const T* weight, std::int64_t row_step, std::int64_t column_step, const T* start)
      : block_(numbers<T>(Tiled<T>::size_for(rows, depth) + rows + cpu::kTileRows)),
        tiles_(cpu::tiled(rows, depth, weight, row_step, column_step, static_cast<T*>(block_.data()))),
        start_(static_cast<T*>(block_.data()) + Tiled<T>::size_for(rows, depth)) {
    std::fill_n(start_, rows + cpu::kTileRows, T(0));
    if (start != nullptr) std::copy_n(start, rows, start_);
  }
  const Tiled<const T>& tiles() const { return tiles_; }
  const T* start() const { return start_; }

 private:
  Block block_;
  Tiled<const T> tiles_;
  T* start_;
};

/// Where channels of runs lie in (batch, channels, points).
struct Field {
  std::int64_t channels, points;
  std::int64_t offset(const Run& run, std::int64_t channel) const { return (run.sample * channels + channel) * points + run.point; }
  /// Calls use(channel, run, offset, offset some channels ahead) for all of the columns' runs.
  template <class Use>
  void each_run(const Columns& columns, Use&& use) const {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (const Run& run : columns.runs)
        use(channel, run, offset(run, channel), offset(run, std::min(channel + kChannelsAhead, channels - 1)));
    }
  }
};

/// Channels that products read: where they lie if whole vectors of a small field, whose rows do not push each other out of the cache, or
/// else copied to strips; of the copies those may be GELUs.
template <class T>
class Source {
 public:
  Source(const T* data, const MixSize& size, std::int64_t channels, bool of_gelu, bool with_slopes)
      : data_(data),
        field_{channels, size.points},
        of_gelu_(of_gelu),
        copied_(of_gelu || size.points % kLanes<T> != 0 || is_large<T>(size.batch * channels * size.points) ||
                size.points * static_cast<std::int64_t>(sizeof(T)) % kConflictBytes == 0),
        values_(copied_ ? channels : 0),
        slopes_(with_slopes ? channels : 0) {}
  Strips<const T> rows(const Columns& columns) const {
    if (copied_) return values_.strips();
    return {data_ + field_.offset(columns.runs.front(), 0), field_.channels, field_.points, kStrip<T>};
  }
  /// The GELUs' slopes.
  Strips<const T> slopes() const { return slopes_.strips(); }
  /// Makes them those of a block.
  void fetch(const Columns& columns) const {
    if (!copied_) return;
    const Strips<T> values = values_.strips(), slopes = slopes_.strips();
    field_.each_run(columns, [&](std::int64_t channel, const Run& run, std::int64_t offset, std::int64_t ahead) {
      for (std::int64_t i = 0; i < run.count; i += kLanes<T>) {
        const std::int64_t left = run.count - i;
        __builtin_prefetch(data_ + ahead + i);
        const Vector<T> x = cpu::load_some(data_ + offset + i, left);
        T* to = values.at(channel, run.place + i);
        if (!of_gelu_) {
          cpu::store_some(to, x, left);
          continue;
        }
        const cpu::GeluAndSlope<T> result = cpu::gelu_and_slope(x);
        cpu::store_some(to, result.value, left);
        if (slopes.rows > 0) cpu::store_some(slopes.at(channel, run.place + i), result.slope, left);
      }
    });
    values.fill_ends(columns.count);
  }

 private:
  const T* data_;
  Field field_;
  bool of_gelu_, copied_;
  StripMemory<T> values_, slopes_;
};

/// A result (batch, channels, points): tiles of strips are written where they belong if points fill whole vectors, or else to memory
/// beside, from where spread() takes their runs.
template <class T>
class Result {
 public:
  Result(T* data, const MixSize& size, std::int64_t channels)
      : data_(data), field_{channels, size.points}, direct_(size.points % kLanes<T> == 0) {
    const bool aligned = direct_ && reinterpret_cast<std::uintptr_t>(data) % cpu::kVectorBytes == 0;
    if (aligned && is_large<T>(size.batch * channels * size.points)) storing_ = Storing::streamed;
  }
  /// Whether tiles are written where they belong.
  bool direct() const { return direct_; }
  Storing storing() const { return storing_; }
  Rows<T> tile(const Columns& columns, std::int64_t strip, std::int64_t row, T* beside) const {
    if (data_ == nullptr) return {nullptr, 0};
    if (!direct_) return {beside, kStrip<T>};
    return {data_ + field_.offset(columns.runs.front(), row) + strip * kStrip<T>, field_.points};
  }
  void spread(const Columns& columns, std::int64_t strip, std::int64_t first, std::int64_t rows, const T* beside) const {
    if (direct_ || data_ == nullptr) return;
    for (const Run& run : columns.runs) {
      if (run.place / kStrip<T> != strip) continue;
      for (std::int64_t row = 0; row < rows; ++row)
        std::copy_n(beside + row * kStrip<T> + run.place % kStrip<T>, run.count, data_ + field_.offset(run, first + row));
    }
  }

 private:
  T* data_;
  Field field_;
  bool direct_;
  Storing storing_ = Storing::cached;
};

/// What products are added to, beside a weight's start.
template <class T>
struct Addend {
  Strips<const T> rows;  // null for none
  const T* gate;         // null for ones
};

/// Products of a weight with all strips of a block. Unless they are the result as they are, finish(strip, row, rows, vectors, sums, rows
/// of the result) writes each tile of it.
template <class T, class Finish>
void strip_products(const PackedWeight<T>& weight, const Columns& columns, const Strips<const T>& b, const Addend<T>& addend,
                    const Result<T>& result, bool as_they_are, Finish&& finish) {
  alignas(cpu::kVectorBytes) T sums[cpu::kTileRows * kStrip<T>], beside[cpu::kTileRows * kStrip<T>];
  const bool direct = as_they_are && result.direct();
  for (std::int64_t strip = 0; strip < cpu::strips_of<T>(columns); ++strip) {
    const std::int64_t vectors = std::min<std::int64_t>(2, cpu::vectors_of<T>(columns) - 2 * strip);
    const T* added = addend.rows.data == nullptr ? nullptr : addend.rows.strip(strip);
    cpu::strip_product<T>(
        weight.tiles(), {weight.start(), {added, addend.rows.row_step}, addend.gate}, vectors, {b.strip(strip), b.row_step},
        direct ? result.storing() : Storing::cached,
        [&](std::int64_t row) {
          return direct ? result.tile(columns, strip, row, beside) : Rows<T>{sums, kStrip<T>};
        },
        [&](std::int64_t row, std::int64_t rows) {
          if (direct) return;
          if (!as_they_are) finish(strip, row, rows, vectors, sums, result.tile(columns, strip, row, beside));
          result.spread(columns, strip, row, rows, as_they_are ? sums : beside);
        });
  }
}

/// The GELU of a tile's sums; its slope too, unless `slope` is null.
template <class T>
void gelu_of_tile(std::int64_t rows, std::int64_t vectors, const T* sums, Rows<T> y, Storing y_storing, Rows<T> slope,
                  Storing slope_storing) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < vectors * kLanes<T>; column += kLanes<T>) {
      const cpu::GeluAndSlope<T> result = cpu::gelu_and_slope(cpu::load(sums + row * kStrip<T> + column));
      put<T>(y.data + row * y.step + column, result.value, y_storing);
      if (slope.data != nullptr) put<T>(slope.data + row * slope.step + column, result.slope, slope_storing);
    }
  }
}

/// products times factors, rows of which lie as those of a strip.
template <class T>
void multiply_tile(std::int64_t rows, std::int64_t vectors, const T* products, const T* factors, Rows<T> to, Storing storing) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < vectors * kLanes<T>; column += kLanes<T>) {
      const std::int64_t place = row * kStrip<T> + column;
      put<T>(to.data + row * to.step + column, cpu::load(products + place) * cpu::load(factors + place), storing);
    }
  }
}

/// The gradients of a share of blocks, where they are sums over all points.
template <class T>
struct PartialSums {
  T *weight, *bias, *gate;  // of the latter two a vector for each channel
  static std::int64_t width(const MixSize& size) { return round_up(size.in, kLanes<T>); }
  static std::int64_t rows(const MixSize& size) { return round_up(size.out, Tiled<T>::height_for(size.out)); }
  static std::int64_t numbers(const MixSize& size) { return rows(size) * (width(size) + 2 * kLanes<T>); }
  PartialSums(const MixSize& size, T* memory)
      : weight(memory), bias(memory + rows(size) * width(size)), gate(bias + rows(size) * kLanes<T>) {}
  static void add_to(T* vectors, std::int64_t channel, Vector<T> addend) {
    T* place = vectors + channel * kLanes<T>;
    cpu::store<T>(place, cpu::load(place) + addend);
  }
};

/// What the shares have summed, in their order.
template <class T>
void add_parts(std::int64_t shares, std::int64_t stride, std::int64_t count, const T* first, Sum how, T* total) {
  if (how == Sum::replaces) std::fill_n(total, count, T(0));
  for (std::int64_t share = 0; share < shares; ++share) {
    const T* source = first + share * stride;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) total[i] += source[i];
  }
}
template <class T>
void add_vectors(std::int64_t shares, std::int64_t stride, std::int64_t count, const T* first, const Into<T>& total) {
  for (std::int64_t i = 0; i < count && total.to != nullptr; ++i) {
    Vector<T> sum{};
    for (std::int64_t share = 0; share < shares; ++share) sum += cpu::load(first + share * stride + i * kLanes<T>);
    total.to[i] = cpu::sum_of_lanes<T>(sum) + (total.sum == Sum::adds ? total.to[i] : T(0));
  }
}

/// The gradient before the GELU of a block, and what follows from it by itself.
template <class T>
void fetch_gradient(const MixSize& size, const MixOperands<T>& from, const T* slope, const T* dy, const MixGradients<T>& to,
                    Storing storing, const PartialSums<T>& sums, const Columns& columns, const Strips<T>& gradients) {
  const Field field{size.out, size.points};
  field.each_run(columns, [&](std::int64_t channel, const Run& run, std::int64_t offset, std::int64_t ahead) {
    const T gate = from.gate == nullptr ? T(1) : from.gate[channel];
    Vector<T> sum{}, gated{};
    for (std::int64_t i = 0; i < run.count; i += kLanes<T>) {
      const std::int64_t left = run.count - i;
      __builtin_prefetch(dy + ahead + i);
      Vector<T> gradient = cpu::load_some(dy + offset + i, left);
      if (size.gelu) {
        __builtin_prefetch(slope + ahead + i);
        gradient *= cpu::load_some(slope + offset + i, left);
      }
      cpu::store_some(gradients.at(channel, run.place + i), gradient, left);
      sum += gradient;
      if (to.gate.to != nullptr) {
        __builtin_prefetch(from.addend + ahead + i);
        gated += gradient * cpu::load_some(from.addend + offset + i, left);
      }
      if (to.addend != nullptr) put_some<T>(to.addend + offset + i, gate * gradient, left, storing);
    }
    sums.add_to(sums.bias, channel, sum);
    if (to.gate.to != nullptr) sums.add_to(sums.gate, channel, gated);
  });
  gradients.fill_ends(columns.count);
}

/// sums += dz x^T of a block: by dots where transposing x to whole vectors costs more.
template <class T>
void add_weight_gradient(const MixSize& size, std::int64_t vectors, const Strips<const T>& dz, const Strips<const T>& x, T* panels,
                         T* sums) {
  const std::int64_t width = PartialSums<T>::width(size);
  constexpr std::int64_t kTransposing = 6, kDots = 118;  // cycles of a vector, and hundredths of that of a product
  if (size.out * size.in * kDots < 100 * (size.out * width + kTransposing * size.in)) {
    return cpu::add_products_of_rows<T>(vectors, size.out, dz, x, width, sums);
  }
  cpu::transpose_strips<T>(vectors, x, panels);
  cpu::add_outer_product<T>(vectors, dz, Tiled<T>::height_for(size.out), width, panels, sums);
}

}  // namespace

template <class T>
void mix_forward(Cpu, const MixSize& size, const MixOperands<T>& from, T* slope, T* y) {
  const Blocks<T> blocks(size.batch, size.points);
  const PackedWeight<T> weight(size.out, size.in, from.weight, size.in, 1, from.bias);
  const Result<T> result(y, size, size.out), slopes(slope, size, size.out);
  cpu::in_parallel(blocks, worth_threads(size), [&] {
    return [&, x = Source<T>(from.x, size, size.in, size.of_gelu, false),
            addend = Source<T>(from.addend, size, from.addend == nullptr ? 0 : size.out, false, false)](std::int64_t index) {
      alignas(cpu::kVectorBytes) T slopes_beside[cpu::kTileRows * kStrip<T>];
      const Columns columns = blocks[index];
      x.fetch(columns);
      addend.fetch(columns);
      const auto finish = [&](std::int64_t strip, std::int64_t row, std::int64_t rows, std::int64_t vectors, const T* sums, Rows<T> to) {
        gelu_of_tile<T>(rows, vectors, sums, to, result.storing(), slopes.tile(columns, strip, row, slopes_beside), slopes.storing());
        slopes.spread(columns, strip, row, rows, slopes_beside);
      };
      const Addend<T> added{from.addend == nullptr ? Strips<const T>{} : addend.rows(columns), from.gate};
      strip_products<T>(weight, columns, x.rows(columns), added, result, !size.gelu, finish);
    };
  });
}

template <class T>
void mix_backward(Cpu, const MixSize& size, const MixOperands<T>& from, const T* slope, const T* dy, const MixGradients<T>& to) {
  using Sums = PartialSums<T>;
  const Blocks<T> blocks(size.batch, size.points);
  const PackedWeight<T> weight(size.in, size.out, from.weight, 1, size.in, nullptr);
  const std::int64_t own = Sums::numbers(size);
  const Block sums = numbers<T>(blocks.shares() * own);
  const bool adds_x = to.x.sum == Sum::adds;
  const bool reads_x = to.weight.to != nullptr || (size.of_gelu && to.x.to != nullptr);
  const Result<T> dx(to.x.to, size, size.in), addend(to.addend, size, size.out);
  cpu::in_parallel(blocks, worth_threads(size), [&] {
    return [&, gradient = StripMemory<T>(Sums::rows(size)),
            x = Source<T>(from.x, size, reads_x ? size.in : 0, size.of_gelu, size.of_gelu && to.x.to != nullptr),
            before = Source<T>(to.x.to, size, adds_x ? size.in : 0, false, false),
            panels = numbers<T>(cpu::numbers_of_panels<T>(size.in))](std::int64_t index) {
      const Strips<const T> dz = gradient.strips(), slopes = x.slopes();
      const Columns columns = blocks[index];
      T* const own_sums = static_cast<T*>(sums.data()) + index / blocks.per_share() * own;
      if (index % blocks.per_share() == 0) std::fill_n(own_sums, own, T(0));
      const Sums mine(size, own_sums);
      fetch_gradient<T>(size, from, slope, dy, to, addend.storing(), mine, columns, gradient.strips());
      x.fetch(columns);
      if (to.weight.to != nullptr)
        add_weight_gradient<T>(size, cpu::vectors_of<T>(columns), dz, x.rows(columns), static_cast<T*>(panels.data()), mine.weight);
      if (to.x.to == nullptr) return;
      before.fetch(columns);
      const Addend<T> added{adds_x ? before.rows(columns) : Strips<const T>{}, nullptr};
      const auto finish = [&](std::int64_t strip, std::int64_t row, std::int64_t rows, std::int64_t vectors, const T* products,
                              Rows<T> target) {
        multiply_tile<T>(rows, vectors, products, slopes.strip(strip) + row * kStrip<T>, target, dx.storing());
      };
      strip_products<T>(weight, columns, dz, added, dx, !size.of_gelu, finish);
    };
  });
  const Sums all(size, static_cast<T*>(sums.data()));
  const bool many = blocks.shares() * size.out * size.in > kWorthThreadsToAdd;
  share_out(to.weight.to == nullptr ? 0 : size.out, many ? omp_get_max_threads() : 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row)
      add_parts(blocks.shares(), own, size.in, all.weight + row * Sums::width(size), to.weight.sum, to.weight.to + row * size.in);
  });
  add_vectors(blocks.shares(), own, size.out, all.bias, to.bias);
  add_vectors(blocks.shares(), own, size.out, all.gate, to.gate);
}

#define TRIDENT_CHANNEL_MIX(T)                                                      \
  template void mix_forward<T>(Cpu, const MixSize&, const MixOperands<T>&, T*, T*); \
  template void mix_backward<T>(Cpu, const MixSize&, const MixOperands<T>&, const T*, const T*, const MixGradients<T>&);
TRIDENT_CHANNEL_MIX(float)
TRIDENT_CHANNEL_MIX(double)

}  // namespace trident
