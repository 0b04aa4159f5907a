/// Several arrays of any strides over the same extents, with as few dimensions as say the same.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "runtime/tensor/shape.h"

namespace trident {

/// Extents, and each array's strides in elements (0 where it repeats).
template <std::size_t N>
struct StridedLoop {
  Shape shape;
  std::array<Shape, N> strides;
};

/// Merges dimensions that every array steps through evenly, so that the innermost run is as long as it can be. At least one remains.
template <std::size_t N>
StridedLoop<N> merged(const StridedLoop<N>& loop) {
  StridedLoop<N> result;
  for (int dim = 0; dim < loop.shape.rank(); ++dim) {
    if (loop.shape[dim] == 1) continue;
    const int last = result.shape.rank() - 1;
    const bool even = last >= 0 && std::all_of(loop.strides.begin(), loop.strides.end(), [&](const Shape& strides) {
                        const auto array = static_cast<std::size_t>(&strides - loop.strides.data());
                        return result.strides[array][last] == strides[dim] * loop.shape[dim];
                      });
    if (even) {
      result.shape[last] *= loop.shape[dim];
    } else {
      result.shape.push_back(loop.shape[dim]);
    }
    for (std::size_t array = 0; array < N; ++array) {
      if (even) {
        result.strides[array][last] = loop.strides[array][dim];
      } else {
        result.strides[array].push_back(loop.strides[array][dim]);
      }
    }
  }
  if (result.shape.rank() > 0) return result;
  result.shape = {1};
  result.strides.fill({1});
  return result;
}

}  // namespace trident
