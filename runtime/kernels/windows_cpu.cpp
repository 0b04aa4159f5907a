#include <algorithm>

#include "runtime/kernels/strided_loop.h"
#include "runtime/kernels/windows.h"

namespace trident {
namespace {

/// One level of one unit's window, one channel.
struct Place {
  const std::int64_t *rows, *columns;
  std::int64_t plane, window;  // offsets into fields and windows
};

Place place_of(const WindowExtents& e, std::int64_t unit, std::int64_t level, std::int64_t channel) {
  return {e.row_index + (level * e.units + unit) * e.rows, e.column_index + (level * e.units + unit) * e.columns,
          (e.sample[unit] * e.channels + channel) * e.ny * e.nx, ((unit * e.levels + level) * e.channels + channel) * e.rows * e.columns};
}

}  // namespace

template <class T>
void gather_windows(Cpu, const WindowExtents& e, const T* x, T* windows) {
  const std::int64_t tasks = e.units * e.levels * e.channels;
#pragma omp parallel for schedule(static) if (tasks * e.rows * e.columns > kGrain)
  for (std::int64_t task = 0; task < tasks; ++task) {
    const Place at = place_of(e, task / e.channels / e.levels, task / e.channels % e.levels, task % e.channels);
    for (std::int64_t a = 0; a < e.rows; ++a) {
      T* to = windows + at.window + a * e.columns;
      const std::int64_t row = at.rows[a];
      const T* from = x + at.plane + row * e.nx;
      for (std::int64_t b = 0; b < e.columns; ++b) to[b] = row < 0 || at.columns[b] < 0 ? T(0) : from[at.columns[b]];
    }
  }
}

template <class T>
void gather_windows_gradient(Cpu, const WindowExtents& e, const T* dwindows, T* dx) {
  const std::int64_t planes = e.samples * e.channels, points = e.ny * e.nx;
#pragma omp parallel for schedule(static) if (e.units * e.levels * e.channels * e.rows * e.columns > kGrain)
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    std::fill_n(dx + plane * points, points, T(0));
    const std::int64_t sample = plane / e.channels, channel = plane % e.channels;
    const auto first = std::lower_bound(e.sample, e.sample + e.units, sample) - e.sample;
    const auto last = std::upper_bound(e.sample, e.sample + e.units, sample) - e.sample;
    for (std::int64_t unit = first; unit < last; ++unit) {
      for (std::int64_t level = 0; level < e.levels; ++level) {
        const Place at = place_of(e, unit, level, channel);
        for (std::int64_t a = 0; a < e.rows; ++a) {
          if (at.rows[a] < 0) continue;
          const T* from = dwindows + at.window + a * e.columns;
          T* to = dx + at.plane + at.rows[a] * e.nx;
          for (std::int64_t b = 0; b < e.columns; ++b) {
            if (at.columns[b] >= 0) to[at.columns[b]] += from[b];
          }
        }
      }
    }
  }
}

template void gather_windows(Cpu, const WindowExtents&, const float*, float*);
template void gather_windows(Cpu, const WindowExtents&, const double*, double*);
template void gather_windows_gradient(Cpu, const WindowExtents&, const float*, float*);
template void gather_windows_gradient(Cpu, const WindowExtents&, const double*, double*);

}  // namespace trident
