#include <algorithm>
#include <cmath>

#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/strided_loop.h"

namespace trident {
namespace {

constexpr std::int64_t kBlockRows = 64;  // rows whose contributions to dscale and dshift are added up by themselves

std::int64_t blocks_of(const NormRows& extents) { return (extents.rows + kBlockRows - 1) / kBlockRows; }

/// The mean of a row, and 1 / sqrt(var + eps), in f64: what is rounded here is rounded the same way in the whole row, and would be the
/// largest error of a model in f32. Distances are from the row's first number, so that a large mean costs no digits.
template <class T>
void statistics(std::int64_t width, double eps, const T* x, T& mean, T& rstd) {
  const double origin = width > 0 ? static_cast<double>(x[0]) : 0.0;
  double distances = 0, squares = 0;
#pragma omp simd reduction(+ : distances, squares)
  for (std::int64_t i = 0; i < width; ++i) {
    const double distance = static_cast<double>(x[i]) - origin;
    distances += distance;
    squares += distance * distance;
  }
  const double offset = distances / static_cast<double>(width), variance = squares / static_cast<double>(width) - offset * offset;
  mean = static_cast<T>(origin + offset);
  rstd = static_cast<T>(1.0 / std::sqrt(std::max(variance, 0.0) + eps));
}

/// One row of dx, if it is wanted, and with kAdds its addition to the sums over rows, in one walk over x and dy.
template <bool kAdds, class T>
void row_gradient(std::int64_t width, const NormGradient<T>& g, std::int64_t row, const T* scale, T* scale_sum, T* shift_sum) {
  const T *x = g.x + row * width, *dy = g.dy + row * width;
  const T mean = g.mean[row], rstd = g.rstd[row];
  T total = 0, along = 0;  // of the gradient of the normalised row; of its product with that row
#pragma omp simd reduction(+ : total, along)
  for (std::int64_t i = 0; i < width; ++i) {
    const T slope = dy[i] * scale[i], normalised = (x[i] - mean) * rstd;
    total += slope;
    along += slope * normalised;
    if constexpr (kAdds) {
      scale_sum[i] += dy[i] * normalised;
      shift_sum[i] += dy[i];
    }
  }
  if (g.dx == nullptr) return;
  const T offset = total / static_cast<T>(width), factor = along * rstd / static_cast<T>(width);
  T* dx = g.dx + row * width;
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) dx[i] = rstd * (dy[i] * scale[i] - offset - (x[i] - mean) * factor);
}

/// dscale and dshift: the blocks' sums added in order.
template <class T>
void add_blocks(const NormRows& extents, const T* workspace, T* dscale, T* dshift) {
  constexpr std::int64_t kColumns = 64;
  const std::int64_t width = extents.width, blocks = blocks_of(extents), pieces = (width + kColumns - 1) / kColumns;
#pragma omp parallel for schedule(static) if (extents.samples * blocks * width > kGrain)
  for (std::int64_t task = 0; task < extents.samples * 2 * pieces; ++task) {
    const std::int64_t sample = task / pieces / 2, which = task / pieces % 2, column = task % pieces * kColumns;
    const std::int64_t columns = std::min(kColumns, width - column);
    double sums[kColumns] = {};
    for (std::int64_t block = 0; block < blocks; ++block) {
      const T* source = workspace + ((sample * blocks + block) * 2 + which) * width + column;
#pragma omp simd
      for (std::int64_t i = 0; i < columns; ++i) sums[i] += static_cast<double>(source[i]);
    }
    T* target = (which == 0 ? dscale : dshift) + sample * width + column;
    for (std::int64_t i = 0; i < columns; ++i) target[i] = static_cast<T>(sums[i]);
  }
}

}  // namespace

template <class T>
void layer_norm(Cpu, const NormRows& extents, double eps, const T* x, const Wide<T>* scale, const Wide<T>* shift,
                const NormResidual<T>& residual, T* y, Wide<T>* mean, Wide<T>* rstd) {
  const std::int64_t width = extents.width, rows = extents.count;
#pragma omp parallel for schedule(static) if (rows * width > kGrain)
  for (std::int64_t row = 0; row < rows; ++row) {
    const T *in = x + row * width, *gain = scale + extents.sample_of(row) * width, *bias = shift + extents.sample_of(row) * width;
    T* out = y + row * width;
    statistics(width, eps, in, mean[row], rstd[row]);
    const T center = mean[row], factor = rstd[row];
    if (residual.value == nullptr) {
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) out[i] = (in[i] - center) * factor * gain[i] + bias[i];
    } else {
      const T* base = residual.value + row * width;
#pragma omp simd
      for (std::int64_t i = 0; i < width; ++i) out[i] = base[i] + ((in[i] - center) * factor * gain[i] + bias[i]);
    }
  }
}

std::int64_t layer_norm_workspace(const NormRows& extents) { return extents.samples * blocks_of(extents) * 2 * extents.width; }

template <class T>
void layer_norm_gradient(Cpu, const NormRows& extents, const NormGradient<T>& gradient, Wide<T>* workspace) {
  const std::int64_t width = extents.width, blocks = blocks_of(extents);
#pragma omp parallel for schedule(static) if (extents.count * width > kGrain)
  for (std::int64_t task = 0; task < extents.samples * blocks; ++task) {
    const std::int64_t sample = task / blocks, begin = extents.begin_of(sample), end = extents.begin_of(sample + 1);
    const std::int64_t first = std::min(end, begin + task % blocks * kBlockRows), last = std::min(end, first + kBlockRows);
    const T* scale = gradient.scale + sample * width;
    if (gradient.dscale == nullptr) {
      for (std::int64_t row = first; row < last; ++row) {
        row_gradient<false, T>(width, gradient, row, scale, nullptr, nullptr);
      }
      continue;
    }
    T *scale_sum = workspace + task * 2 * width, *shift_sum = scale_sum + width;
    std::fill(scale_sum, scale_sum + 2 * width, T(0));
    for (std::int64_t row = first; row < last; ++row) {
      row_gradient<true>(width, gradient, row, scale, scale_sum, shift_sum);
    }
  }
  if (gradient.dscale != nullptr) add_blocks(extents, workspace, gradient.dscale, gradient.dshift);
}

#define TRIDENT_LAYER_NORM(T)                                                                                               \
  template void layer_norm(Cpu, const NormRows&, double, const T*, const T*, const T*, const NormResidual<T>&, T*, T*, T*); \
  template void layer_norm_gradient(Cpu, const NormRows&, const NormGradient<T>&, T*);
TRIDENT_LAYER_NORM(float)
TRIDENT_LAYER_NORM(double)

}  // namespace trident
