/// Sums over planes of points. Several blocks add up a plane, and a second kernel adds theirs: few planes of many points keep a GPU busy
/// too, and the order depends on the sizes alone.
#pragma once

#include "runtime/kernels/cuda/parts.h"

namespace trident::cuda {

inline constexpr int kPlaneThreads = 512;
inline constexpr std::int64_t kPartPoints = 4 * kPlaneThreads;  // of a plane, added up by one block

/// Planes (count, points). Plane i adds to sum i % sums.
struct Planes {
  std::int64_t count = 0, points = 0;
  std::int64_t sums = count;

  __host__ __device__ std::int64_t parts() const { return divided_up(points, kPartPoints); }
};

inline unsigned blocks_for(const Planes& planes) { return strided_grid(planes.count * planes.parts(), 1); }

/// Calls visit(plane, part, first, last) for the parts of planes that this block has. Parts of a plane differ in nothing but their points.
template <class Visit>
__device__ __forceinline__ void for_each_part(const Planes& planes, Visit visit) {
  const std::int64_t parts = planes.parts();
  for (std::int64_t task = blockIdx.x; task < planes.count * parts; task += gridDim.x) {
    const std::int64_t part = task % parts, first = part * kPartPoints;
    visit(task / parts, part, first, min(first + kPartPoints, planes.points));
  }
}

/// partial (planes of a sum times parts, Values, sums) = what adder(plane)(point, totals) adds to the totals for the points of each part,
/// each thread's in ascending order.
template <int Values, class Adder>
__device__ __forceinline__ void add_up_parts(const Planes& planes, double* partial, Adder adder) {
  for_each_part(planes, [&](std::int64_t plane, std::int64_t part, std::int64_t first, std::int64_t last) {
    const auto add = adder(plane);
    double totals[Values] = {};
#pragma unroll 4
    for (std::int64_t i = first + threadIdx.x; i < last; i += kPlaneThreads) add(i, totals);
    double* to = partial + (plane / planes.sums * planes.parts() + part) * Values * planes.sums + plane % planes.sums;
#pragma unroll
    for (int value = 0; value < Values; ++value) {
      const double total = block_sum<kPlaneThreads>(totals[value]);
      if (threadIdx.x == 0) to[value * planes.sums] = total;
    }
  });
}

/// first (sums,), and with two values second (sums,), = or += what `launch` has add_up_parts put into the memory that it is given.
template <int Values, class T, class Launch>
void sums_of_planes(Cuda device, const Planes& planes, T* first, T* second, const Launch& launch, Sum sum = Sum::replaces) {
  static_assert(Values == 1 || Values == 2);
  if (planes.sums == 0) return;
  const std::int64_t parts = planes.count / planes.sums * planes.parts();
  const Block memory = workspace(device, static_cast<std::size_t>(parts * Values * planes.sums) * sizeof(double));
  auto* partial = static_cast<double*>(memory.data());
  launch(partial);
  add_parts(device, {.parts = parts, .count = Values * planes.sums, .split = planes.sums, .sum = sum}, static_cast<const double*>(partial),
            first, second);
}

}  // namespace trident::cuda
