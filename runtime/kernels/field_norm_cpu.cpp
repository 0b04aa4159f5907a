#include "runtime/kernels/field_norm.h"

#include <algorithm>
#include <cmath>

#include "runtime/kernels/strided_loop.h"

namespace trident {
namespace {

constexpr std::int64_t kBlock = 1 << 13;  // numbers that are added up by themselves

template <class T, class Value>
double sum_of(std::int64_t count, Value value) {
  double total = 0.0;
#pragma omp simd reduction(+ : total)
  for (std::int64_t i = 0; i < count; ++i) total += static_cast<double>(value(i));
  return total;
}

/// A plane in blocks, so that long sums lose no digits.
template <class T, class Magnitude>
void sum_planes(const PowerExtents& extents, const T* x, T* sums, Magnitude magnitude) {
#pragma omp parallel for schedule(static) if (extents.planes * extents.points > kGrain)
  for (std::int64_t plane = 0; plane < extents.planes; ++plane) {
    const T* from = x + plane * extents.points;
    double total = 0.0;
    for (std::int64_t begin = 0; begin < extents.points; begin += kBlock) {
      total += sum_of<T>(std::min(kBlock, extents.points - begin), [=](std::int64_t i) { return magnitude(from[begin + i]); });
    }
    sums[plane] = static_cast<T>(total);
  }
}

template <class T, class Slope>
void differentiate_planes(const PowerExtents& extents, const T* x, const T* dsums, T* dx, Slope slope) {
#pragma omp parallel for schedule(static) if (extents.planes * extents.points > kGrain)
  for (std::int64_t plane = 0; plane < extents.planes; ++plane) {
    const T factor = dsums[plane];
    const std::int64_t first = plane * extents.points;
#pragma omp simd
    for (std::int64_t i = first; i < first + extents.points; ++i) dx[i] = factor * slope(x[i]);
  }
}

template <class T>
T sign_of(T x) {
  return x > T(0) ? T(1) : x < T(0) ? T(-1) : T(0);
}

/// One axis of a plane: `outer` times `points` rows of `inner` neighbours.
struct AxisRows {
  std::int64_t outer = 1, points = 1, inner = 1;

  AxisRows(const SobolevExtents& extents, int axis) {
    for (int k = 0; k < extents.axes; ++k) {
      const std::int64_t count = extents.points[static_cast<std::size_t>(k)];
      (k < axis ? outer : k == axis ? points : inner) *= count;
    }
  }
  std::int64_t face() const { return outer * inner; }
  std::int64_t plane() const { return outer * points * inner; }
};

/// A place that neighbours come from: an offset into the field's plane, or into a face of it.
enum class Place { field, before, after };
struct Run {
  std::int64_t count;
  Place next_place, previous_place;
  std::int64_t next, previous;  // offsets of the first point's neighbours
};

/// Calls visit(run) for runs that hold every point of a plane once. Rows of the last axis lie side by side, so its inner points are one
/// run.
template <class Visit>
void for_each_difference(const AxisRows& rows, bool periodic, Visit visit) {
  const auto [outer, points, inner] = rows;
  const auto at = [&](std::int64_t block, std::int64_t row) { return (block * points + row) * inner; };
  const auto next_place = [&](std::int64_t row) { return row + 1 < points || periodic ? Place::field : Place::after; };
  const auto previous_place = [&](std::int64_t row) { return row > 0 || periodic ? Place::field : Place::before; };
  for (std::int64_t block = 0; block < outer; ++block) {
    const auto visit_row = [&](std::int64_t row) {
      const bool last = row + 1 == points, first = row == 0;
      visit(Run{inner, next_place(row), previous_place(row), last ? (periodic ? at(block, 0) : block * inner) : at(block, row + 1),
                first ? (periodic ? at(block, points - 1) : block * inner) : at(block, row - 1)});
    };
    visit_row(0);
    if (inner == 1 && points > 2) {
      visit(Run{points - 2, Place::field, Place::field, at(block, 2), at(block, 0)});
    } else {
      for (std::int64_t row = 1; row + 1 < points; ++row) visit_row(row);
    }
    if (points > 1) visit_row(points - 1);
  }
}

template <class T>
T* placed(Place place, T* field, T* before, T* after) {
  return place == Place::field ? field : place == Place::before ? before : after;
}

/// The faces of one plane along one axis.
template <class T>
std::pair<T*, T*> faces_of(const Faces<T>& faces, int axis, std::int64_t plane, std::int64_t size) {
  const auto k = static_cast<std::size_t>(axis);
  if (faces.before[k] == nullptr) return {nullptr, nullptr};
  return {faces.before[k] + plane * size, faces.after[k] + plane * size};
}

template <class T>
double derivative_sum(const SobolevExtents& extents, int axis, std::int64_t plane, const T* x, const Faces<const T>& faces) {
  const AxisRows rows(extents, axis);
  const T* field = x + plane * rows.plane();
  const auto [before, after] = faces_of(faces, axis, plane, rows.face());
  double total = 0.0;
  for_each_difference(rows, before == nullptr, [&, before = before, after = after](const Run& run) {
    const T* next = placed(run.next_place, field, before, after) + run.next;
    const T* previous = placed(run.previous_place, field, before, after) + run.previous;
    total += sum_of<T>(run.count, [=](std::int64_t i) {
      const T difference = next[i] - previous[i];
      return difference * difference;
    });
  });
  const double scale = 0.5 / extents.spacing[static_cast<std::size_t>(axis)];
  return total * scale * scale;
}

/// The adjoint of one axis' differences, added to dx and the faces of the plane.
template <class T>
void add_derivative_gradient(const SobolevExtents& extents, int axis, std::int64_t plane, const T* x, const Faces<const T>& faces, T dsum,
                             T* dx, const Faces<T>& dfaces) {
  const AxisRows rows(extents, axis);
  const T* field = x + plane * rows.plane();
  T* dfield = dx + plane * rows.plane();
  const auto [before, after] = faces_of(faces, axis, plane, rows.face());
  const auto [dbefore, dafter] = faces_of(dfaces, axis, plane, rows.face());
  const double scale = 0.5 / extents.spacing[static_cast<std::size_t>(axis)];
  const T factor = static_cast<T>(2.0 * scale * scale) * dsum;
  for_each_difference(rows, before == nullptr, [&, before = before, after = after, dbefore = dbefore, dafter = dafter](const Run& run) {
    const T* next = placed(run.next_place, field, before, after) + run.next;
    const T* previous = placed(run.previous_place, field, before, after) + run.previous;
    T* dnext = placed(run.next_place, dfield, dbefore, dafter) + run.next;
    T* dprevious = placed(run.previous_place, dfield, dbefore, dafter) + run.previous;
    // Two loops: on few points the next and the previous row are the same.
#pragma omp simd
    for (std::int64_t i = 0; i < run.count; ++i) dnext[i] += factor * (next[i] - previous[i]);
#pragma omp simd
    for (std::int64_t i = 0; i < run.count; ++i) dprevious[i] -= factor * (next[i] - previous[i]);
  });
}

std::int64_t points_of(const SobolevExtents& extents) { return AxisRows(extents, 0).plane(); }

}  // namespace

template <class T>
void power_sums(Cpu, const PowerExtents& extents, const T* x, T* sums) {
  if (extents.power == 1.0) return sum_planes(extents, x, sums, [](T v) { return std::abs(v); });
  if (extents.power == 2.0) return sum_planes(extents, x, sums, [](T v) { return v * v; });
  const T power = static_cast<T>(extents.power);
  sum_planes(extents, x, sums, [power](T v) { return std::pow(std::abs(v), power); });
}

template <class T>
void power_sums_gradient(Cpu, const PowerExtents& extents, const T* x, const T* dsums, T* dx) {
  if (extents.power == 1.0) return differentiate_planes(extents, x, dsums, dx, [](T v) { return sign_of(v); });
  if (extents.power == 2.0) return differentiate_planes(extents, x, dsums, dx, [](T v) { return T(2) * v; });
  const T power = static_cast<T>(extents.power);
  differentiate_planes(extents, x, dsums, dx, [power](T v) { return power * std::pow(std::abs(v), power - T(1)) * sign_of(v); });
}

template <class T>
void sobolev_sums(Cpu, const SobolevExtents& extents, const T* x, const Faces<const T>& faces, double* workspace, T* sums) {
  const std::int64_t points = points_of(extents), terms = extents.axes + 1;
#pragma omp parallel for schedule(static) if (extents.planes * points > kGrain)
  for (std::int64_t task = 0; task < extents.planes * terms; ++task) {
    const std::int64_t plane = task / terms;
    const int axis = static_cast<int>(task % terms) - 1;
    const T* field = x + plane * points;
    workspace[task] = axis >= 0 ? derivative_sum(extents, axis, plane, x, faces)
                                : sum_of<T>(points, [field](std::int64_t i) { return field[i] * field[i]; });
  }
  for (std::int64_t plane = 0; plane < extents.planes; ++plane) {
    sums[plane] = static_cast<T>(sum_of<double>(terms, [&](std::int64_t term) { return workspace[plane * terms + term]; }));
  }
}

template <class T>
void sobolev_sums_gradient(Cpu, const SobolevExtents& extents, const T* x, const Faces<const T>& faces, const T* dsums, T* dx,
                           const Faces<T>& dfaces) {
  const std::int64_t points = points_of(extents);
#pragma omp parallel for schedule(static) if (extents.planes * points > kGrain)
  for (std::int64_t plane = 0; plane < extents.planes; ++plane) {
    const T factor = T(2) * dsums[plane];
#pragma omp simd
    for (std::int64_t i = plane * points; i < (plane + 1) * points; ++i) dx[i] = factor * x[i];
    for (int axis = 0; axis < extents.axes; ++axis) {
      const auto k = static_cast<std::size_t>(axis);
      if (faces.before[k] != nullptr) {
        const std::int64_t face = AxisRows(extents, axis).face();
        std::fill_n(dfaces.before[k] + plane * face, face, T(0));
        std::fill_n(dfaces.after[k] + plane * face, face, T(0));
      }
      add_derivative_gradient(extents, axis, plane, x, faces, dsums[plane], dx, dfaces);
    }
  }
}

#define TRIDENT_FIELD_NORM(T)                                                                           \
  template void power_sums(Cpu, const PowerExtents&, const T*, T*);                                     \
  template void power_sums_gradient(Cpu, const PowerExtents&, const T*, const T*, T*);                  \
  template void sobolev_sums(Cpu, const SobolevExtents&, const T*, const Faces<const T>&, double*, T*); \
  template void sobolev_sums_gradient(Cpu, const SobolevExtents&, const T*, const Faces<const T>&, const T*, T*, const Faces<T>&);
TRIDENT_FIELD_NORM(float)
TRIDENT_FIELD_NORM(double)

}  // namespace trident
