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
void input_gradient(Cuda cuda, const MixSize& size, const bf16* weight, const bf16* slope, bf16* gradient) {
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
                             .stride_c = size.in * size.points},
                            weight, slope, nullptr, gradient);
}

template <class T>
void input_gradient(Cuda cuda, const MixSize& size, const T* weight, const T* slope, T* gradient) {
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
                      weight, slope, StoreRows<T>{gradient, size.in, size.points});
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

/// total[i] = the sum over parts, in their order.
template <class T>
__global__ void add_parts_kernel(std::int64_t count, std::int64_t parts, const T* partial, T* total) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  T sum = 0;
  for (std::int64_t part = 0; part < parts; ++part) sum += partial[part * count + i];
  total[i] = sum;
}

template <class T>
void add_parts(Cuda cuda, std::int64_t count, std::int64_t parts, const T* partial, T* total) {
  if (count == 0) return;
  cuda::launch_kernel(add_parts_kernel<T>, dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)), dim3(kThreads), 0, cuda, count,
                      parts, partial, total);
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

/// dW = sum over samples and points of slope x^T: samples side by side, then their sums in order.
void weight_gradient(Cuda cuda, const MixSize& size, const bf16* slope, const bf16* x, float* gradient) {
  const Numbers<float> partial(cuda, size.batch * size.out * size.in);
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
                             slope, x, nullptr, partial.data());
  add_parts<float>(cuda, size.out * size.in, size.batch, partial.data(), gradient);
}

/// The same: spans side by side, then their sums in order.
template <class T>
void weight_gradient(Cuda cuda, const MixSize& size, const T* slope, const T* x, T* gradient) {
  // Few, long spans where there are many points, so that partial sums stay small beside the fields.
  const std::int64_t span = std::max(kPoints, (size.batch * size.points / 512 + kPoints - 1) / kPoints * kPoints);
  const std::int64_t per_sample = (size.points + span - 1) / span, parts = size.batch * per_sample;
  const Numbers<T> partial(cuda, parts * size.out * size.in);
  cuda::tiled_product(cuda,
                      {.batch = parts,
                       .m = size.out,
                       .n = size.in,
                       .k = size.points,
                       .a_batch = size.out * size.points,
                       .a_m = size.points,
                       .a_k = 1,
                       .b_batch = size.in * size.points,
                       .b_k = 1,
                       .b_n = size.points,
                       .parts = std::max<std::int64_t>(per_sample, 1),
                       .part_k = span},
                      slope, x, StoreRows<T>{partial.data(), size.out, size.in});
  add_parts<T>(cuda, size.out * size.in, parts, partial.data(), gradient);
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
  const Spans spans{size.batch, size.out, size.points, (size.points + kPoints - 1) / kPoints};
  const std::int64_t parts = spans.batch * spans.per_sample;
  const Numbers<T> held(cuda, size.gelu ? size.batch * size.out * size.points : 0);
  const Numbers<Wide<T>> bias(cuda, to.bias != nullptr ? parts * size.out : 0), gate(cuda, to.gate != nullptr ? parts * size.out : 0);
  const bool passes = size.gelu || to.bias != nullptr || to.gate != nullptr || to.addend != nullptr;
  if (passes && parts * size.out > 0) {
    cuda::launch_kernel(slope_kernel<T>, dim3(static_cast<unsigned>(parts * size.out)), dim3(kThreads), 0, cuda, spans, dy,
                        size.gelu ? slope : static_cast<const T*>(nullptr), from.addend, from.gate, held.data(), to.addend, bias.data(),
                        gate.data());
  }
  if (to.bias != nullptr) add_parts(cuda, size.out, parts, static_cast<const Wide<T>*>(bias.data()), to.bias);
  if (to.gate != nullptr) add_parts(cuda, size.out, parts, static_cast<const Wide<T>*>(gate.data()), to.gate);
  const T* gradient = size.gelu ? held.data() : dy;
  if (to.x != nullptr) input_gradient(cuda, size, from.weight, gradient, to.x);
  if (to.weight != nullptr) weight_gradient(cuda, size, gradient, from.x, to.weight);
}

#define TRIDENT_CHANNEL_MIX(T)                                                       \
  template void mix_forward<T>(Cuda, const MixSize&, const MixOperands<T>&, T*, T*); \
  template void mix_backward<T>(Cuda, const MixSize&, const MixOperands<T>&, const T*, const T*, const MixGradients<T>&);
TRIDENT_CHANNEL_MIX(float)
TRIDENT_CHANNEL_MIX(double)
TRIDENT_CHANNEL_MIX(bf16)

}  // namespace trident
