/// Walks several arrays of any strides together, split over threads.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "runtime/kernels/merged_strides.h"
#include "runtime/kernels/on_threads.h"

namespace trident {

inline constexpr std::int64_t kGrain = 1 << 15;  // elements below which one thread is faster

/// Calls run(offsets, length, steps) for every innermost run, offsets and steps one per array; long runs come in pieces.
template <std::size_t N, class Run>
void for_each_run(const StridedLoop<N>& unmerged, Run&& run) {
  using Offsets = std::array<std::int64_t, N>;
  const StridedLoop<N> loop = merged(unmerged);
  const int inner = loop.shape.rank() - 1;
  const std::int64_t length = loop.shape[inner], total = numel(loop.shape);
  if (total == 0) return;
  const std::int64_t pieces = (length + kGrain - 1) / kGrain, units = total / length * pieces;
  Offsets steps;
  for (std::size_t array = 0; array < N; ++array) steps[array] = loop.strides[array][inner];
  share_out(units, total > kGrain ? omp_get_max_threads() : 1, [&](std::int64_t first, std::int64_t last) {
    Shape position = loop.shape;
    Offsets base{};
    std::int64_t rest = first / pieces;
    for (int dim = inner - 1; dim >= 0; --dim) {
      position[dim] = rest % loop.shape[dim];
      rest /= loop.shape[dim];
      for (std::size_t array = 0; array < N; ++array) base[array] += position[dim] * loop.strides[array][dim];
    }
    std::int64_t begin = first % pieces * kGrain;
    for (std::int64_t unit = first; unit < last; ++unit) {
      Offsets offsets;
      for (std::size_t array = 0; array < N; ++array) offsets[array] = base[array] + begin * steps[array];
      run(offsets, std::min(kGrain, length - begin), steps);
      begin += kGrain;
      if (begin < length) continue;
      begin = 0;
      for (int dim = inner - 1; dim >= 0; --dim) {  // as an odometer
        const bool wraps = ++position[dim] == loop.shape[dim];
        for (std::size_t array = 0; array < N; ++array) {
          base[array] += loop.strides[array][dim] * (wraps ? 1 - loop.shape[dim] : 1);
        }
        if (!wraps) break;
        position[dim] = 0;
      }
    }
  });
}

}  // namespace trident
