#include "parallel/range.h"

namespace trident {

Range part_of(std::int64_t n, std::int64_t parts, std::int64_t index) {
  // ceil(i n / parts) without forming i * n, which may overflow for flat buffers on many ranks.
  const auto boundary = [n, parts](std::int64_t i) { return i * (n / parts) + (i * (n % parts) + parts - 1) / parts; };
  return {boundary(index), boundary(index + 1)};
}

std::vector<std::int64_t> part_sizes(std::int64_t n, std::int64_t parts) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t index = 0; index < parts; ++index) sizes.push_back(part_of(n, parts, index).size());
  return sizes;
}

}  // namespace trident
