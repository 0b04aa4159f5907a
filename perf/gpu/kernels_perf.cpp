/// Question: what fraction of a GPU's limits do the kernels of scOT reach: window attention of the rate of a large bf16 product (cuBLASLt's
/// own), layer norm and AdamW of the bandwidth of a large copy within its memory? Shapes of Poseidon T, B and L at 128x128, one level at a
/// time. And are products that end in a norm or in GELU faster than both by themselves? Prints one JSON object a line: what was timed,
/// microseconds a call (the median of several series), and its rate against the limit.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_graph.h"
#include "runtime/kernels/adamw.h"
#include "runtime/kernels/attention.h"
#include "runtime/kernels/elementwise.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/linear_norm.h"
#include "runtime/kernels/matmul.h"
#include "runtime/kernels/mlp.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/random.h"

namespace trident {
namespace {

constexpr Device kGpu{Device::Kind::cuda, 0};

Cuda gpu() { return current_cuda("kernels_perf", kGpu); }

/// Random numbers, the same in every part of the tensor: zeros would be faster than what a model has.
Tensor numbers(const Shape& shape, DType dtype, double size = 1.0) {
  constexpr std::int64_t kPattern = 1 << 16;
  std::vector<float> values(static_cast<std::size_t>(std::min(kPattern, std::max<std::int64_t>(numel(shape), 1))));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(size * normal(RandomKey(1), i));
  std::vector<float> all(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = values[i % values.size()];
  const Tensor result = empty(shape, dtype, kGpu);
  copy_into(result, from_values<float>(shape, all));
  return result;
}

/// Seconds of one call: the median of series long enough that the start of a series does not count.
double seconds_of(const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  CudaStream& stream = current_stream(kGpu);
  const auto series = [&](int calls) {
    stream.synchronize();
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    stream.synchronize();
    return std::chrono::duration<double>(Clock::now() - start).count() / calls;
  };
  series(3);
  constexpr double kSeriesSeconds = 0.05;
  const int calls = std::clamp(static_cast<int>(kSeriesSeconds / series(5)), 5, 2000);
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) times.push_back(series(calls));
  std::nth_element(times.begin(), times.begin() + 2, times.end());
  return times[2];
}

/// The same of what ends before the host has launched the next: many in a graph.
double seconds_in_graph(const std::function<void()>& call) {
  constexpr int kCalls = 50;
  CudaGraph graph(kGpu, [&] {
    for (int i = 0; i < kCalls; ++i) call();
  });
  return seconds_of([&] { graph.launch(); }) / kCalls;
}

/// Floating-point operations a second of a product of 8192 x 8192 numbers of bf16.
double tensor_limit() {
  constexpr std::int64_t kSide = 8192;
  const Tensor a = numbers({kSide, kSide}, DType::bf16), b = numbers({kSide, kSide}, DType::bf16),
               c = empty({kSide, kSide}, DType::bf16, kGpu);
  const Products size{.count = 1, .m = kSide, .n = kSide, .k = kSide, .transpose_b = true, .stride_c = kSide * kSide};
  return 2.0 * kSide * kSide * kSide / seconds_of([&] { multiply<bf16>(gpu(), size, a.data<bf16>(), b.data<bf16>(), {c.data<bf16>()}); });
}

/// Bytes a second, read and written, of a copy of 1 GiB within the device.
double copy_limit() {
  const Tensor from = numbers({std::int64_t{1} << 28}, DType::f32), to = empty_like(from);
  return 2.0 * static_cast<double>(from.num_bytes()) / seconds_of([&] { copy_into(to, from); });
}

void report(const std::string& name, double seconds, double work, double limit, const char* unit) {
  std::printf("{\"kernel\": \"%s\", \"microseconds\": %.2f, \"%s\": %.4g, \"of_limit\": %.3f}\n", name.c_str(), seconds * 1e6, unit,
              work / seconds, work / seconds / limit);
  std::fflush(stdout);
}

/// A level of a model: `tokens` a side, `heads` of `head_size` numbers.
struct Level {
  const char* name;
  std::int64_t batch, side, heads, head_size;
};

template <class T>
void time_attention(const Level& level, double limit) {
  using W = Wide<T>;
  const std::int64_t window = std::min<std::int64_t>(16, level.side), width = level.heads * level.head_size;
  WindowAttentionSize size{.batch = level.batch,
                           .ny = level.side,
                           .nx = level.side,
                           .heads = level.heads,
                           .head_size = level.head_size,
                           .grid = {.window = window},
                           .dropout = {}};
  if (level.side > window)
    size.grid = {.window = window, .roll = 8, .mask_shift = 8, .global_rows = level.side, .global_columns = level.side};
  const Tensor qkv = numbers({level.batch, level.side, level.side, 3 * width}, dtype_of<T>),
               dy = numbers({level.batch, level.side, level.side, width}, dtype_of<T>);
  const Tensor scale = numbers({level.heads}, dtype_of<W>), bias = numbers({level.heads, size.offsets()}, dtype_of<W>, 4.0);
  const Tensor y = empty_like(dy), log_sums = empty({level.heads * size.tasks_per_head() * size.tokens()}, dtype_of<W>, kGpu);
  const Tensor dqkv = empty_like(qkv), dscale = empty_like(scale), dbias = empty_like(bias),
               dqkv_bias = empty({3 * width}, dtype_of<W>, kGpu);
  const WindowAttentionInputs<T> in{qkv.data<T>(), scale.data<W>(), bias.data<W>()};
  const double products = 2.0 * static_cast<double>(level.heads * size.tasks_per_head() * size.tokens() * size.tokens() * level.head_size);
  const std::string name = concat("attention ", name_of(dtype_of<T>), " ", level.name, " batch ", level.batch);
  report(name + " forward", seconds_of([&] { window_attention_forward<T>(gpu(), size, in, y.data<T>(), log_sums.data<W>()); }),
         2 * products, limit, "flops");
  report(name + " backward", seconds_of([&] {
           window_attention_backward<T>(gpu(), size, in, {y.data<T>(), log_sums.data<W>()}, dy.data<T>(),
                                        {dqkv.data<T>(), {dscale.data<W>()}, {dbias.data<W>()}, {dqkv_bias.data<W>()}});
         }),
         5 * products, limit, "flops");
}

template <class T>
void time_layer_norm(const Level& level, double limit) {
  using W = Wide<T>;
  const NormRows size{.samples = level.batch, .rows = level.side * level.side, .width = level.heads * level.head_size};
  const Shape rows{size.count, size.width};
  const Tensor x = numbers(rows, dtype_of<T>), residual = numbers(rows, dtype_of<T>), y = empty_like(x), dx = empty_like(x);
  const Tensor affine = numbers({4, size.width}, dtype_of<W>), sums = zeros({4, size.width}, dtype_of<W>, kGpu),
               time = numbers({size.samples}, dtype_of<W>);
  const Tensor mean = empty({size.count}, dtype_of<W>, kGpu), rstd = empty_like(mean);
  const auto row = [&](const Tensor& of, int i) { return of.template data<W>() + i * size.width; };
  const NormNumbers<W> by_time{row(affine, 0), row(affine, 1), row(affine, 2), row(affine, 3), time.data<W>()};
  const double array = static_cast<double>(x.num_bytes());
  const std::string name = concat("layer norm ", name_of(dtype_of<T>), " ", level.name, " batch ", level.batch);
  const bool carries = dtype_of<T> == DType::bf16;  // as blocks do
  const Tensor rest = numbers(rows, dtype_of<T>), y_rest = empty_like(x);
  const NormResidual<T> onto{residual.data<T>(), carries ? rest.data<T>() : nullptr, carries ? y_rest.data<T>() : nullptr};
  report(name + " forward",
         seconds_of([&] { layer_norm<T>(gpu(), size, 1e-5, x.data<T>(), by_time, onto, y.data<T>(), mean.data<W>(), rstd.data<W>()); }),
         (carries ? 5 : 3) * array, limit, "bytes_per_second");
  const NormGradient<T> gradient{x.data<T>(),
                                 y.data<T>(),
                                 by_time,
                                 mean.data<W>(),
                                 rstd.data<W>(),
                                 dx.data<T>(),
                                 {{row(sums, 0)}, {row(sums, 1)}, {row(sums, 2)}, {row(sums, 3)}}};
  report(name + " backward", seconds_of([&] { layer_norm_gradient<T>(gpu(), size, gradient); }), 3 * array, limit, "bytes_per_second");
}

/// A prediction's product that ends in its norm, and after it product and norm by themselves: which is faster, and up to how many rows?
void time_linear_norm(std::int64_t rows, std::int64_t in, std::int64_t out, double limit) {
  const LinearSize size{.rows = rows, .in = in, .out = out};
  const NormRows norm{.samples = 1, .rows = rows, .width = out};
  const Tensor x = numbers({rows, in}, DType::bf16), weight = numbers({out, in}, DType::bf16), bias = numbers({out}, DType::bf16);
  const Tensor sum = numbers({rows, out}, DType::bf16), rest = numbers({rows, out}, DType::bf16, 1e-3), between = empty_like(sum),
               y = empty_like(sum), y_rest = empty_like(sum), affine = numbers({4, out}, DType::f32), time = numbers({1}, DType::f32),
               mean = empty({rows}, DType::f32, kGpu), rstd = empty_like(mean);
  const auto row = [&](int i) { return affine.data<float>() + i * out; };
  const NormNumbers<float> by_time{row(0), row(1), row(2), row(3), time.data<float>()};
  const NormResidual<bf16> onto{sum.data<bf16>(), rest.data<bf16>(), y_rest.data<bf16>()};
  const double bytes = 2.0 * static_cast<double>(rows * in + in * out + 4 * rows * out);
  const std::string name = concat(" of ", rows, " rows, ", in, " to ", out);
  if (fits_linear_norm(size)) {
    const LinearNorm at{x.data<bf16>(), weight.data<bf16>(), bias.data<bf16>(), by_time, onto, y.data<bf16>()};
    report("linear_norm" + name, seconds_in_graph([&] { linear_norm(gpu(), size, norm, 1e-5, at); }), bytes, limit, "bytes_per_second");
  }
  report("product and norm" + name, seconds_in_graph([&] {
           linear_forward<bf16>(gpu(), size, x.data<bf16>(), weight.data<bf16>(), bias.data<bf16>(), between.data<bf16>());
           layer_norm<bf16>(gpu(), norm, 1e-5, between.data<bf16>(), by_time, onto, y.data<bf16>(), mean.data<float>(), rstd.data<float>());
         }),
         bytes, limit, "bytes_per_second");
}

/// An MLP's first product that ends in GELU, and after it product and GELU by themselves, which a training step could have as well.
void time_hidden(std::int64_t rows, std::int64_t in, double limit) {
  const MlpSize size{.rows = rows, .in = in, .hidden = 4 * in};
  const Tensor x = numbers({rows, in}, DType::bf16), up = numbers({size.hidden, in}, DType::bf16),
               bias = numbers({size.hidden}, DType::bf16);
  const Tensor before = empty({rows, size.hidden}, DType::bf16, kGpu), after = empty_like(before);
  const double flops = 2.0 * static_cast<double>(rows * in * size.hidden);
  const std::string name = concat(" of ", rows, " rows, ", in, " to ", size.hidden);
  report("product in GELU" + name, seconds_of([&] {
           mlp_hidden<bf16>(gpu(), size, x.data<bf16>(), {.up = up.data<bf16>(), .up_bias = bias.data<bf16>()}, before.data<bf16>(),
                            after.data<bf16>());
         }),
         flops, limit, "flops");
  report("product and GELU" + name, seconds_of([&] {
           linear_forward<bf16>(gpu(), {rows, in, size.hidden}, x.data<bf16>(), up.data<bf16>(), bias.data<bf16>(), before.data<bf16>());
           unary<bf16>(gpu(), {Unary::gelu}, before.numel(), before.data<bf16>(), after.data<bf16>());
         }),
         flops, limit, "flops");
}

void time_adamw(std::int64_t size, double limit) {
  constexpr std::int64_t kBlock = 1 << 14;  // as the optimiser has them
  std::vector<FlatBlock> blocks;
  for (std::int64_t begin = 0; begin < size; begin += kBlock) blocks.push_back({begin, std::min(size, begin + kBlock), begin, 0, 0});
  const auto words_of = [](const void* values, std::size_t bytes) {
    std::vector<std::int64_t> words(bytes / sizeof(std::int64_t));
    std::memcpy(words.data(), values, bytes);
    return to_device(from_values<std::int64_t>({static_cast<std::int64_t>(words.size())}, words), kGpu);
  };
  const AdamWStep step{.max_norm = 5.0, .correction1 = 0.5, .correction2 = 0.5, .groups = {{1e-4, 0.1}}};
  const Tensor table = words_of(blocks.data(), blocks.size() * sizeof(FlatBlock)), numbers_of_step = words_of(&step, sizeof step);
  const Tensor value = numbers({size}, DType::f32), gradient = numbers({size}, DType::f32), first = numbers({size}, DType::f32);
  const Tensor second = full({size}, 1.0, DType::f32, kGpu), copy = empty({size}, DType::bf16, kGpu);
  const Tensor norm = to_device(from_values<double>({1}, std::vector{1.0}), kGpu),
               sums = empty({static_cast<std::int64_t>(blocks.size())}, DType::f64, kGpu);
  const FlatBlocks all{reinterpret_cast<const FlatBlock*>(table.data<std::int64_t>()), static_cast<std::int64_t>(blocks.size())};
  const AdamWBuffers<float> buffers{value.data<float>(), gradient.data<float>(), first.data<float>(), second.data<float>(),
                                    copy.data<bf16>()};
  const auto* shared = reinterpret_cast<const AdamWStep*>(numbers_of_step.data<std::int64_t>());
  const double elements = static_cast<double>(size);
  report(concat("adamw of ", size, " elements"), seconds_of([&] { adamw<float>(gpu(), shared, all, norm.data<double>(), buffers); }),
         30 * elements, limit, "bytes_per_second");
  report(concat("sums of squares of ", size, " elements"),
         seconds_of([&] { sums_of_squares<float>(gpu(), all, gradient.data<float>(), sums.data<double>()); }), 4 * elements, limit,
         "bytes_per_second");
}

int run() {
  if (cuda_device_count() == 0) {
    std::fprintf(stderr, "kernels_perf: no CUDA device\n");
    return 1;
  }
  const double tensor = tensor_limit(), copy = copy_limit();
  std::printf("{\"device\": \"%s\", \"tensor_limit_flops\": %.4g, \"copy_limit_bytes_per_second\": %.4g}\n",
              device_properties(kGpu).name.c_str(), tensor, copy);
  for (const Level& level : {Level{"L level 0", 64, 32, 3, 64},
                             {"L level 1", 64, 16, 6, 64},
                             {"L level 2", 64, 8, 12, 64},
                             {"B level 0", 128, 32, 3, 32},
                             {"T level 0", 256, 32, 3, 16}}) {
    time_attention<bf16>(level, tensor);
    time_attention<float>(level, tensor);
    time_layer_norm<bf16>(level, copy);
    time_layer_norm<float>(level, copy);
  }
  for (const std::int64_t batch : {1, 8}) {
    for (const std::int64_t level : {0, 1, 2, 3}) {
      const std::int64_t rows = batch * (1024 >> 2 * level), width = 48 << level;  // of T
      time_linear_norm(rows, width, width, copy);
      time_linear_norm(rows, 4 * width, width, copy);
    }
  }
  time_hidden(64 * 1024, 48, tensor);   // T
  time_hidden(16 * 1024, 192, tensor);  // L
  time_adamw(std::int64_t{157} << 20, copy);
  return 0;
}

}  // namespace
}  // namespace trident

int main() {
  try {
    return trident::run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernels_perf: %s\n", error.what());
    return 1;
  }
}
