/// How work on the channels of points is cut and fetched. The points of all samples are columns; neighbouring columns are a strip, two
/// vectors wide, whose rows lie behind each other: it is what products run over, whatever the number of points. Some strips are a block,
/// which stays in a core's cache.
#pragma once

#include <algorithm>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/on_threads.h"
#include "runtime/kernels/vector.h"

namespace trident::cpu {

template <class T>
inline constexpr std::int64_t kStrip = 2 * kLanes<T>;
inline constexpr std::int64_t kBlockStrips = 16;

/// Columns that are neighbouring points of one sample.
struct Run {
  std::int64_t place;  // of the first in its block
  std::int64_t sample, point, count;
};

/// The columns of a block: one run where points fill whole vectors; elsewhere each run lies in one strip.
struct Columns {
  std::int64_t count = 0;
  std::vector<Run> runs;
};

template <class T>
inline std::int64_t vectors_of(const Columns& columns) {
  return (columns.count + kLanes<T> - 1) / kLanes<T>;
}
template <class T>
inline std::int64_t strips_of(const Columns& columns) {
  return (columns.count + kStrip<T> - 1) / kStrip<T>;
}

/// All columns cut into blocks, and these shared out. Neither depends on the number of threads, so that sums do not.
template <class T>
class Blocks {
 public:
  Blocks(std::int64_t batch, std::int64_t points) : points_(points), total_(batch * points), length_(whole_vectors() ? points : total_) {
    if (total_ == 0) return;
    per_length_ = (length_ - 1) / kMostColumns + 1;
    // Small blocks share their sums: those are zeroed and added up for each share.
    per_share_ = std::max((count() - 1) / kMostShares + 1, kMostColumns / std::min(length_, kMostColumns));
  }
  std::int64_t count() const { return total_ == 0 ? 0 : total_ / length_ * per_length_; }
  Columns operator[](std::int64_t index) const {
    const std::int64_t begin = index / per_length_ * length_ + index % per_length_ * kMostColumns,
                       end = std::min(begin + kMostColumns, (index / per_length_ + 1) * length_);
    const std::int64_t longest = whole_vectors() ? kMostColumns : kStrip<T>;
    Columns result{end - begin, {}};
    for (std::int64_t column = begin; column < end; column += result.runs.back().count) {
      const std::int64_t place = column - begin, point = column % points_;
      result.runs.push_back({place, column / points_, point, std::min({points_ - point, end - column, longest - place % longest})});
    }
    return result;
  }
  /// Shares, each of `per_share` neighbouring blocks.
  std::int64_t shares() const { return (count() + per_share_ - 1) / per_share_; }
  std::int64_t per_share() const { return per_share_; }

 private:
  static constexpr std::int64_t kMostShares = 32, kMostColumns = kBlockStrips * kStrip<T>;  // of a block

  /// Whether points fill them.
  bool whole_vectors() const { return points_ % kLanes<T> == 0; }

  std::int64_t points_, total_, length_;  // columns that blocks are cut from: a sample's or all
  std::int64_t per_length_ = 1, per_share_ = 1;
};

/// Rows of a block: a strip's rows lie row_step apart, strips strip_step. Copies of them lie strip by strip.
template <class T>
struct Strips {
  T* data;
  std::int64_t rows, row_step, strip_step;

  static Strips copied(std::int64_t rows, T* data) { return {data, rows, kStrip<T>, rows * kStrip<T>}; }
  T* strip(std::int64_t index) const { return data + index * strip_step; }
  T* at(std::int64_t row, std::int64_t column) const {
    const auto place = static_cast<std::uint64_t>(column), width = static_cast<std::uint64_t>(kStrip<T>);  // unsigned: shifts
    return strip(static_cast<std::int64_t>(place / width)) + row * row_step + place % width;
  }
  /// Zeros behind so many columns, up to whole vectors.
  void fill_ends(std::int64_t columns) const {
    if (columns % kLanes<T> == 0) return;
    for (std::int64_t row = 0; row < rows; ++row) std::fill_n(at(row, columns), kLanes<T> - columns % kLanes<T>, T(0));
  }
  operator Strips<const T>() const { return {data, rows, row_step, strip_step}; }
};

template <class T>
Block numbers(std::int64_t count) {
  return Block(static_cast<std::size_t>(count) * sizeof(T), {});
}

/// Memory for copies of rows of a block.
template <class T>
class StripMemory {
 public:
  explicit StripMemory(std::int64_t rows) : rows_(rows), block_(cpu::numbers<T>(rows * kBlockStrips * kStrip<T>)) {}
  Strips<T> strips() const { return Strips<T>::copied(rows_, static_cast<T*>(block_.data())); }

 private:
  std::int64_t rows_;
  Block block_;
};

/// Shares blocks out to threads, if that is worth while: each calls prepare() and what that returned with the index of every block it gets.
template <class T, class Prepare>
inline void in_parallel(const Blocks<T>& blocks, bool worth, Prepare&& prepare) {
  const std::int64_t threads = worth ? std::min<std::int64_t>(omp_get_max_threads(), blocks.shares()) : 1;
  share_out_prepared(blocks.shares(), threads, [&] {
    return [&blocks, use = prepare()](std::int64_t first, std::int64_t last) {
      const std::int64_t end = std::min(blocks.count(), last * blocks.per_share());
      for (std::int64_t index = first * blocks.per_share(); index < end; ++index) use(index);
      finish_streaming();
    };
  });
}

}  // namespace trident::cpu
