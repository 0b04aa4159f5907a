/// A block holds a tile of tokens of kChannels channels with the kernel's reach around it in shared memory, where a lane is a channel.
/// Limited by memory: x is read and y written once (the reach again through the second-level cache), 98 FLOPs an output. Kernels of another
/// extent than kFast go a plain way.
#include "runtime/kernels/convolution.h"
#include "runtime/kernels/cuda/parts.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kFast = 7, kTaps = kFast * kFast;  // extent of the kernels of the models
constexpr int kChannels = kWarp;
constexpr int kTileRows = 8;
/// Outputs along x of a tile: half as many of f64, so that tiles fit everywhere.
template <class C>
constexpr int kTileColumns = sizeof(C) == 4 ? 16 : 8;
template <class C>
constexpr int kReachColumns = kTileColumns<C> + kFast - 1;
constexpr int kReachRows = kTileRows + kFast - 1;

/// Tiles of the outputs: (batch, tile row, tile column).
struct Tiles {
  std::int64_t batch, rows, columns;
  __host__ __device__ std::int64_t count() const { return batch * rows * columns; }
};
template <class C>
Tiles tiles_of(const DepthwiseSize& size) {
  return {size.batch, divided_up<std::int64_t>(size.out_ny(), kTileRows), divided_up<std::int64_t>(size.out_nx(), kTileColumns<C>)};
}

struct Tile {
  std::int64_t sample, row, column;  // of its first output
  __device__ Tile(const Tiles& tiles, std::int64_t index, int tile_columns)
      : sample(index / (tiles.rows * tiles.columns)),
        row(index / tiles.columns % tiles.rows * kTileRows),
        column(index % tiles.columns * tile_columns) {}
};

/// Copies tokens [row, row + Rows) x [column, column + Columns) of a sample, of channels [channel, channel + kChannels), to shared memory
/// (Rows, Columns, kChannels); zeros where there is none.
template <int Rows, int Columns, int Threads, class T>
__device__ __forceinline__ void gather_tile(const T* x, std::int64_t sample, std::int64_t ny, std::int64_t nx, std::int64_t channels,
                                            std::int64_t row, std::int64_t column, std::int64_t channel, Compute<T>* to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < Rows * Columns; i += Threads / kWarp) {
    const std::int64_t y = row + i / Columns, at = column + i % Columns;
    const bool inside = y >= 0 && y < ny && at >= 0 && at < nx && channel + lane < channels;
    to[i * kChannels + lane] = inside ? compute(x[((sample * ny + y) * nx + at) * channels + channel + lane]) : Compute<T>(0);
  }
}

constexpr int kStrip = 8;  // outputs along x of a thread, in two rows
template <class C>
constexpr int kForwardThreads = kTileRows / 2 * (kTileColumns<C> / kStrip) * kWarp;

/// Block (tile, channels). `turned`: with the kernel turned by 180 degrees.
template <class T>
__global__ void __launch_bounds__(kForwardThreads<Compute<T>>)
    forward_kernel(DepthwiseSize size, Tiles tiles, const T* x, const T* weight, const T* bias, T* y, bool turned) {
  using C = Compute<T>;
  constexpr int kColumns = kTileColumns<C>, kReach = kReachColumns<C>, kThreads = kForwardThreads<C>;
  C *tokens = dynamic_shared<C>(),
    *taps = tokens + kReachRows * kReach * kChannels;  // (reach rows, reach columns, channels), (taps, channels)
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t first_channel = static_cast<std::int64_t>(blockIdx.y) * kChannels, channel = first_channel + lane;
  const Tile tile(tiles, blockIdx.x, kColumns);
  gather_tile<kReachRows, kReach, kThreads>(x, tile.sample, size.ny, size.nx, size.channels, tile.row - size.padding,
                                            tile.column - size.padding, first_channel, tokens);
  for (int i = static_cast<int>(threadIdx.x); i < kTaps * kChannels; i += kThreads) {
    const int of = i / kTaps, tap = i % kTaps;
    const bool inside = first_channel + of < size.channels;
    taps[(turned ? kTaps - 1 - tap : tap) * kChannels + of] = inside ? compute(weight[(first_channel + of) * kTaps + tap]) : C(0);
  }
  __syncthreads();
  const int row = warp % (kTileRows / 2) * 2, column = warp / (kTileRows / 2) * kStrip;
  const C start = bias != nullptr && channel < size.channels ? compute(bias[channel]) : C(0);
  C sum[2][kStrip];
#pragma unroll
  for (int i = 0; i < kStrip; ++i) sum[0][i] = sum[1][i] = start;
  C above[kFast] = {};  // the taps that the second output row has for this row of tokens
#pragma unroll
  for (int ky = 0; ky <= kFast; ++ky) {
    C line[kStrip + kFast - 1], own[kFast];
    const C* source = tokens + ((row + ky) * kReach + column) * kChannels + lane;
#pragma unroll
    for (int i = 0; i < kStrip + kFast - 1; ++i) line[i] = source[i * kChannels];
#pragma unroll
    for (int kx = 0; kx < kFast; ++kx) own[kx] = ky < kFast ? taps[(ky * kFast + kx) * kChannels + lane] : C(0);
#pragma unroll
    for (int kx = 0; kx < kFast; ++kx) {
#pragma unroll
      for (int i = 0; i < kStrip; ++i) {
        if (ky < kFast) sum[0][i] += own[kx] * line[i + kx];
        if (ky > 0) sum[1][i] += above[kx] * line[i + kx];
      }
      above[kx] = own[kx];
    }
  }
  if (channel >= size.channels) return;
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const std::int64_t to_row = tile.row + row + j;
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
      const std::int64_t to_column = tile.column + column + i;
      if (to_row < size.out_ny() && to_column < size.out_nx()) {
        y[((tile.sample * size.out_ny() + to_row) * size.out_nx() + to_column) * size.channels + channel] = stored<T>(sum[j][i]);
      }
    }
  }
}

constexpr int kWeightWarps = kFast;  // one for each row of taps

/// Block (part, channels) adds up the weight gradients of every gridDim.x-th tile: parts (gridDim.x, channels, taps). Warp w has row w of
/// taps.
template <class T>
__global__ void __launch_bounds__(kWeightWarps* kWarp)
    weight_kernel(DepthwiseSize size, Tiles tiles, const T* x, const T* dy, Compute<T>* parts) {
  using C = Compute<T>;
  constexpr int kColumns = kTileColumns<C>, kReach = kReachColumns<C>, kThreads = kWeightWarps * kWarp;
  C *tokens = dynamic_shared<C>(),
    *slopes = tokens + kReachRows * kReach * kChannels;  // (reach rows, reach columns, channels), (rows, columns, channels)
  const int lane = static_cast<int>(threadIdx.x) % kWarp, ky = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t first_channel = static_cast<std::int64_t>(blockIdx.y) * kChannels;
  C sum[kFast] = {};
  for (std::int64_t index = blockIdx.x; index < tiles.count(); index += gridDim.x) {
    const Tile tile(tiles, index, kColumns);
    __syncthreads();  // the tile before has been used
    gather_tile<kReachRows, kReach, kThreads>(x, tile.sample, size.ny, size.nx, size.channels, tile.row - size.padding,
                                              tile.column - size.padding, first_channel, tokens);
    gather_tile<kTileRows, kColumns, kThreads>(dy, tile.sample, size.out_ny(), size.out_nx(), size.channels, tile.row, tile.column,
                                               first_channel, slopes);
    __syncthreads();
    for (int row = 0; row < kTileRows; ++row) {
      C line[kFast + kStrip - 1];
#pragma unroll
      for (int strip = 0; strip < kColumns; strip += kStrip) {
        const C* source = tokens + ((row + ky) * kReach + strip) * kChannels + lane;
        const C* slope = slopes + (row * kColumns + strip) * kChannels + lane;
#pragma unroll
        for (int i = 0; i < kFast + kStrip - 1; ++i) line[i] = source[i * kChannels];
#pragma unroll
        for (int i = 0; i < kStrip; ++i) {
          const C one = slope[i * kChannels];
#pragma unroll
          for (int kx = 0; kx < kFast; ++kx) sum[kx] += one * line[i + kx];
        }
      }
    }
  }
  if (first_channel + lane >= size.channels) return;
  C* target = parts + ((blockIdx.x * size.channels + first_channel + lane) * kFast + ky) * kFast;
#pragma unroll
  for (int kx = 0; kx < kFast; ++kx) target[kx] = sum[kx];
}

constexpr int kPlainThreads = 128;

/// Any extent: a thread per output.
template <class T>
__global__ void __launch_bounds__(kPlainThreads)
    plain_forward_kernel(DepthwiseSize size, const T* x, const T* weight, const T* bias, T* y, bool turned) {
  using C = Compute<T>;
  const std::int64_t count = size.batch * size.out_ny() * size.out_nx() * size.channels;
  for (std::int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const std::int64_t channel = i % size.channels, column = i / size.channels % size.out_nx(),
                       row = i / size.channels / size.out_nx() % size.out_ny();
    const std::int64_t sample = i / size.channels / size.out_nx() / size.out_ny(), taps = size.kernel * size.kernel;
    C sum = bias != nullptr ? compute(bias[channel]) : C(0);
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      const std::int64_t at_row = row + tap / size.kernel - size.padding, at_column = column + tap % size.kernel - size.padding;
      if (at_row < 0 || at_row >= size.ny || at_column < 0 || at_column >= size.nx) continue;
      sum += compute(weight[channel * taps + (turned ? taps - 1 - tap : tap)]) *
             compute(x[((sample * size.ny + at_row) * size.nx + at_column) * size.channels + channel]);
    }
    y[i] = stored<T>(sum);
  }
}

/// Any extent: a thread per channel and tap adds up the outputs of every gridDim.y-th row.
template <class T>
__global__ void __launch_bounds__(kPlainThreads) plain_weight_kernel(DepthwiseSize size, const T* x, const T* dy, Compute<T>* parts) {
  using C = Compute<T>;
  const std::int64_t taps = size.kernel * size.kernel, index = grid_thread();
  if (index >= size.channels * taps) return;
  const std::int64_t channel = index % size.channels, tap = index / size.channels;
  C sum = 0;
  for (std::int64_t line = blockIdx.y; line < size.batch * size.out_ny(); line += gridDim.y) {
    const std::int64_t sample = line / size.out_ny(), at_row = line % size.out_ny() + tap / size.kernel - size.padding;
    if (at_row < 0 || at_row >= size.ny) continue;
    for (std::int64_t column = 0; column < size.out_nx(); ++column) {
      const std::int64_t at_column = column + tap % size.kernel - size.padding;
      if (at_column < 0 || at_column >= size.nx) continue;
      sum += compute(dy[(line * size.out_nx() + column) * size.channels + channel]) *
             compute(x[((sample * size.ny + at_row) * size.nx + at_column) * size.channels + channel]);
    }
  }
  parts[(blockIdx.y * size.channels + channel) * taps + tap] = sum;
}

template <class T>
void forward_any(Cuda device, const DepthwiseSize& size, const T* x, const T* weight, const T* bias, T* y, bool turned) {
  using C = Compute<T>;
  if (size.kernel != kFast) {
    const std::int64_t count = size.batch * size.out_ny() * size.out_nx() * size.channels;
    return launch_kernel(plain_forward_kernel<T>, strided_grid(count, kPlainThreads), kPlainThreads, 0, device, size, x, weight, bias, y,
                         turned);
  }
  const Tiles tiles = tiles_of<C>(size);
  const dim3 grid(static_cast<unsigned>(tiles.count()), static_cast<unsigned>(divided_up<std::int64_t>(size.channels, kChannels)));
  constexpr std::size_t kShared = (kReachRows * kReachColumns<C> + kTaps) * kChannels * sizeof(C);
  launch_kernel(forward_kernel<T>, grid, kForwardThreads<C>, kShared, device, size, tiles, x, weight, bias, y, turned);
}

/// Parts in which weight gradients are added up: what fills the device, and no more than there are pieces of work.
std::int64_t parts_of(std::int64_t work, std::int64_t blocks_of_a_part) {
  constexpr std::int64_t kEnoughBlocks = 528;
  return std::clamp<std::int64_t>(divided_up(kEnoughBlocks, std::max<std::int64_t>(blocks_of_a_part, 1)), 1,
                                  std::max<std::int64_t>(work, 1));
}

}  // namespace

template <class T>
void depthwise_forward(Cuda device, const DepthwiseSize& size, const T* x, const T* weight, const T* bias, T* y) {
  forward_any(device, size, x, weight, bias, y, false);
}

template <class T>
void depthwise_backward_input(Cuda device, const DepthwiseSize& size, const T* dy, const T* weight, T* dx) {
  // The adjoint of a convolution is one with the kernel turned by 180 degrees.
  const DepthwiseSize adjoint{.batch = size.batch,
                              .ny = size.out_ny(),
                              .nx = size.out_nx(),
                              .channels = size.channels,
                              .kernel = size.kernel,
                              .padding = size.kernel - 1 - size.padding};
  const T* no_bias = nullptr;
  forward_any(device, adjoint, dy, weight, no_bias, dx, true);
}

template <class T>
void depthwise_backward_weight(Cuda device, const DepthwiseSize& size, const T* x, const T* dy, Into<Wide<T>> dweight,
                               Into<Wide<T>> dbias) {
  using C = Compute<T>;
  if (dbias.to != nullptr) column_sums(device, size.batch * size.out_ny() * size.out_nx(), size.channels, dy, dbias.to, dbias.sum);
  if (dweight.to == nullptr || size.channels == 0) return;
  const std::int64_t weights = size.channels * size.kernel * size.kernel;
  const auto sum_parts = [&](std::int64_t count, auto launch) {
    const Block memory = workspace(device, static_cast<std::size_t>(count * weights) * sizeof(C));
    launch(static_cast<C*>(memory.data()));
    add_parts(device, {.parts = count, .count = weights, .sum = dweight.sum}, static_cast<const C*>(memory.data()), dweight.to);
  };
  if (size.kernel != kFast) {
    const auto blocks = static_cast<unsigned>(divided_up<std::int64_t>(weights, kPlainThreads));
    const std::int64_t count = parts_of(size.batch * size.out_ny(), blocks);
    return sum_parts(count, [&](C* parts) {
      launch_kernel(plain_weight_kernel<T>, dim3(blocks, static_cast<unsigned>(count)), kPlainThreads, 0, device, size, x, dy, parts);
    });
  }
  const Tiles tiles = tiles_of<C>(size);
  const auto blocks = static_cast<unsigned>(divided_up<std::int64_t>(size.channels, kChannels));
  const std::int64_t count = parts_of(tiles.count(), blocks);
  constexpr std::size_t kShared = (kReachRows * kReachColumns<C> + kTileRows * kTileColumns<C>)*kChannels * sizeof(C);
  sum_parts(count, [&](C* parts) {
    launch_kernel(weight_kernel<T>, dim3(static_cast<unsigned>(count), blocks), kWeightWarps * kWarp, kShared, device, size, tiles, x, dy,
                  parts);
  });
}

#define TRIDENT_DEPTHWISE(T)                                                                        \
  template void depthwise_forward<T>(Cuda, const DepthwiseSize&, const T*, const T*, const T*, T*); \
  template void depthwise_backward_input<T>(Cuda, const DepthwiseSize&, const T*, const T*, T*);    \
  template void depthwise_backward_weight<T>(Cuda, const DepthwiseSize&, const T*, const T*, Into<Wide<T>>, Into<Wide<T>>);
TRIDENT_DEPTHWISE(float)
TRIDENT_DEPTHWISE(double)
TRIDENT_DEPTHWISE(bf16)

}  // namespace trident
