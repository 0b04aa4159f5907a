#include <bit>
#include <cmath>
#include <type_traits>
#include <vector>

#include "runtime/kernels/reduce.h"
#include "runtime/kernels/strided_loop.h"
#include "runtime/ops/reduce.h"

namespace trident {
namespace {

constexpr std::int64_t kBlock = 1 << 13;      // elements of a run that are summed by themselves
constexpr std::int64_t kBlockRows = 64;       // rows that are summed column by column by themselves
constexpr std::int64_t kBlockColumns = 1024;  // columns of such a block: its sums stay in the nearest cache

std::int64_t blocks_of(std::int64_t count, std::int64_t block) { return (count + block - 1) / block; }

template <class T>
double sum_of(const T* x, std::int64_t count) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (std::int64_t i = 0; i < count; ++i) total += static_cast<double>(x[i]);
  return total;
}

/// Runs of `count` neighbours, one per result.
template <class T>
void sum_runs(const SumExtents& extents, const T* x, double* partial, T* y) {
  const std::int64_t blocks = blocks_of(extents.count, kBlock);
#pragma omp parallel if (extents.outer * extents.count > kGrain)
  {
#pragma omp for schedule(static)
    for (std::int64_t task = 0; task < extents.outer * blocks; ++task) {
      const std::int64_t begin = task % blocks * kBlock;
      partial[task] = sum_of(x + task / blocks * extents.count + begin, std::min(kBlock, extents.count - begin));
    }
#pragma omp for schedule(static)
    for (std::int64_t index = 0; index < extents.outer; ++index) y[index] = static_cast<T>(sum_of(partial + index * blocks, blocks));
  }
}

/// Rows of `inner` neighbours added to one another.
template <class T>
void sum_rows(const SumExtents& extents, const T* x, double* partial, T* y) {
  const auto [outer, count, inner] = extents;
  const std::int64_t blocks = blocks_of(count, kBlockRows), columns = blocks_of(inner, kBlockColumns);
#pragma omp parallel if (outer * count * inner > kGrain)
  {
#pragma omp for schedule(static)
    for (std::int64_t task = 0; task < outer * blocks * columns; ++task) {
      const std::int64_t column = task % columns * kBlockColumns, block = task / columns % blocks, slab = task / columns / blocks;
      const std::int64_t width = std::min(kBlockColumns, inner - column);
      double* sums = partial + (slab * blocks + block) * inner + column;
      std::fill(sums, sums + width, 0.0);
      for (std::int64_t row = block * kBlockRows; row < std::min(count, (block + 1) * kBlockRows); ++row) {
        const T* source = x + (slab * count + row) * inner + column;
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) sums[i] += static_cast<double>(source[i]);
      }
    }
#pragma omp for schedule(static)
    for (std::int64_t task = 0; task < outer * columns; ++task) {
      const std::int64_t column = task % columns * kBlockColumns, slab = task / columns;
      const std::int64_t width = std::min(kBlockColumns, inner - column);
      double* sums = partial + slab * blocks * inner + column;
      for (std::int64_t block = 1; block < blocks; ++block) {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) sums[i] += sums[block * inner + i];
      }
      for (std::int64_t i = 0; i < width; ++i) y[slab * inner + column + i] = static_cast<T>(sums[i]);
    }
  }
}

/// The sum of error(a - b), or of error(a) where b is null.
template <class T, class Error>
double error_of(const T* a, const T* b, std::int64_t count, Error error) {
  double total = 0;
  if (b == nullptr) {
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = 0; i < count; ++i) total += static_cast<double>(error(a[i]));
  } else {
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = 0; i < count; ++i) total += static_cast<double>(error(a[i] - b[i]));
  }
  return total;
}

template <class T, class Slope>
void error_gradient_of(const T* a, const T* b, std::int64_t count, T factor, T* da, Slope slope) {
  if (b == nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) da[i] = factor * slope(a[i]);
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) da[i] = factor * slope(a[i] - b[i]);
  }
}

}  // namespace

std::int64_t sum_workspace(const SumExtents& extents) {
  if (extents.inner == 1) return extents.outer * blocks_of(extents.count, kBlock);
  return extents.outer * std::max<std::int64_t>(1, blocks_of(extents.count, kBlockRows)) * extents.inner;
}

template <class T>
void sum_middle(Cpu, const SumExtents& extents, const T* x, double* workspace, Wide<T>* y) {
  if (extents.count == 0) {
    std::fill(y, y + extents.outer * extents.inner, T(0));
  } else if (extents.inner == 1) {
    sum_runs(extents, x, workspace, y);
  } else {
    sum_rows(extents, x, workspace, y);
  }
}

std::int64_t error_workspace(const ErrorExtents& extents) { return extents.batch * extents.channels * blocks_of(extents.points, kBlock); }

template <class T>
void error_sums(Cpu, const ErrorExtents& extents, const T* a, const T* b, double* workspace, T* sums) {
  const std::int64_t blocks = blocks_of(extents.points, kBlock), planes = extents.batch * extents.channels;
#pragma omp parallel for schedule(static) if (planes * extents.points > kGrain)
  for (std::int64_t task = 0; task < planes * blocks; ++task) {
    const std::int64_t begin = task % blocks * kBlock, offset = task / blocks * extents.points + begin;
    const std::int64_t count = std::min(kBlock, extents.points - begin);
    const T* other = b == nullptr ? nullptr : b + offset;
    workspace[task] = extents.power == 1 ? error_of(a + offset, other, count, [](T difference) { return std::abs(difference); })
                                         : error_of(a + offset, other, count, [](T difference) { return difference * difference; });
  }
  for (std::int64_t index = 0; index < extents.num_groups; ++index) {
    const ChannelGroup group = extents.groups[index];
    double total = 0;
    for (std::int64_t sample = 0; sample < extents.batch; ++sample) {
      const double* first = workspace + (sample * extents.channels + group.first) * blocks;
      total += sum_of(first, (group.last - group.first) * blocks);
    }
    sums[index] = static_cast<T>(total);
  }
}

template <class T>
void error_sums_gradient(Cpu, const ErrorExtents& extents, const T* a, const T* b, const T* dsums, T* da) {
  std::vector<T> factors(static_cast<std::size_t>(extents.channels), T(0));
  for (std::int64_t index = 0; index < extents.num_groups; ++index) {
    const ChannelGroup group = extents.groups[index];
    for (int channel = group.first; channel < group.last; ++channel) factors[static_cast<std::size_t>(channel)] += dsums[index];
  }
  const std::int64_t blocks = blocks_of(extents.points, kBlock), planes = extents.batch * extents.channels;
#pragma omp parallel for schedule(static) if (planes * extents.points > kGrain)
  for (std::int64_t task = 0; task < planes * blocks; ++task) {
    const std::int64_t begin = task % blocks * kBlock, offset = task / blocks * extents.points + begin;
    const std::int64_t count = std::min(kBlock, extents.points - begin);
    const T factor = factors[static_cast<std::size_t>(task / blocks % extents.channels)];
    const T* other = b == nullptr ? nullptr : b + offset;
    if (extents.power == 1) {
      error_gradient_of(a + offset, other, count, factor, da + offset, [](T difference) {
        return difference > T(0) ? T(1) : difference < T(0) ? T(-1) : T(0);
      });
    } else {
      error_gradient_of(a + offset, other, count, factor, da + offset, [](T difference) { return T(2) * difference; });
    }
  }
}

template <class T>
void all_finite(Cpu, std::int64_t count, const T* x, bool* finite) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr Bits kExponent = sizeof(T) == 4 ? Bits{0x7F800000U} : static_cast<Bits>(0x7FF0000000000000U);
  Bits bad = 0;
#pragma omp parallel for simd schedule(static) reduction(| : bad) if (count > kGrain)
  for (std::int64_t i = 0; i < count; ++i) bad |= static_cast<Bits>((std::bit_cast<Bits>(x[i]) & kExponent) == kExponent);
  *finite = bad == 0;
}

#define TRIDENT_REDUCE(T)                                                                        \
  template void sum_middle(Cpu, const SumExtents&, const T*, double*, T*);                       \
  template void error_sums(Cpu, const ErrorExtents&, const T*, const T*, double*, T*);           \
  template void error_sums_gradient(Cpu, const ErrorExtents&, const T*, const T*, const T*, T*); \
  template void all_finite(Cpu, std::int64_t, const T*, bool*);
TRIDENT_REDUCE(float)
TRIDENT_REDUCE(double)

}  // namespace trident
