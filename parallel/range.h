/// Index ranges, and how n units are shared out.
#pragma once

#include <cstdint>
#include <vector>

namespace trident {

/// Indices [first, last) of one dimension.
struct Range {
  std::int64_t first = 0, last = 0;
  std::int64_t size() const { return last - first; }
  bool operator==(const Range&) const = default;
};

/// Rows and columns of a field: ranges of its last two axes.
struct Rectangle {
  Range rows, columns;
  bool operator==(const Rectangle&) const = default;
};

/// Part `index` of n units shared out to `parts`: [ceil(index n / parts), ceil((index + 1) n / parts)). Earlier parts get more; a part may
/// be empty. One rule for samples, windows, heads and modes, so that ranks agree without asking.
Range part_of(std::int64_t n, std::int64_t parts, std::int64_t index);
/// The sizes of all parts, in order.
std::vector<std::int64_t> part_sizes(std::int64_t n, std::int64_t parts);

}  // namespace trident
