/// Kernels that cut windows out of fields, each row and column by an index of its own.
#pragma once

#include <cstdint>

#include "runtime/kernels/dispatch.h"

namespace trident {

/// Fields (samples, channels, ny, nx) and windows (units, levels * channels, rows, columns). row_index (levels, units, rows) and
/// column_index (levels, units, columns) say which point of the field a window's point is; below 0: zero. sample (units,), ascending. The
/// lists are on the kernel's device.
struct WindowExtents {
  std::int64_t samples, channels, ny, nx;
  std::int64_t units, levels, rows, columns;
  const std::int64_t *sample, *row_index, *column_index;
};
template <class T>
void gather_windows(Cpu, const WindowExtents&, const T* x, T* windows);
template <class T>
void gather_windows(Cuda, const WindowExtents&, const T* x, T* windows);
/// dx, overwritten: each point's gradients added in the order of units, then levels.
template <class T>
void gather_windows_gradient(Cpu, const WindowExtents&, const T* dwindows, T* dx);
template <class T>
void gather_windows_gradient(Cuda, const WindowExtents&, const T* dwindows, T* dx);

}  // namespace trident
