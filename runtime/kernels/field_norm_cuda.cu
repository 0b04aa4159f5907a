#include "runtime/kernels/cuda/plane_sums.h"
#include "runtime/kernels/field_norm.h"

namespace trident {
namespace {

using cuda::Planes;

constexpr int kThreads = cuda::kPlaneThreads;

template <class T>
__device__ __forceinline__ T magnitude(T x, T power) {
  if (power == T(2)) return x * x;
  return power == T(1) ? fabs(x) : pow(fabs(x), power);
}
template <class T>
__device__ __forceinline__ T slope_of_magnitude(T x, T power) {
  if (power == T(2)) return T(2) * x;
  const T sign = x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
  return power == T(1) ? sign : power * pow(fabs(x), power - T(1)) * sign;
}

template <class T>
__global__ void __launch_bounds__(kThreads) power_kernel(PowerExtents e, const T* x, cuda::PlaneSums<T> to) {
  cuda::add_up_planes<1>(Planes{e.planes, e.points}, to, [=](std::int64_t plane) {
    return [=, from = x + plane * e.points](std::int64_t i, double(&total)[1]) {
      total[0] += static_cast<double>(magnitude(from[i], static_cast<T>(e.power)));
    };
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads) power_gradient_kernel(PowerExtents e, const T* x, const T* dsums, T* dx) {
  cuda::for_each_part(Planes{e.planes, e.points}, [=](std::int64_t plane, std::int64_t, std::int64_t first, std::int64_t last) {
    const T dsum = dsums[plane];
    const std::int64_t start = plane * e.points;
#pragma unroll 4
    for (std::int64_t i = start + first + threadIdx.x; i < start + last; i += kThreads)
      dx[i] = dsum * slope_of_magnitude(x[i], static_cast<T>(e.power));
  });
}

/// An axis of the fields: `points` rows of `inner` neighbours, repeated; `scale` is 1 / (2 spacing).
template <class T>
struct Axis {
  std::int64_t points, inner;
  double scale;
  const T *before, *after;  // null: periodic
  T *dbefore, *dafter;
};
template <class T>
struct Axes {
  int count;
  std::int64_t planes, points;  // of a plane
  Axis<T> axis[kMostSpaceAxes];
};

template <class T>
Axes<T> axes_of(const SobolevExtents& e, const Faces<const T>& faces, const Faces<T>& dfaces) {
  Axes<T> axes{e.axes, e.planes, 1, {}};
  for (int k = e.axes - 1; k >= 0; --k) {
    const auto at = static_cast<std::size_t>(k);
    axes.axis[k] = {e.points[at], axes.points, 0.5 / e.spacing[at], faces.before[at], faces.after[at], dfaces.before[at], dfaces.after[at]};
    axes.points *= e.points[at];
  }
  return axes;
}

/// The neighbours of a plane's points along one axis.
template <class T>
struct Line {
  const T *field, *before, *after;  // before and after: of this point's line, null where periodic
  std::int64_t points, inner;

  /// The line through point `i` of the plane `plane`, whose points are at x.
  __device__ __forceinline__ Line(const Axes<T>& axes, const Axis<T>& axis, const T* x, std::int64_t plane, std::int64_t i)
      : points(axis.points), inner(axis.inner) {
    const std::int64_t block = i / (points * inner), place = i % inner;
    field = x + plane * axes.points + block * points * inner + place;
    const std::int64_t face = plane * (axes.points / points) + block * inner + place;
    before = axis.before == nullptr ? nullptr : axis.before + face;
    after = axis.after == nullptr ? nullptr : axis.after + face;
  }
  /// Row -2 to points + 1 of a periodic line, -1 to points of others.
  __device__ __forceinline__ T at(std::int64_t row) const {
    if (row < 0) {
      if (before != nullptr) return *before;
      row += points;
      if (row < 0) row += points;  // a line of one point
    } else if (row >= points) {
      if (after != nullptr) return *after;
      row -= points;
      if (row >= points) row -= points;
    }
    return field[row * inner];
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads) sobolev_kernel(Axes<T> axes, const T* x, cuda::PlaneSums<T> to) {
  cuda::add_up_planes<1>(Planes{axes.planes, axes.points}, to, [&axes, x](std::int64_t plane) {
    return [&axes, x, plane](std::int64_t i, double(&total)[1]) {
      const T own = x[plane * axes.points + i];
      double sum = static_cast<double>(own * own);
      for (int k = 0; k < axes.count; ++k) {
        const Axis<T>& axis = axes.axis[k];
        const Line<T> line(axes, axis, x, plane, i);
        const std::int64_t row = i / axis.inner % axis.points;
        const T difference = line.at(row + 1) - line.at(row - 1);
        sum += static_cast<double>(difference * difference) * axis.scale * axis.scale;
      }
      total[0] += sum;
    };
  });
}

/// Each point gathers what the differences to its left and right owe it; the ends of a line do so for its faces.
template <class T>
__global__ void __launch_bounds__(kThreads) sobolev_gradient_kernel(Axes<T> axes, const T* x, const T* dsums, T* dx) {
  for (std::int64_t at = cuda::grid_thread(); at < axes.planes * axes.points; at += cuda::grid_threads()) {
    const std::int64_t plane = at / axes.points, i = at % axes.points;
    T sum = T(2) * dsums[plane] * x[at];
    for (int k = 0; k < axes.count; ++k) {
      const Axis<T>& axis = axes.axis[k];
      const Line<T> line(axes, axis, x, plane, i);
      const std::int64_t row = i / axis.inner % axis.points;
      const T factor = static_cast<T>(2.0 * axis.scale * axis.scale) * dsums[plane];
      const bool periodic = axis.before == nullptr;
      if (periodic || row > 0) sum += factor * (line.at(row) - line.at(row - 2));
      if (periodic || row + 1 < axis.points) sum -= factor * (line.at(row + 2) - line.at(row));
      if (periodic) continue;
      const std::int64_t face = plane * (axes.points / axis.points) + i / (axis.points * axis.inner) * axis.inner + i % axis.inner;
      if (row == 0) axis.dbefore[face] = -(factor * (line.at(1) - line.at(-1)));
      if (row + 1 == axis.points) axis.dafter[face] = factor * (line.at(axis.points) - line.at(axis.points - 2));
    }
    dx[at] = sum;
  }
}

}  // namespace

template <class T>
void power_sums(Cuda cuda, const PowerExtents& e, const T* x, T* sums) {
  const Planes planes{e.planes, e.points};
  cuda::sums_of_planes<1>(cuda, planes, sums, static_cast<T*>(nullptr),
                          [&](const auto& to) { cuda::launch_kernel(power_kernel<T>, blocks_for(planes), kThreads, 0, cuda, e, x, to); });
}

template <class T>
void power_sums_gradient(Cuda cuda, const PowerExtents& e, const T* x, const T* dsums, T* dx) {
  cuda::launch_kernel(power_gradient_kernel<T>, blocks_for(Planes{e.planes, e.points}), kThreads, 0, cuda, e, x, dsums, dx);
}

template <class T>
void sobolev_sums(Cuda cuda, const SobolevExtents& e, const T* x, const Faces<const T>& faces, double*, T* sums) {
  const Axes<T> axes = axes_of(e, faces, Faces<T>{});
  const Planes planes{axes.planes, axes.points};
  cuda::sums_of_planes<1>(cuda, planes, sums, static_cast<T*>(nullptr), [&](const auto& to) {
    cuda::launch_kernel(sobolev_kernel<T>, blocks_for(planes), kThreads, 0, cuda, axes, x, to);
  });
}

template <class T>
void sobolev_sums_gradient(Cuda cuda, const SobolevExtents& e, const T* x, const Faces<const T>& faces, const T* dsums, T* dx,
                           const Faces<T>& dfaces) {
  const Axes<T> axes = axes_of(e, faces, dfaces);
  cuda::launch_kernel(sobolev_gradient_kernel<T>, cuda::strided_grid(axes.planes * axes.points, kThreads), kThreads, 0, cuda, axes, x,
                      dsums, dx);
}

#define TRIDENT_FIELD_NORM(T)                                                                            \
  template void power_sums(Cuda, const PowerExtents&, const T*, T*);                                     \
  template void power_sums_gradient(Cuda, const PowerExtents&, const T*, const T*, T*);                  \
  template void sobolev_sums(Cuda, const SobolevExtents&, const T*, const Faces<const T>&, double*, T*); \
  template void sobolev_sums_gradient(Cuda, const SobolevExtents&, const T*, const Faces<const T>&, const T*, T*, const Faces<T>&);
TRIDENT_FIELD_NORM(float)
TRIDENT_FIELD_NORM(double)

}  // namespace trident
