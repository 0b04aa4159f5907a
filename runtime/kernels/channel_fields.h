/// Channels of fields as products with strips read them, and results of such products as they are written.
#pragma once

#include <algorithm>

#include "runtime/kernels/channel_strips.h"
#include "runtime/kernels/gelu_vector.h"
#include "runtime/kernels/strip_product.h"

namespace trident::cpu {

inline constexpr std::int64_t kConflictBytes = 4096;  // rows that lie a multiple of it apart take the same places of the first cache
inline constexpr std::int64_t kChannelsAhead = 4;     // that memory is asked for
inline constexpr std::int64_t kLargeBytes = 4 << 20;  // do not stay in the caches until they are read again

template <class T>
inline void put_some(T* to, Vector<T> value, std::int64_t count, Storing storing) {
  if (storing == Storing::streamed) {
    stream(to, value);
  } else {
    store_some(to, value, count);
  }
}
template <class T>
inline void put(T* to, Vector<T> value, Storing storing) {
  put_some<T>(to, value, kLanes<T>, storing);
}

/// The weight, or its transpose, packed for products, and what sums begin with.
template <class T>
class PackedWeight {
 public:
  PackedWeight(std::int64_t rows, std::int64_t depth, const T* weight, std::int64_t row_step, std::int64_t column_step, const T* start)
      : block_(numbers<T>(Tiled<T>::size_for(rows, depth) + rows + kTileRows)),
        tiles_(tiled(rows, depth, weight, row_step, column_step, static_cast<T*>(block_.data()))),
        start_(static_cast<T*>(block_.data()) + Tiled<T>::size_for(rows, depth)) {
    std::fill_n(start_, rows + kTileRows, T(0));
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
  std::int64_t batch = 0, channels = 0, points = 0;
  std::int64_t offset(const Run& run, std::int64_t channel) const { return (run.sample * channels + channel) * points + run.point; }
  template <class T>
  bool is_large() const {
    return batch * channels * points * static_cast<std::int64_t>(sizeof(T)) >= kLargeBytes;
  }
  /// Calls use(channel, run, offset, offset some channels ahead) for all of the columns' runs.
  template <class Use>
  void each_run(const Columns& columns, Use&& use) const {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (const Run& run : columns.runs)
        use(channel, run, offset(run, channel), offset(run, std::min(channel + kChannelsAhead, channels - 1)));
    }
  }
};

/// Whether products take numbers or their GELUs.
enum class Taken { as_it_is, through_gelu };

/// Channels that products read: where they lie if whole vectors of a small field, whose rows do not push each other out of the cache, or
/// else copied to strips; of the copies those may be GELUs.
template <class T>
class Source {
 public:
  Source(const T* data, const Field& field, Taken taken = Taken::as_it_is)
      : data_(data),
        field_(field),
        taken_(taken),
        copied_(taken != Taken::as_it_is || field.points % kLanes<T> != 0 || field.is_large<T>() ||
                field.points * static_cast<std::int64_t>(sizeof(T)) % kConflictBytes == 0),
        values_(copied_ ? field.channels : 0),
        slopes_(taken == Taken::through_gelu ? field.channels : 0) {}
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
        const Vector<T> x = load_some(data_ + offset + i, left);
        T* to = values.at(channel, run.place + i);
        if (taken_ == Taken::as_it_is) {
          store_some(to, x, left);
          continue;
        }
        const GeluAndSlope<T> result = gelu_and_slope(x);
        store_some(to, result.value, left);
        store_some(slopes.at(channel, run.place + i), result.slope, left);
      }
    });
    values.fill_ends(columns.count);
    slopes.fill_ends(columns.count);  // what they are multiplied by is 0 there: no number must make that another one
  }

 private:
  const T* data_;
  Field field_;
  Taken taken_;
  bool copied_;
  StripMemory<T> values_, slopes_;
};

/// A result (batch, channels, points): tiles of strips are written where they belong if points fill whole vectors, or else to memory
/// beside, from where spread() takes their runs.
template <class T>
class Result {
 public:
  Result(T* data, const Field& field) : data_(data), field_(field), direct_(field.points % kLanes<T> == 0) {
    const bool aligned = direct_ && reinterpret_cast<std::uintptr_t>(data) % kVectorBytes == 0;
    if (aligned && field.is_large<T>()) storing_ = Storing::streamed;
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
inline void strip_products(const PackedWeight<T>& weight, const Columns& columns, const Strips<const T>& b, const Addend<T>& addend,
                           const Result<T>& result, bool as_they_are, Finish&& finish) {
  alignas(kVectorBytes) T sums[kTileRows * kStrip<T>], beside[kTileRows * kStrip<T>];
  const bool direct = as_they_are && result.direct();
  for (std::int64_t strip = 0; strip < strips_of<T>(columns); ++strip) {
    const std::int64_t vectors = std::min<std::int64_t>(2, vectors_of<T>(columns) - 2 * strip);
    const T* added = addend.rows.data == nullptr ? nullptr : addend.rows.strip(strip);
    strip_product<T>(
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

}  // namespace trident::cpu
