/// f32 and f64 run as tiled products whose results end (bias, addend, GELU) in registers; f32 may not round its operands. Products of bf16
/// belong to tensor cores: cuBLASLt makes them, sample by sample, and a pass over the result ends it. The pass moves 4 bytes a number more
/// than an end in registers would: by count as long as ordinary units take for 64 channels, and less for more; the backward's products need
/// none.
#include "runtime/kernels/channel_mix.h"

#include <algorithm>
#include <type_traits>

#include "runtime/kernels/cuda/activation.h"
#include "runtime/kernels/cuda/products.h"
#include "runtime/kernels/cuda/tiled_product.h"
#include "runtime/kernels/cuda/workspace.h"

namespace trident {
namespace {

using cuda::StoreRows;

constexpr int kThreads = 256;
constexpr std::int64_t kPoints = 1024;  // of one partial sum: fixed, so that results do not depend on the chip

/// What comes after the product: bias, gated addend, GELU.
template <class T>
struct MixEnd {
  MixSize size;
  MixOperands<T> from;
  T *slope, *y;

  __device__ void operator()(std::int64_t sample, std::int64_t channel, std::int64_t point, Wide<T> value) const {
    const std::int64_t place = (sample * size.out + channel) * size.points + point;
    if (from.bias != nullptr) value += cuda::compute(from.bias[channel]);
    if (from.addend != nullptr)
      value += (from.gate != nullptr ? cuda::compute(from.gate[channel]) : Wide<T>(1)) * cuda::compute(from.addend[place]);
    if (!size.gelu) {
      y[place] = cuda::stored<T>(value);
    } else if (slope == nullptr) {
      y[place] = cuda::stored<T>(cuda::activate<Activation::gelu>(value));
    } else {
      Wide<T> derivative = 1;
      y[place] = cuda::stored<T>(cuda::activate_backward<Activation::gelu>(value, derivative));
      slope[place] = cuda::stored<T>(derivative);
    }
  }
};

/// Ends the products that y holds.
template <class T>
__global__ void __launch_bounds__(kThreads) end_kernel(MixEnd<T> end) {
  const MixSize& size = end.size;
  const std::int64_t row = blockIdx.x, sample = row / size.out, channel = row % size.out;
  for (std::int64_t point = std::int64_t{blockIdx.y} * kThreads + threadIdx.x; point < size.points;
       point += std::int64_t{gridDim.y} * kThreads)
    end(sample, channel, point, cuda::compute(end.y[row * size.points + point]));
}

/// y = weight x of every sample, of bf16.
void mixed(Cuda cuda, const MixSize& size, const MixOperands<bf16>& from, bf16* y) {
  cuda::product<bf16, bf16>(cuda,
                            {.m = size.out,
                             .n = size.points,
                             .k = size.in,
                             .lda = size.in,
                             .ldb = size.points,
                             .ldc = size.points,
                             .count = size.batch,
                             .stride_b = size.in * size.points,
                             .stride_c = size.out * size.points},
                            from.weight, from.x, nullptr, y);
}

/// dx = weight^T slope.
void input_gradient(Cuda cuda, const MixSize& size, const bf16* weight, const bf16* slope, const Into<bf16>& gradient) {
  cuda::product<bf16, bf16>(cuda,
                            {.m = size.in,
                             .n = size.points,
                             .k = size.out,
                             .lda = size.in,
                             .ldb = size.points,
                             .ldc = size.points,
                             .transpose_a = true,
                             .count = size.batch,
                             .stride_b = size.out * size.points,
                             .stride_c = size.in * size.points,
                             .beta = gradient.sum == Sum::adds ? 1.0 : 0.0},
                            weight, slope, nullptr, gradient.to);
}

template <class T>
void input_gradient(Cuda cuda, const MixSize& size, const T* weight, const T* slope, const Into<T>& gradient) {
  cuda::tiled_product(cuda,
                      {.batch = size.batch,
                       .m = size.in,
                       .n = size.points,
                       .k = size.out,
                       .a_m = 1,
                       .a_k = size.in,
                       .b_batch = size.out * size.points,
                       .b_k = size.points,
                       .b_n = 1},
                      weight, slope, StoreRows<T>{gradient.to, size.in, size.points, gradient.sum == Sum::adds});
}

/// Spans of points of one channel, one for each block of `sums_kernel`.
struct Spans {
  std::int64_t batch, channels, points, per_sample;
};

/// The sums over a span of the gradient before the GELU, and of it times the addend; on the way it and the addend's gradient are written.
template <class T>
__global__ void slope_kernel(Spans spans, const T* dy, const T* slope, const T* addend, const T* gate, T* gradient, T* d_addend,
                             Wide<T>* bias_parts, Wide<T>* gate_parts) {
  const std::int64_t part = blockIdx.x % (spans.batch * spans.per_sample), channel = blockIdx.x / (spans.batch * spans.per_sample);
  const std::int64_t sample = part / spans.per_sample, first = part % spans.per_sample * kPoints;
  const std::int64_t row = (sample * spans.channels + channel) * spans.points, last = min(first + kPoints, spans.points);
  Wide<T> sum = 0, gated = 0;
  for (std::int64_t point = first + threadIdx.x; point < last; point += kThreads) {
    Wide<T> value = cuda::compute(dy[row + point]);
    if (slope != nullptr) value *= cuda::compute(slope[row + point]);
    if (gradient != nullptr) gradient[row + point] = cuda::stored<T>(value);
    sum += value;
    if (gate_parts != nullptr) gated += value * cuda::compute(addend[row + point]);
    if (d_addend != nullptr) d_addend[row + point] = cuda::stored<T>((gate == nullptr ? Wide<T>(1) : cuda::compute(gate[channel])) * value);
  }
  if (bias_parts != nullptr) {
    const Wide<T> total = cuda::block_sum<kThreads>(sum);
    if (threadIdx.x == 0) bias_parts[part * spans.channels + channel] = total;
  }
  if (gate_parts != nullptr) {
    const Wide<T> total = cuda::block_sum<kThreads>(gated);
    if (threadIdx.x == 0) gate_parts[part * spans.channels + channel] = total;
  }
}

/// A parameter's gradient: sums over parts (parts, count).
template <class T>
struct Total {
  std::int64_t count = 0, parts = 0;
  const T* from = nullptr;
  T* to = nullptr;
  std::int64_t adds = 0;  // to what is there
};
template <class T>
struct Totals {
  Total<T> weight, bias, gate;
};

constexpr int kTotalColumns = 32, kTotalRows = 8;

std::int64_t blocks_of(std::int64_t count) { return cuda::divided_up<std::int64_t>(count, kTotalColumns); }

/// All of them in one launch: each row of threads adds up every eighth part, then the rows' sums are added in their order.
template <class T>
__global__ void __launch_bounds__(kTotalColumns* kTotalRows) totals_kernel(Totals<T> totals, std::int64_t of_weight, std::int64_t of_bias) {
  __shared__ T partial[kTotalRows][kTotalColumns];
  std::int64_t block = blockIdx.x;
  const bool is_weight = block < of_weight, is_bias = !is_weight && block < of_weight + of_bias;
  if (!is_weight) block -= is_bias ? of_weight : of_weight + of_bias;
  const Total<T> total = is_weight ? totals.weight : is_bias ? totals.bias : totals.gate;
  const std::int64_t i = block * kTotalColumns + threadIdx.x;
  T sum = 0;
  for (std::int64_t part = threadIdx.y; i < total.count && part < total.parts; part += kTotalRows)
    sum += total.from[part * total.count + i];
  partial[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || i >= total.count) return;
  for (int row = 1; row < kTotalRows; ++row) sum += partial[row][threadIdx.x];
  total.to[i] = total.adds != 0 ? total.to[i] + sum : sum;
}

template <class T>
void add_up(Cuda cuda, const Totals<T>& totals) {
  const std::int64_t of_weight = blocks_of(totals.weight.count), of_bias = blocks_of(totals.bias.count);
  cuda::launch_kernel(totals_kernel<T>, dim3(static_cast<unsigned>(of_weight + of_bias + blocks_of(totals.gate.count))),
                      dim3(kTotalColumns, kTotalRows), 0, cuda, totals, of_weight, of_bias);
}

/// Device memory of `count` numbers, or none.
template <class T>
class Numbers {
 public:
  Numbers(Cuda device, std::int64_t count) : block_(cuda::workspace(device, static_cast<std::size_t>(count) * sizeof(T))) {}
  T* data() const { return static_cast<T*>(block_.data()); }

 private:
  Block block_;
};

/// The terms of dW = sum over samples and points of slope x^T: one for each sample.
std::int64_t weight_parts(const MixSize& size, const bf16*) { return size.batch; }
void weight_gradient(Cuda cuda, const MixSize& size, const bf16* slope, const bf16* x, float* parts) {
  cuda::product<bf16, float>(cuda,
                             {.m = size.out,
                              .n = size.in,
                              .k = size.points,
                              .lda = size.points,
                              .ldb = size.points,
                              .ldc = size.in,
                              .transpose_b = true,
                              .count = size.batch,
                              .stride_a = size.out * size.points,
                              .stride_b = size.in * size.points,
                              .stride_c = size.out * size.in},
                             slope, x, nullptr, parts);
}

/// The same: one for each span of points. Few, long ones where there are many points, so that the terms stay small beside the fields.
std::int64_t weight_span(const MixSize& size) {
  return std::max(kPoints, cuda::divided_up(size.batch * size.points / 512, kPoints) * kPoints);
}
template <class T>
std::int64_t weight_parts(const MixSize& size, const T*) {
  return size.batch * cuda::divided_up(size.points, weight_span(size));
}
template <class T>
void weight_gradient(Cuda cuda, const MixSize& size, const T* slope, const T* x, T* parts) {
  cuda::tiled_product(cuda,
                      {.batch = weight_parts(size, x),
                       .m = size.out,
                       .n = size.in,
                       .k = size.points,
                       .a_batch = size.out * size.points,
                       .a_m = size.points,
                       .a_k = 1,
                       .b_batch = size.in * size.points,
                       .b_k = 1,
                       .b_n = size.points,
                       .parts = std::max<std::int64_t>(cuda::divided_up(size.points, weight_span(size)), 1),
                       .part_k = weight_span(size)},
                      slope, x, StoreRows<T>{parts, size.out, size.in});
}

}  // namespace

template <class T>
void mix_forward(Cuda cuda, const MixSize& size, const MixOperands<T>& from, T* slope, T* y) {
  const MixEnd<T> end{size, from, slope, y};
  if constexpr (std::is_same_v<T, bf16>) {
    mixed(cuda, size, from, y);
    const bool ends = size.gelu || from.bias != nullptr || from.addend != nullptr;
    constexpr std::int64_t kMostInY = 0xFFFF;  // the kernel strides over more
    const auto rows = static_cast<unsigned>(size.batch * size.out),
               spans = static_cast<unsigned>(std::min((size.points + kPoints - 1) / kPoints, kMostInY));
    if (ends) cuda::launch_kernel(end_kernel<T>, dim3(rows, spans), dim3(kThreads), 0, cuda, end);
  } else {
    cuda::tiled_product(cuda,
                        {.batch = size.batch,
                         .m = size.out,
                         .n = size.points,
                         .k = size.in,
                         .a_m = size.in,
                         .a_k = 1,
                         .b_batch = size.in * size.points,
                         .b_k = size.points,
                         .b_n = 1},
                        from.weight, from.x, end);
  }
}

template <class T>
void mix_backward(Cuda cuda, const MixSize& size, const MixOperands<T>& from, const T* slope, const T* dy, const MixGradients<T>& to) {
  using W = Wide<T>;
  const Spans spans{size.batch, size.out, size.points, cuda::divided_up(size.points, kPoints)};
  const std::int64_t parts = spans.batch * spans.per_sample, of_weight = weight_parts(size, from.x);
  const auto wanted = [](const Into<W>& gradient, std::int64_t count) { return gradient.to != nullptr ? count : 0; };
  const std::int64_t weights = wanted(to.weight, size.out * size.in), biases = wanted(to.bias, size.out), gates = wanted(to.gate, size.out);
  const Numbers<T> held(cuda, size.gelu ? size.batch * size.out * size.points : 0);
  const Numbers<W> weight(cuda, of_weight * weights), bias(cuda, parts * biases), gate(cuda, parts * gates);
  const bool passes = size.gelu || biases > 0 || gates > 0 || to.addend != nullptr;
  if (passes && parts * size.out > 0) {
    cuda::launch_kernel(slope_kernel<T>, dim3(static_cast<unsigned>(parts * size.out)), dim3(kThreads), 0, cuda, spans, dy,
                        size.gelu ? slope : static_cast<const T*>(nullptr), from.addend, from.gate, held.data(), to.addend, bias.data(),
                        gate.data());
  }
  const T* gradient = size.gelu ? held.data() : dy;
  if (to.x.to != nullptr) input_gradient(cuda, size, from.weight, gradient, to.x);
  if (weights > 0) weight_gradient(cuda, size, gradient, from.x, weight.data());
  const auto total = [](std::int64_t count, std::int64_t of, const Numbers<W>& from_parts, const Into<W>& into) {
    return Total<W>{count, of, from_parts.data(), into.to, into.sum == Sum::adds};
  };
  add_up<W>(cuda, {total(weights, of_weight, weight, to.weight), total(biases, parts, bias, to.bias), total(gates, parts, gate, to.gate)});
}

#define TRIDENT_CHANNEL_MIX(T)                                                       \
  template void mix_forward<T>(Cuda, const MixSize&, const MixOperands<T>&, T*, T*); \
  template void mix_backward<T>(Cuda, const MixSize&, const MixOperands<T>&, const T*, const T*, const MixGradients<T>&);
TRIDENT_CHANNEL_MIX(float)
TRIDENT_CHANNEL_MIX(double)
TRIDENT_CHANNEL_MIX(bf16)

}  // namespace trident
