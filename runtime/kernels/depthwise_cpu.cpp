#include <omp.h>

#include <algorithm>
#include <cstddef>

#include "runtime/device/allocator.h"
#include "runtime/kernels/convolution.h"
#include "runtime/kernels/row_blocks.h"
#include "runtime/kernels/vector.h"

namespace trident {
namespace {

using cpu::kLanes, cpu::load, cpu::store, cpu::Vector;

constexpr int kPoints = 8;  // outputs along x of one tile

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// Rows of tokens with a zero frame, channels filled up to whole vectors: (rows, step, width).
template <class T>
class PaddedTokens {
 public:
  PaddedTokens(const DepthwiseSize& size, std::int64_t rows, std::int64_t nx, std::int64_t frame, std::int64_t step)
      : channels_(size.channels),
        nx_(nx),
        frame_(frame),
        step_(step),
        width_(round_up(size.channels, kLanes<T>)),
        block_(static_cast<std::size_t>(rows * step * width_) * sizeof(T), {}) {
    std::fill_n(static_cast<T*>(block_.data()), rows * step * width_, T(0));
  }
  /// `source` is a row of nx tokens, or null for a row of zeros; a negative frame crops.
  void set_row(std::int64_t row, const T* source) {
    T* target = at(row, 0);
    if (source == nullptr) return void(std::fill_n(target, step_ * width_, T(0)));
    for (std::int64_t x = std::max<std::int64_t>(0, -frame_); x < std::min(nx_, step_ - frame_); ++x) {
      std::copy_n(source + x * channels_, channels_, target + (x + frame_) * width_);
    }
  }
  T* at(std::int64_t row, std::int64_t x) const { return static_cast<T*>(block_.data()) + (row * step_ + x) * width_; }
  std::int64_t width() const { return width_; }

 private:
  std::int64_t channels_, nx_, frame_, step_, width_;
  Block block_;
};

/// Weights (kernel, kernel, width) with channels last.
template <class T>
class TapWeights {
 public:
  TapWeights(const DepthwiseSize& size, const T* weight, bool turned)
      : width_(round_up(size.channels, kLanes<T>)), block_(static_cast<std::size_t>(size.kernel * size.kernel * width_) * sizeof(T), {}) {
    const std::int64_t taps = size.kernel * size.kernel;
    std::fill_n(static_cast<T*>(block_.data()), taps * width_, T(0));
    for (std::int64_t channel = 0; channel < size.channels; ++channel) {
      for (std::int64_t tap = 0; tap < taps; ++tap) {
        static_cast<T*>(block_.data())[tap * width_ + channel] = weight[channel * taps + (turned ? taps - 1 - tap : tap)];
      }
    }
  }
  const T* tap(std::int64_t index) const { return static_cast<const T*>(block_.data()) + index * width_; }

 private:
  std::int64_t width_;
  Block block_;
};

/// kPoints outputs of one vector of channels; K is the kernel's extent if known when compiled, else 0.
template <class T, int K>
void forward_tile(std::int64_t kernel, const PaddedTokens<T>& x, const TapWeights<T>& weights, std::int64_t column, std::int64_t channel,
                  Vector<T> (&sum)[kPoints]) {
  const std::int64_t extent = K > 0 ? K : kernel, width = x.width();
  for (std::int64_t ky = 0; ky < extent; ++ky) {
    const T* source = x.at(ky, column) + channel;
    for (std::int64_t kx = 0; kx < extent; ++kx) {
      const Vector<T> weight = load(weights.tap(ky * extent + kx) + channel);
      for (int point = 0; point < kPoints; ++point) sum[point] += weight * load(source + (kx + point) * width);
    }
  }
}

template <class T, int K>
void forward_row(const DepthwiseSize& size, const PaddedTokens<T>& x, const TapWeights<T>& weights, const T* bias, T* y) {
  constexpr int L = kLanes<T>;
  for (std::int64_t column = 0; column < size.out_nx(); column += kPoints) {
    const std::int64_t points = std::min<std::int64_t>(kPoints, size.out_nx() - column);
    for (std::int64_t channel = 0; channel < size.channels; channel += L) {
      const std::int64_t lanes = std::min<std::int64_t>(L, size.channels - channel);
      T line[L] = {};
      if (bias != nullptr) std::copy_n(bias + channel, lanes, line);
      Vector<T> sum[kPoints];
      for (auto& one : sum) one = load(line);
      forward_tile<T, K>(size.kernel, x, weights, column, channel, sum);
      for (std::int64_t point = 0; point < points; ++point) {
        T* target = y + (column + point) * size.channels + channel;
        if (lanes == L) {
          store(target, sum[point]);
        } else {
          store(line, sum[point]);
          std::copy_n(line, lanes, target);
        }
      }
    }
  }
}

template <class T>
void forward_any(const DepthwiseSize& size, const T* x, const TapWeights<T>& weights, const T* bias, T* y) {
  const std::int64_t step = round_up(size.out_nx(), kPoints) + size.kernel - 1;
#pragma omp parallel
  {
    PaddedTokens<T> rows(size, size.kernel, size.nx, size.padding, step);
#pragma omp for schedule(static)
    for (std::int64_t index = 0; index < size.batch * size.out_ny(); ++index) {
      const std::int64_t sample = index / size.out_ny(), row = index % size.out_ny();
      for (std::int64_t ky = 0; ky < size.kernel; ++ky) {
        const std::int64_t source = row + ky - size.padding;
        rows.set_row(ky, source < 0 || source >= size.ny ? nullptr : x + (sample * size.ny + source) * size.nx * size.channels);
      }
      T* target = y + index * size.out_nx() * size.channels;
      if (size.kernel == 7) {
        forward_row<T, 7>(size, rows, weights, bias, target);
      } else {
        forward_row<T, 0>(size, rows, weights, bias, target);
      }
    }
  }
}

/// One row of taps of one vector of channels, K taps from kx on, summed over all points of all samples.
template <class T, int K>
void weight_taps(const DepthwiseSize& size, const T* x, const T* dy, std::int64_t ky, std::int64_t kx, std::int64_t channel,
                 Vector<T> (&sum)[K]) {
  const std::int64_t d = size.channels, first = std::max<std::int64_t>(0, size.padding - ky);
  const std::int64_t last = std::min(size.out_ny(), size.ny + size.padding - ky);
  for (std::int64_t sample = 0; sample < size.batch; ++sample) {
    Vector<T> partial[K] = {};
    for (std::int64_t row = first; row < last; ++row) {
      const T* source = x + ((sample * size.ny + row + ky - size.padding) * size.nx) * d + channel;
      const T* gradient = dy + (sample * size.out_ny() + row) * size.out_nx() * d + channel;
      for (std::int64_t column = 0; column < size.out_nx(); ++column) {
        const std::int64_t from = column + kx - size.padding;
        const Vector<T> one = load(gradient + column * d);
        if (from >= 0 && from + K <= size.nx) {
          for (int i = 0; i < K; ++i) partial[i] += one * load(source + (from + i) * d);
        } else {
          for (int i = 0; i < K; ++i) {
            if (from + i >= 0 && from + i < size.nx) partial[i] += one * load(source + (from + i) * d);
          }
        }
      }
    }
    for (int i = 0; i < K; ++i) sum[i] += partial[i];
  }
}

/// Row ky of the weight gradient of the vector of channels at `channel`, whose first `skipped` lanes another one writes.
template <class T>
void weight_row(const DepthwiseSize& size, const T* x, const T* dy, std::int64_t ky, std::int64_t channel, int skipped, T* dweight) {
  const auto write = [&](std::int64_t kx, Vector<T> sum) {
    for (int lane = skipped; lane < kLanes<T>; ++lane) dweight[((channel + lane) * size.kernel + ky) * size.kernel + kx] = sum[lane];
  };
  std::int64_t kx = 0;
  for (; kx + 7 <= size.kernel; kx += 7) {
    Vector<T> sum[7] = {};
    weight_taps<T, 7>(size, x, dy, ky, kx, channel, sum);
    for (int i = 0; i < 7; ++i) write(kx + i, sum[i]);
  }
  for (; kx < size.kernel; ++kx) {
    Vector<T> sum[1] = {};
    weight_taps<T, 1>(size, x, dy, ky, kx, channel, sum);
    write(kx, sum[0]);
  }
}

/// Fewer channels than lanes: the tokens are copied to whole vectors first.
template <class T>
void widened_backward_weight(const DepthwiseSize& size, const T* x, const T* dy, T* dweight) {
  constexpr int L = kLanes<T>;
  const auto widened = [&](const T* tokens, std::int64_t count) {
    Block block(static_cast<std::size_t>(count * L) * sizeof(T), {});
    T* target = static_cast<T*>(block.data());
    std::fill_n(target, count * L, T(0));
    for (std::int64_t i = 0; i < count; ++i) std::copy_n(tokens + i * size.channels, size.channels, target + i * L);
    return block;
  };
  const Block wide_x = widened(x, size.batch * size.ny * size.nx), wide_dy = widened(dy, size.batch * size.out_ny() * size.out_nx());
  DepthwiseSize wide = size;
  wide.channels = L;
  const std::int64_t taps = size.kernel * size.kernel;
  const Block wide_dweight(static_cast<std::size_t>(L * taps) * sizeof(T), {});
  for (std::int64_t ky = 0; ky < size.kernel; ++ky) {
    weight_row(wide, static_cast<const T*>(wide_x.data()), static_cast<const T*>(wide_dy.data()), ky, 0, 0,
               static_cast<T*>(wide_dweight.data()));
  }
  std::copy_n(static_cast<const T*>(wide_dweight.data()), size.channels * taps, dweight);
}

}  // namespace

template <class T>
void depthwise_forward(Cpu, const DepthwiseSize& size, const T* x, const T* weight, const T* bias, T* y) {
  forward_any(size, x, TapWeights<T>(size, weight, false), bias, y);
}

template <class T>
void depthwise_backward_input(Cpu, const DepthwiseSize& size, const T* dy, const T* weight, T* dx) {
  // The adjoint of a convolution is one with the kernel turned by 180 degrees.
  const DepthwiseSize adjoint{.batch = size.batch,
                              .ny = size.out_ny(),
                              .nx = size.out_nx(),
                              .channels = size.channels,
                              .kernel = size.kernel,
                              .padding = size.kernel - 1 - size.padding};
  forward_any<T>(adjoint, dy, TapWeights<T>(size, weight, true), nullptr, dx);
}

template <class T>
void depthwise_backward_weight(Cpu, const DepthwiseSize& size, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias) {
  if (dbias.to != nullptr) cpu::column_sums(size.batch * size.out_ny() * size.out_nx(), size.channels, dy, dbias);
  if (dweight.to == nullptr) return;
  constexpr int L = kLanes<T>;
  if (size.channels < L) return widened_backward_weight(size, x, dy, dweight.to);
  const std::int64_t vectors = (size.channels + L - 1) / L;
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t vector = 0; vector < vectors; ++vector) {
    for (std::int64_t ky = 0; ky < size.kernel; ++ky) {
      // The last vector starts early enough to end with the channels; what it shares with the one before is computed by both, but written
      // once.
      const std::int64_t channel = std::min(vector * L, size.channels - L), shared = vector * L - channel;
      weight_row(size, x, dy, ky, channel, static_cast<int>(shared), dweight.to);
    }
  }
}

#define TRIDENT_DEPTHWISE(T)                                                                       \
  template void depthwise_forward<T>(Cpu, const DepthwiseSize&, const T*, const T*, const T*, T*); \
  template void depthwise_backward_input<T>(Cpu, const DepthwiseSize&, const T*, const T*, T*);    \
  template void depthwise_backward_weight<T>(Cpu, const DepthwiseSize&, const T*, const T*, Into<T>, Into<T>);
TRIDENT_DEPTHWISE(float)
TRIDENT_DEPTHWISE(double)

}  // namespace trident
