#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/device/allocator.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/strided_loop.h"

namespace trident {
namespace {

constexpr std::int64_t kBlockRows = 64;  // rows whose contributions to the sums over rows are added up by themselves

std::int64_t blocks_of(const NormRows& extents) { return (extents.rows + kBlockRows - 1) / kBlockRows; }

struct Statistics {
  double mean, rstd;
};

/// The mean of a row, and 1 / sqrt(var + eps), in f64: what is rounded here is rounded the same way in the whole row, and would be the
/// largest error of a model in f32. Distances are from the row's first number, so that a large mean costs no digits.
template <class T>
Statistics statistics(std::int64_t width, double eps, const T* x) {
  const double origin = width > 0 ? static_cast<double>(x[0]) : 0.0;
  double distances = 0, squares = 0;
#pragma omp simd reduction(+ : distances, squares)
  for (std::int64_t i = 0; i < width; ++i) {
    const double distance = static_cast<double>(x[i]) - origin;
    distances += distance;
    squares += distance * distance;
  }
  const double offset = distances / static_cast<double>(width), variance = squares / static_cast<double>(width) - offset * offset;
  return {origin + offset, 1.0 / std::sqrt(std::max(variance, 0.0) + eps)};
}

/// Scale and shift of one sample after the other, as numbers of type N.
template <class T, class N>
class SampleAffine {
 public:
  SampleAffine(const NormNumbers<T>& affine, std::int64_t width)
      : affine_(affine), width_(width), numbers_(static_cast<std::size_t>(2 * width)) {}
  void go_to(std::int64_t sample) {
    if (sample == sample_) return;
    sample_ = sample;
    work_out(affine_.scale, affine_.scale_slope, numbers_.data());
    work_out(affine_.shift, affine_.shift_slope, numbers_.data() + width_);
  }
  const N* scale() const { return numbers_.data(); }
  const N* shift() const { return numbers_.data() + width_; }

 private:
  void work_out(const T* values, const T* slopes, N* to) const {
    const N time = affine_.time == nullptr ? N(0) : N(affine_.time[sample_]),
            factor = affine_.factor == nullptr ? N(1) : N(affine_.factor[sample_]);
    for (std::int64_t i = 0; i < width_; ++i) {
      const N value = values == nullptr ? N(0) : N(values[i]);
      to[i] = (slopes == nullptr ? value : time * N(slopes[i]) + value) * factor;
    }
  }

  NormNumbers<T> affine_;
  std::int64_t width_, sample_ = -1;
  std::vector<N> numbers_;
};

/// Sums over rows: for scale, for shift and for a bias in x.
constexpr std::int64_t kSums = 3;

/// One row of dx, if it is wanted, and with kAdds its addition to the sums (kSums, width), in one walk over x and dy.
template <bool kAdds, class T>
void row_gradient(std::int64_t width, const NormGradient<T>& g, std::int64_t row, const T* scale, T* sums) {
  const T *x = g.x + row * width, *dy = g.dy + row * width;
  const bool normalises = g.mean != nullptr;
  const T mean = normalises ? g.mean[row] : T(0), rstd = normalises ? g.rstd[row] : T(1);
  T total = 0, along = 0;  // of the gradient of the normalised row; of its product with that row
#pragma omp simd reduction(+ : total, along)
  for (std::int64_t i = 0; i < width; ++i) {
    const T slope = dy[i] * scale[i], normalised = (x[i] - mean) * rstd;
    total += slope;
    along += slope * normalised;
    if constexpr (kAdds) {
      sums[i] += dy[i] * normalised;
      sums[width + i] += dy[i];
    }
  }
  if (g.dx == nullptr) return;
  const T offset = normalises ? total / static_cast<T>(width) : T(0), factor = normalises ? along * rstd / static_cast<T>(width) : T(0);
  T* dx = g.dx + row * width;
#pragma omp simd
  for (std::int64_t i = 0; i < width; ++i) {
    dx[i] = rstd * (dy[i] * scale[i] - offset - (x[i] - mean) * factor);
    if constexpr (kAdds) sums[2 * width + i] += dx[i];
  }
}

/// What the blocks' sums (samples, blocks, kSums, width) come to for the affine part's numbers and the bias, added in order.
template <class T>
void add_blocks(const NormRows& extents, const NormNumbers<T>& affine, const T* blocks_sums, const NormSums<T>& to) {
  constexpr std::int64_t kColumns = 16;
  const std::int64_t width = extents.width, blocks = blocks_of(extents), pieces = (width + kColumns - 1) / kColumns;
#pragma omp parallel for schedule(static) if (extents.samples * blocks * width > kGrain)
  for (std::int64_t task = 0; task < kSums * pieces; ++task) {
    const std::int64_t which = task / pieces, column = task % pieces * kColumns, columns = std::min(kColumns, width - column);
    double values[kColumns] = {}, slopes[kColumns] = {};
    for (std::int64_t sample = 0; sample < extents.samples; ++sample) {
      double sums[kColumns] = {};
      for (std::int64_t block = 0; block < blocks; ++block) {
        const T* source = blocks_sums + ((sample * blocks + block) * kSums + which) * width + column;
#pragma omp simd
        for (std::int64_t i = 0; i < columns; ++i) sums[i] += static_cast<double>(source[i]);
      }
      const double factor = affine.factor == nullptr || which == 2 ? 1.0 : static_cast<double>(affine.factor[sample]);
      const double time = affine.time == nullptr ? 0.0 : static_cast<double>(affine.time[sample]);
      for (std::int64_t i = 0; i < columns; ++i) {
        values[i] += factor * sums[i];
        slopes[i] += factor * time * sums[i];
      }
    }
    const auto store = [=](const double* found, const Into<T>& target) {
      if (target.to == nullptr) return;
      for (std::int64_t i = 0; i < columns; ++i)
        target.to[column + i] = (target.sum == Sum::adds ? target.to[column + i] : T(0)) + static_cast<T>(found[i]);
    };
    store(values, which == 0 ? to.scale : which == 1 ? to.shift : to.bias);
    if (which < 2) store(slopes, which == 0 ? to.scale_slope : to.shift_slope);
  }
}

}  // namespace

template <class T>
void layer_norm(Cpu, const NormRows& extents, double eps, const T* x, const NormNumbers<Wide<T>>& affine, const NormResidual<T>& residual,
                T* y, Wide<T>* mean, Wide<T>* rstd) {
  const std::int64_t width = extents.width, rows = extents.count;
#pragma omp parallel if (rows * width > kGrain)
  {
    SampleAffine<T, double> own(affine, width);
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < rows; ++row) {
      own.go_to(extents.sample_of(row));
      const T* in = x + row * width;
      const double *gain = own.scale(), *bias = own.shift();
      T* out = y + row * width;
      const Statistics of_row = mean == nullptr ? Statistics{0.0, 1.0} : statistics(width, eps, in);
      if (mean != nullptr) mean[row] = static_cast<T>(of_row.mean), rstd[row] = static_cast<T>(of_row.rstd);
      const double center = of_row.mean, factor = of_row.rstd;
      const auto normalised = [=](std::int64_t i) { return (static_cast<double>(in[i]) - center) * factor * gain[i] + bias[i]; };
      if (residual.value == nullptr) {
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) out[i] = static_cast<T>(normalised(i));
      } else {
        const T* base = residual.value + row * width;
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) out[i] = static_cast<T>(static_cast<double>(base[i]) + normalised(i));
      }
    }
  }
}

template <class T>
void layer_norm_gradient(Cpu, const NormRows& extents, const NormGradient<T>& gradient) {
  const std::int64_t width = extents.width, blocks = blocks_of(extents);
  const bool adds = gradient.sums.any();
  const Block memory(adds ? static_cast<std::size_t>(extents.samples * blocks * kSums * width) * sizeof(T) : 0, Device{});
  T* sums = static_cast<T*>(memory.data());
#pragma omp parallel if (extents.count * width > kGrain)
  {
    SampleAffine<T, T> own(gradient.affine, width);
#pragma omp for schedule(static)
    for (std::int64_t task = 0; task < extents.samples * blocks; ++task) {
      const std::int64_t sample = task / blocks, begin = extents.begin_of(sample), end = extents.begin_of(sample + 1);
      const std::int64_t first = std::min(end, begin + task % blocks * kBlockRows), last = std::min(end, first + kBlockRows);
      own.go_to(sample);
      T* own_sums = adds ? sums + task * kSums * width : nullptr;
      if (adds) std::fill(own_sums, own_sums + kSums * width, T(0));
      for (std::int64_t row = first; row < last; ++row) {
        if (adds) {
          row_gradient<true>(width, gradient, row, own.scale(), own_sums);
        } else {
          row_gradient<false, T>(width, gradient, row, own.scale(), nullptr);
        }
      }
    }
  }
  if (adds) add_blocks(extents, gradient.affine, sums, gradient.sums);
}

#define TRIDENT_LAYER_NORM(T)                                                                                                  \
  template void layer_norm(Cpu, const NormRows&, double, const T*, const NormNumbers<T>&, const NormResidual<T>&, T*, T*, T*); \
  template void layer_norm_gradient(Cpu, const NormRows&, const NormGradient<T>&);
TRIDENT_LAYER_NORM(float)
TRIDENT_LAYER_NORM(double)

}  // namespace trident
