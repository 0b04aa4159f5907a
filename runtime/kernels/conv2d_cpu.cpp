#include <omp.h>

#include <algorithm>
#include <cstddef>

#include "runtime/device/allocator.h"
#include "runtime/kernels/convolution.h"
#include "runtime/kernels/vector.h"

namespace trident {
namespace {

using cpu::kLanes, cpu::kTileRows, cpu::load, cpu::store, cpu::Vector;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// One sample with its zero frame, rows long enough for whole vectors: (channels, ny + 2 padding, step).
template <class T>
class Padded {
 public:
  Padded(std::int64_t channels, std::int64_t ny, std::int64_t nx, std::int64_t padding, std::int64_t step)
      : ny_(ny),
        nx_(nx),
        padding_(padding),
        rows_(ny + 2 * padding),
        step_(step),
        block_(static_cast<std::size_t>(channels * rows_ * step) * sizeof(T), {}) {
    std::fill_n(data(), channels * rows_ * step, T(0));
  }
  /// Copies the first `channels` of a sample between the zeros.
  void fill(const T* x, std::int64_t channels) {
    const std::int64_t crop = std::max<std::int64_t>(0, -padding_), frame = std::max<std::int64_t>(0, padding_);
#pragma omp parallel for schedule(static) if (channels * ny_ * nx_ > (1 << 15))
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t y = crop; y < ny_ - crop; ++y) {
        std::copy_n(x + (channel * ny_ + y) * nx_ + crop, nx_ - 2 * crop, row(channel, y + padding_) + frame);
      }
    }
  }
  T* data() const { return static_cast<T*>(block_.data()); }
  T* row(std::int64_t channel, std::int64_t y) const { return data() + (channel * rows_ + y) * step_; }

 private:
  std::int64_t ny_, nx_, padding_, rows_, step_;
  Block block_;
};

/// Elements between rows of a padded field: whole vectors of outputs, and the reach of the kernel.
template <class T>
std::int64_t padded_step(const Conv2dSize& size) {
  return round_up(round_up(size.out_nx(), 2 * kLanes<T>) + size.kernel - 1, kLanes<T>);
}

/// Weights in the order in which the forward reads them, (out / R, in, kernel, kernel, R) with R = kTileRows, filled up with zeros.
template <class T>
class TiledWeights {
 public:
  TiledWeights(const Conv2dSize& size, const T* weight)
      : tile_(size.in * size.kernel * size.kernel * kTileRows),
        block_(static_cast<std::size_t>(round_up(size.out, kTileRows) / kTileRows * tile_) * sizeof(T), {}) {
    const std::int64_t taps = size.in * size.kernel * size.kernel;
    std::fill_n(static_cast<T*>(block_.data()), round_up(size.out, kTileRows) / kTileRows * tile_, T(0));
    for (std::int64_t out = 0; out < size.out; ++out) {
      T* target = static_cast<T*>(block_.data()) + out / kTileRows * tile_ + out % kTileRows;
      for (std::int64_t tap = 0; tap < taps; ++tap) target[tap * kTileRows] = weight[out * taps + tap];
    }
  }
  const T* tile(std::int64_t index) const { return static_cast<const T*>(block_.data()) + index * tile_; }

 private:
  std::int64_t tile_;
  Block block_;
};

/// Two vectors of outputs of R channels at (y, x).
template <class T, int R>
void forward_tile(const Conv2dSize& size, const Padded<T>& x, std::int64_t row, std::int64_t column, const T* weights,
                  Vector<T> (&sum)[R][2]) {
  for (std::int64_t channel = 0; channel < size.in; ++channel) {
    for (std::int64_t ky = 0; ky < size.kernel; ++ky) {
      const T* source = x.row(channel, row + ky) + column;
      for (std::int64_t kx = 0; kx < size.kernel; ++kx) {
        const Vector<T> left = load(source + kx), right = load(source + kx + kLanes<T>);
        for (int out = 0; out < R; ++out) {
          sum[out][0] += weights[out] * left;
          sum[out][1] += weights[out] * right;
        }
        weights += kTileRows;
      }
    }
  }
}

template <class T, int R>
void forward_row(const Conv2dSize& size, const Padded<T>& x, const T* weights, const T* bias, std::int64_t out, std::int64_t row, T* y) {
  constexpr int L = kLanes<T>;
  const std::int64_t nx = size.out_nx();
  for (std::int64_t column = 0; column < nx; column += 2 * L) {
    Vector<T> sum[R][2];
    for (int i = 0; i < R; ++i) {
      const T start = bias != nullptr && out + i < size.out ? bias[out + i] : T(0);
      sum[i][0] = sum[i][1] = cpu::broadcast(start);
    }
    forward_tile<T, R>(size, x, row, column, weights, sum);
    for (int i = 0; i < R && out + i < size.out; ++i) {
      T* target = y + ((out + i) * size.out_ny() + row) * nx + column;
      T line[2 * L];
      store(line, sum[i][0]);
      store(line + L, sum[i][1]);
      std::copy_n(line, std::min<std::int64_t>(2 * L, nx - column), target);
    }
  }
}

/// Sums over the points of one sample of dy[out + i] times x shifted by (ky, kx + j), for R outputs and K shifts.
template <class T, int R, int K>
void weight_tile(const Conv2dSize& size, const Padded<T>& x, const Padded<T>& dy, std::int64_t out, std::int64_t channel, std::int64_t ky,
                 std::int64_t kx, T* dweight) {
  constexpr int L = kLanes<T>;
  Vector<T> sum[R][K] = {};
  for (std::int64_t row = 0; row < size.out_ny(); ++row) {
    const T* source = x.row(channel, row + ky) + kx;
    for (std::int64_t column = 0; column < size.out_nx(); column += L) {
      Vector<T> gradient[R];
      for (int i = 0; i < R; ++i) gradient[i] = load(dy.row(out + i, row) + column);
      for (int j = 0; j < K; ++j) {
        const Vector<T> shifted = load(source + column + j);
        for (int i = 0; i < R; ++i) sum[i][j] += gradient[i] * shifted;
      }
    }
  }
  for (int i = 0; i < R && out + i < size.out; ++i) {
    T* target = dweight + (((out + i) * size.in + channel) * size.kernel + ky) * size.kernel + kx;
    for (int j = 0; j < K; ++j) {
      T total = 0;
      for (int lane = 0; lane < L; ++lane) total += sum[i][j][lane];
      target[j] += total;
    }
  }
}

constexpr int kWeightRows = 4;  // outputs of one tile of the weight gradient

template <class T>
void weight_row(const Conv2dSize& size, const Padded<T>& x, const Padded<T>& dy, std::int64_t out, std::int64_t channel, std::int64_t ky,
                T* dweight) {
  std::int64_t kx = 0;
  for (; kx + 5 <= size.kernel; kx += 5) weight_tile<T, kWeightRows, 5>(size, x, dy, out, channel, ky, kx, dweight);
  for (; kx + 3 <= size.kernel; kx += 3) weight_tile<T, kWeightRows, 3>(size, x, dy, out, channel, ky, kx, dweight);
  for (; kx < size.kernel; ++kx) weight_tile<T, kWeightRows, 1>(size, x, dy, out, channel, ky, kx, dweight);
}

}  // namespace

template <class T>
void conv2d_forward(Cpu, const Conv2dSize& size, const T* x, const T* weight, const T* bias, T* y) {
  const TiledWeights<T> weights(size, weight);
  const std::int64_t tiles = round_up(size.out, kTileRows) / kTileRows;
  Padded<T> padded(size.in, size.ny, size.nx, size.padding, padded_step<T>(size));
  for (std::int64_t sample = 0; sample < size.batch; ++sample) {
    padded.fill(x + sample * size.in * size.ny * size.nx, size.in);
    T* target = y + sample * size.out * size.out_ny() * size.out_nx();
#pragma omp parallel for collapse(2) schedule(static)
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      for (std::int64_t row = 0; row < size.out_ny(); ++row) {
        if (size.out - tile * kTileRows > kTileRows / 2) {
          forward_row<T, kTileRows>(size, padded, weights.tile(tile), bias, tile * kTileRows, row, target);
        } else {
          forward_row<T, kTileRows / 2>(size, padded, weights.tile(tile), bias, tile * kTileRows, row, target);
        }
      }
    }
  }
}

template <class T>
void conv2d_backward_input(Cpu, const Conv2dSize& size, const T* dy, const T* weight, T* dx) {
  // The adjoint of a convolution is one with the kernel turned by 180 degrees and the channels exchanged.
  const std::int64_t taps = size.kernel * size.kernel;
  const Block block(static_cast<std::size_t>(size.in * size.out * taps) * sizeof(T), {});
  T* turned = static_cast<T*>(block.data());
  for (std::int64_t out = 0; out < size.out; ++out) {
    for (std::int64_t in = 0; in < size.in; ++in) {
      std::reverse_copy(weight + (out * size.in + in) * taps, weight + (out * size.in + in + 1) * taps,
                        turned + (in * size.out + out) * taps);
    }
  }
  conv2d_forward<T>(Cpu{},
                    {.batch = size.batch,
                     .in = size.out,
                     .out = size.in,
                     .ny = size.out_ny(),
                     .nx = size.out_nx(),
                     .kernel = size.kernel,
                     .padding = size.kernel - 1 - size.padding},
                    dy, turned, nullptr, dx);
}

template <class T>
void conv2d_backward_weight(Cpu, const Conv2dSize& size, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias) {
  const std::int64_t points = size.out_ny() * size.out_nx(), tiles = round_up(size.out, kWeightRows) / kWeightRows;
  if (dweight.to != nullptr) std::fill_n(dweight.to, size.out * size.in * size.kernel * size.kernel, T(0));
  if (dbias.to != nullptr) std::fill_n(dbias.to, size.out, T(0));
  Padded<T> x_padded(size.in, size.ny, size.nx, size.padding, padded_step<T>(size));
  Padded<T> dy_padded(tiles * kWeightRows, size.out_ny(), size.out_nx(), 0, round_up(size.out_nx(), kLanes<T>));
  for (std::int64_t sample = 0; sample < size.batch; ++sample) {
    const T* gradient = dy + sample * size.out * points;
    for (std::int64_t out = 0; out < size.out && dbias.to != nullptr; ++out) {
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t i = 0; i < points; ++i) sum += gradient[out * points + i];
      dbias.to[out] += sum;
    }
    if (dweight.to == nullptr) continue;
    x_padded.fill(x + sample * size.in * size.ny * size.nx, size.in);
    dy_padded.fill(gradient, size.out);
#pragma omp parallel for collapse(3) schedule(static)
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      for (std::int64_t channel = 0; channel < size.in; ++channel) {
        for (std::int64_t ky = 0; ky < size.kernel; ++ky)
          weight_row(size, x_padded, dy_padded, tile * kWeightRows, channel, ky, dweight.to);
      }
    }
  }
}

#define TRIDENT_CONV2D(T)                                                                    \
  template void conv2d_forward<T>(Cpu, const Conv2dSize&, const T*, const T*, const T*, T*); \
  template void conv2d_backward_input<T>(Cpu, const Conv2dSize&, const T*, const T*, T*);    \
  template void conv2d_backward_weight<T>(Cpu, const Conv2dSize&, const T*, const T*, Into<T>, Into<T>);
TRIDENT_CONV2D(float)
TRIDENT_CONV2D(double)

}  // namespace trident
