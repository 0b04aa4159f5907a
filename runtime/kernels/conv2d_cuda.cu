/// Direct convolutions of fields: the models' have few channels (4 to 4, 5x5) or are few. A block computes a tile of points of several
/// output channels from tiles of the input in shared memory, one input channel after the other. Limited by memory at 4 to 4 channels (200
/// FLOPs an output of 4 read and 4 written bytes), else by the units for f32.
#include "runtime/kernels/convolution.h"
#include "runtime/kernels/cuda/plane_sums.h"

namespace trident {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kTile = 32;                          // outputs along both axes
constexpr int kRows = kTile / (kThreads / kTile);  // outputs of a thread, one above the other

/// Block (tile, kOut channels, sample). `turned`: the weights are those of the convolution that this one is the adjoint of.
template <class T, int kOut>
__global__ void __launch_bounds__(kThreads) forward_kernel(Conv2dSize size, const T* x, const T* weight, const T* bias, T* y, bool turned) {
  using C = Compute<T>;
  const int kernel = static_cast<int>(size.kernel), taps = kernel * kernel, reach = kTile + kernel - 1;
  C *weights = dynamic_shared<C>(), *points = weights + taps * kOut;  // (taps, kOut), (reach, reach)
  const std::int64_t tiles_x = divided_up<std::int64_t>(size.out_nx(), kTile), sample = blockIdx.z,
                     first_out = static_cast<std::int64_t>(blockIdx.y) * kOut;
  const std::int64_t first_row = blockIdx.x / tiles_x * kTile, first_column = blockIdx.x % tiles_x * kTile;
  const int column = static_cast<int>(threadIdx.x) % kTile, row = static_cast<int>(threadIdx.x) / kTile * kRows;
  C sum[kRows][kOut];
#pragma unroll
  for (int out = 0; out < kOut; ++out) {
    const C start = bias != nullptr && first_out + out < size.out ? compute(bias[first_out + out]) : C(0);
#pragma unroll
    for (int i = 0; i < kRows; ++i) sum[i][out] = start;
  }
  for (std::int64_t in = 0; in < size.in; ++in) {
    __syncthreads();  // the channel before has been used
    for (int i = static_cast<int>(threadIdx.x); i < taps * kOut; i += kThreads) {
      const std::int64_t out = first_out + i % kOut, tap = i / kOut;
      const std::int64_t place = turned ? (in * size.out + out) * taps + taps - 1 - tap : (out * size.in + in) * taps + tap;
      weights[i] = out < size.out ? compute(weight[place]) : C(0);
    }
    for (int i = static_cast<int>(threadIdx.x); i < reach * reach; i += kThreads) {
      const std::int64_t at_row = first_row - size.padding + i / reach, at_column = first_column - size.padding + i % reach;
      const bool inside = at_row >= 0 && at_row < size.ny && at_column >= 0 && at_column < size.nx;
      points[i] = inside ? compute(x[((sample * size.in + in) * size.ny + at_row) * size.nx + at_column]) : C(0);
    }
    __syncthreads();
    for (int ky = 0; ky < kernel; ++ky) {
      for (int kx = 0; kx < kernel; ++kx) {
        const C* factors = weights + (ky * kernel + kx) * kOut;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          const C value = points[(row + i + ky) * reach + column + kx];
#pragma unroll
          for (int out = 0; out < kOut; ++out) sum[i][out] += factors[out] * value;
        }
      }
    }
  }
  if (first_column + column >= size.out_nx()) return;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int out = 0; out < kOut; ++out) {
      const std::int64_t to_row = first_row + row + i;
      if (to_row >= size.out_ny() || first_out + out >= size.out) continue;
      y[((sample * size.out + first_out + out) * size.out_ny() + to_row) * size.out_nx() + first_column + column] = stored<T>(sum[i][out]);
    }
  }
}

constexpr int kWeightOuts = 4, kWeightTaps = 8;  // of the weight gradients that a block adds up

/// What block blockIdx.x of the weight gradient adds up: kWeightOuts outputs of an input's row of taps, kWeightTaps of them from kx on.
struct WeightTask {
  std::int64_t out, in, ky, kx;
  __device__ WeightTask(const Conv2dSize& size, std::int64_t index) {
    const std::int64_t pieces = divided_up<std::int64_t>(size.kernel, kWeightTaps);
    kx = index % pieces * kWeightTaps;
    ky = index / pieces % size.kernel;
    in = index / pieces / size.kernel % size.in;
    out = index / pieces / size.kernel / size.in * kWeightOuts;
  }
};

/// Part blockIdx.y of the sums over all points of all samples: parts (gridDim.y, out, in, kernel, kernel).
template <class T>
__global__ void __launch_bounds__(kThreads)
    weight_kernel(Conv2dSize size, std::int64_t part_points, const T* x, const T* dy, Compute<T>* parts) {
  using C = Compute<T>;
  const WeightTask task(size, blockIdx.x);
  const std::int64_t field = size.out_ny() * size.out_nx(), first = blockIdx.y * part_points,
                     last = min(size.batch * field, first + part_points);
  C sum[kWeightOuts][kWeightTaps] = {};
  for (std::int64_t i = first + threadIdx.x; i < last; i += kThreads) {
    const std::int64_t sample = i / field, point = i % field;
    const std::int64_t row = point / size.out_nx() + task.ky - size.padding, column = point % size.out_nx() + task.kx - size.padding;
    if (row < 0 || row >= size.ny) continue;
    C slope[kWeightOuts];
#pragma unroll
    for (int out = 0; out < kWeightOuts; ++out) {
      slope[out] = task.out + out < size.out ? compute(dy[(sample * size.out + task.out + out) * field + point]) : C(0);
    }
    const T* line = x + ((sample * size.in + task.in) * size.ny + row) * size.nx;
#pragma unroll
    for (int tap = 0; tap < kWeightTaps; ++tap) {
      if (task.kx + tap >= size.kernel || column + tap < 0 || column + tap >= size.nx) continue;
      const C value = compute(line[column + tap]);
#pragma unroll
      for (int out = 0; out < kWeightOuts; ++out) sum[out][tap] += slope[out] * value;
    }
  }
  __shared__ C shared[kThreads / kWarp][kWeightOuts * kWeightTaps];
#pragma unroll
  for (int out = 0; out < kWeightOuts; ++out) {
#pragma unroll
    for (int tap = 0; tap < kWeightTaps; ++tap) {
      const C total = warp_sum(sum[out][tap]);
      if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp][out * kWeightTaps + tap] = total;
    }
  }
  __syncthreads();
  if (threadIdx.x >= kWeightOuts * kWeightTaps) return;
  const std::int64_t out = task.out + threadIdx.x / kWeightTaps, kx = task.kx + threadIdx.x % kWeightTaps;
  if (out >= size.out || kx >= size.kernel) return;
  C total = 0;
  for (int warp = 0; warp < kThreads / kWarp; ++warp) total += shared[warp][threadIdx.x];
  parts[(((blockIdx.y * size.out + out) * size.in + task.in) * size.kernel + task.ky) * size.kernel + kx] = total;
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads) field_sums_kernel(Planes fields, const T* dy, PlaneSums<Wide<T>> to) {
  add_up_planes<1>(fields, to, [=](std::int64_t plane) {
    return [from = dy + plane * fields.points](std::int64_t i, double(&total)[1]) { total[0] += static_cast<double>(compute(from[i])); };
  });
}

template <class T>
void forward_any(Cuda device, const Conv2dSize& size, const T* x, const T* weight, const T* bias, T* y, bool turned) {
  const std::int64_t tiles = divided_up<std::int64_t>(size.out_ny(), kTile) * divided_up<std::int64_t>(size.out_nx(), kTile),
                     reach = kTile + size.kernel - 1;
  const auto launch = [&](auto outs) {
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(divided_up<std::int64_t>(size.out, outs())),
                    static_cast<unsigned>(size.batch));
    const auto shared = static_cast<std::size_t>(size.kernel * size.kernel * outs() + reach * reach) * sizeof(Compute<T>);
    launch_kernel(forward_kernel<T, outs()>, grid, kThreads, shared, device, size, x, weight, bias, y, turned);
  };
  if (size.out <= 4) return launch(std::integral_constant<int, 4>{});
  launch(std::integral_constant<int, 8>{});
}

}  // namespace

template <class T>
void conv2d_forward(Cuda device, const Conv2dSize& size, const T* x, const T* weight, const T* bias, T* y) {
  forward_any(device, size, x, weight, bias, y, false);
}

template <class T>
void conv2d_backward_input(Cuda device, const Conv2dSize& size, const T* dy, const T* weight, T* dx) {
  // The adjoint of a convolution is one with the kernel turned by 180 degrees and the channels exchanged.
  const Conv2dSize adjoint{.batch = size.batch,
                           .in = size.out,
                           .out = size.in,
                           .ny = size.out_ny(),
                           .nx = size.out_nx(),
                           .kernel = size.kernel,
                           .padding = size.kernel - 1 - size.padding};
  const T* no_bias = nullptr;
  forward_any(device, adjoint, dy, weight, no_bias, dx, true);
}

template <class T>
void conv2d_backward_weight(Cuda device, const Conv2dSize& size, const T* x, const T* dy, Into<Wide<T>> dweight, Into<Wide<T>> dbias) {
  using C = Compute<T>;
  const std::int64_t field = size.out_ny() * size.out_nx(), points = size.batch * field;
  if (dbias.to != nullptr) {
    const Planes fields{size.batch * size.out, field, size.out};
    const auto launch = [&](const auto& to) {
      launch_kernel(field_sums_kernel<T>, blocks_for(fields), kPlaneThreads, 0, device, fields, dy, to);
    };
    sums_of_planes<1>(device, fields, dbias.to, static_cast<Wide<T>*>(nullptr), launch, dbias.sum);
  }
  const std::int64_t weights = size.out * size.in * size.kernel * size.kernel;
  if (dweight.to == nullptr || weights == 0) return;
  const std::int64_t tasks =
      divided_up<std::int64_t>(size.out, kWeightOuts) * size.in * size.kernel * divided_up<std::int64_t>(size.kernel, kWeightTaps);
  constexpr std::int64_t kEnoughBlocks = 1056, kFewestPoints = 1024;
  const std::int64_t most_parts = divided_up(kEnoughBlocks, tasks), part_points = std::max(kFewestPoints, divided_up(points, most_parts));
  const std::int64_t count = divided_up(points, part_points);
  const Block memory = workspace(device, static_cast<std::size_t>(count * weights) * sizeof(C));
  auto* parts = static_cast<C*>(memory.data());
  launch_kernel(weight_kernel<T>, dim3(static_cast<unsigned>(tasks), static_cast<unsigned>(count)), kThreads, 0, device, size, part_points,
                x, dy, parts);
  add_parts(device, {.parts = count, .count = weights, .sum = dweight.sum}, static_cast<const C*>(parts), dweight.to);
}

#define TRIDENT_CONV2D(T)                                                                     \
  template void conv2d_forward<T>(Cuda, const Conv2dSize&, const T*, const T*, const T*, T*); \
  template void conv2d_backward_input<T>(Cuda, const Conv2dSize&, const T*, const T*, T*);    \
  template void conv2d_backward_weight<T>(Cuda, const Conv2dSize&, const T*, const T*, Into<Wide<T>>, Into<Wide<T>>);
TRIDENT_CONV2D(float)
TRIDENT_CONV2D(double)
TRIDENT_CONV2D(bf16)

}  // namespace trident
