/// Sums over planes of points. Several blocks add up a plane, and whoever comes last adds theirs: few planes of many points keep a GPU busy
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

/// Where sums over planes go: first (sums,), and with two values second (sums,).
template <class T>
struct PlaneSums {
  JointSums<double> joint;
  T *first, *second;
  Sum sum;
};

/// Adds up what adder(plane)(point, totals) adds to the totals for all points, each thread's of a part in ascending order.
template <int Values, class T, class Adder>
__device__ __forceinline__ void add_up_planes(const Planes& planes, const PlaneSums<T>& to, Adder adder) {
  for_each_part(planes, [&](std::int64_t plane, std::int64_t part, std::int64_t first, std::int64_t last) {
    const auto add = adder(plane);
    double totals[Values] = {};
#pragma unroll 4
    for (std::int64_t i = first + threadIdx.x; i < last; i += kPlaneThreads) add(i, totals);
    const std::int64_t set = plane % planes.sums;
    const auto number = static_cast<unsigned>(plane / planes.sums * planes.parts() + part);
    double* own = to.joint.part(set, number);
#pragma unroll
    for (int value = 0; value < Values; ++value) {
      const double total = block_sum<kPlaneThreads>(totals[value]);
      if (threadIdx.x == 0) own[value] = total;
    }
    add_up(to.joint, set, number, [&](std::int64_t value, double total) {
      T& target = value == 0 ? to.first[set] : to.second[set];
      target = to.sum == Sum::adds ? target + static_cast<T>(total) : static_cast<T>(total);
    });
  });
}

/// first (sums,), and with two values second (sums,), = or += what the kernel that `launch` launches gives to add_up_planes.
template <int Values, class T, class Launch>
void sums_of_planes(Cuda device, const Planes& planes, T* first, T* second, const Launch& launch, Sum sum = Sum::replaces) {
  static_assert(Values == 1 || Values == 2);
  if (planes.sums == 0) return;
  const std::int64_t parts = planes.count / planes.sums * planes.parts();
  if (parts == 0) {  // empty sums
    const Parts none{.parts = 0, .count = Values * planes.sums, .split = planes.sums, .sum = sum};
    return add_parts(device, none, static_cast<const double*>(nullptr), first, second);
  }
  const JointMemory<double> memory(device, planes.sums, parts, Values);
  launch(PlaneSums<T>{memory.sums(), first, second, sum});
}

}  // namespace trident::cuda
