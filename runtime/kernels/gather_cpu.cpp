#include <algorithm>
#include <cstring>

#include "runtime/kernels/gather.h"
#include "runtime/kernels/strided_loop.h"

namespace trident {

std::int64_t first_outside(Cpu, const GatherExtents& extents, const std::int64_t* index) {
  const std::int64_t* end = index + extents.count;
  const std::int64_t* found = std::find_if(index, end, [&](std::int64_t row) { return row < 0 || row >= extents.rows; });
  return found == end ? -1 : found - index;
}

template <class T>
void gather_rows(Cpu, const GatherExtents& extents, const T* table, const std::int64_t* index, T* y) {
  const auto [rows, width, count] = extents;
#pragma omp parallel for schedule(static) if (count * width > kGrain)
  for (std::int64_t i = 0; i < count; ++i) std::copy_n(table + index[i] * width, width, y + i * width);
}

template <class T>
void gather_rows_gradient(Cpu, const GatherExtents& extents, const T* dy, const std::int64_t* index, std::int64_t* order, T* dtable) {
  const auto [rows, width, count] = extents;
  // A counting sort by row that keeps the order of the indices; the positions of row r end up in sorted[begin[r]] .. sorted[begin[r + 1]].
  std::int64_t *begin = order, *sorted = order + rows + 1;
  std::fill(begin, begin + rows + 1, 0);
  for (std::int64_t i = 0; i < count; ++i) ++begin[index[i] + 1];
  for (std::int64_t row = 0; row < rows; ++row) begin[row + 1] += begin[row];
  for (std::int64_t i = 0; i < count; ++i) sorted[begin[index[i]]++] = i;
  std::copy_backward(begin, begin + rows, begin + rows + 1);  // placing moved every beginning to its end
  begin[0] = 0;
#pragma omp parallel for schedule(static) if (count * width > kGrain)
  for (std::int64_t row = 0; row < rows; ++row) {
    T* sums = dtable + row * width;
    std::fill(sums, sums + width, T(0));
    for (std::int64_t place = begin[row]; place < begin[row + 1]; ++place) {
      const T* source = dy + sorted[place] * width;
      for (std::int64_t i = 0; i < width; ++i) sums[i] += source[i];
    }
  }
}

template <class T>
void dropout(Cpu, const DropoutPlaces& places, double probability, const StreamKey& stream, const T* x, T* y) {
  const RandomKey key = stream.key();
  const T scale = static_cast<T>(1.0 / (1.0 - probability));
  const std::int64_t width = places.width;
#pragma omp parallel for schedule(static) if (places.tokens * width > kGrain)
  for (std::int64_t token = 0; token < places.tokens; ++token) {
    const std::int64_t at = places.first + token, line = at / places.columns;
    const std::int64_t sample = line / places.rows, row = line % places.rows, column = at % places.columns;
    const std::int64_t index = places.origin + (sample * places.sample_step + row * places.row_step + column) * width;
    const T* from = x + token * width;
    T* to = y + token * width;
#pragma omp simd
    for (std::int64_t k = 0; k < width; ++k) {
      to[k] = uniform(key, static_cast<std::uint64_t>(index + k)) >= probability ? from[k] * scale : T(0);
    }
  }
}

#define TRIDENT_GATHER(T)                                                                                          \
  template void gather_rows(Cpu, const GatherExtents&, const T*, const std::int64_t*, T*);                         \
  template void gather_rows_gradient(Cpu, const GatherExtents&, const T*, const std::int64_t*, std::int64_t*, T*); \
  template void dropout(Cpu, const DropoutPlaces&, double, const StreamKey&, const T*, T*);
TRIDENT_GATHER(float)
TRIDENT_GATHER(double)

}  // namespace trident
