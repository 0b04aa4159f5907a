/// Kernels for norms of fields over space. The order of additions depends on the extents alone; f32 is added up in f64.
#pragma once

#include <array>
#include <cstdint>

#include "runtime/kernels/dispatch.h"

namespace trident {

/// sums (planes,): of |x|^power over x (planes, points).
struct PowerExtents {
  std::int64_t planes, points;
  double power;
};
template <class T>
void power_sums(Cpu, const PowerExtents&, const T* x, T* sums);
template <class T>
void power_sums(Cuda, const PowerExtents&, const T* x, T* sums);
/// dx from dsums (planes,).
template <class T>
void power_sums_gradient(Cpu, const PowerExtents&, const T* x, const T* dsums, T* dx);
template <class T>
void power_sums_gradient(Cuda, const PowerExtents&, const T* x, const T* dsums, T* dx);

inline constexpr int kMostSpaceAxes = 3;

/// Fields (planes, points of each axis). Derivatives are central differences, (next - previous) / (2 spacing).
struct SobolevExtents {
  std::int64_t planes;
  int axes;
  std::array<std::int64_t, kMostSpaceAxes> points;
  std::array<double, kMostSpaceAxes> spacing;
};
/// What lies before the first and behind the last points of each axis: extent 1 there, else as the field; null: the field is periodic.
template <class T>
struct Faces {
  std::array<T*, kMostSpaceAxes> before{}, after{};
};
/// sums (planes,): of x^2 and the squares of all first derivatives.
template <class T>
void sobolev_sums(Cpu, const SobolevExtents&, const T* x, const Faces<const T>& faces, double* workspace, T* sums);
template <class T>
void sobolev_sums(Cuda, const SobolevExtents&, const T* x, const Faces<const T>& faces, double* workspace, T* sums);
/// dx and, where there are faces, dfaces from dsums (planes,).
template <class T>
void sobolev_sums_gradient(Cpu, const SobolevExtents&, const T* x, const Faces<const T>& faces, const T* dsums, T* dx,
                           const Faces<T>& dfaces);
template <class T>
void sobolev_sums_gradient(Cuda, const SobolevExtents&, const T* x, const Faces<const T>& faces, const T* dsums, T* dx,
                           const Faces<T>& dfaces);

}  // namespace trident
