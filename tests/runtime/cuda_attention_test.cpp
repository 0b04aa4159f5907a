#include <algorithm>
#include <cmath>

#include "runtime/kernels/attention.h"
#include "runtime/kernels/position_bias.h"
#include "runtime/ops/elementwise.h"
#include "runtime/ops/reduce.h"
#include "tests/runtime/cuda_kernels.h"

namespace trident {
namespace {

using namespace testing;

template <class T>
class CudaAttention : public OnGpu {};
using Numbers = ::testing::Types<float, double, bf16>;
TYPED_TEST_SUITE(CudaAttention, Numbers);

/// Gradients are sums of terms of both signs.
template <class T>
constexpr double kGradientTolerance = kTolerance<T>*(sizeof(T) == 2 ? 2 : 4);

double norm_of(const Tensor& x) {
  double squares = 0;
  for (const double value : to_host<double>(x)) squares += value * value;
  return std::sqrt(squares);
}
Tensor twice(const Tensor& x) { return affine(x, 2.0); }

template <class T>
void compare(const WindowAttentionSize& size, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.batch, " grids of ", size.ny, " x ", size.nx, ", ", size.heads, " heads of ", size.head_size, ", window ",
                      size.grid.window, ", roll ", size.grid.roll, ", mask ", size.grid.mask_shift, ", dropout ",
                      size.dropout.probability));
  using W = Wide<T>;
  const Tensor qkv = random_numbers({size.batch, size.ny, size.nx, 3, size.heads, size.head_size}, seed);
  const Tensor dy = random_numbers({size.batch, size.ny, size.nx, size.heads * size.head_size}, seed + 1);
  const Tensor logit_scale = random_numbers({size.heads}, seed + 2), position_bias = random_numbers({size.heads, size.offsets()}, seed + 3);
  // One scale past ln 100, which has no gradient. Not in bf16: a scale of 100 makes as many times more of y's rounding.
  if (size.heads > 0 && sizeof(T) > 2) logit_scale.data<double>()[0] = 4.75;
  const auto at = [](const Tensor& tensor) { return tensor.data<double>(); };
  const Tensor y = empty_like(dy), dqkv = empty_like(qkv), dscale = empty_like(logit_scale), dbias = empty_like(position_bias);
  const WindowAttentionInputs<double> in{at(qkv), at(logit_scale), at(position_bias)};
  window_attention_forward<double>(Cpu{}, size, in, at(y), nullptr);
  window_attention_backward<double>(Cpu{}, size, in, {}, at(dy), {at(dqkv), {at(dscale)}, {at(dbias)}});

  const auto gat = [](const Tensor& tensor) { return tensor.data<T>(); };
  const auto wide = [](const Tensor& tensor) { return tensor.data<W>(); };
  const Tensor gqkv = on_gpu<T>(qkv), gdy = on_gpu<T>(dy), gscale = on_gpu<W>(logit_scale), gbias = on_gpu<W>(position_bias);
  const Tensor gy = room<T>(y.shape()), log_sums = room<W>({size.heads * size.tasks_per_head() * size.tokens()});
  const Tensor gdqkv = room<T>(qkv.shape()), gdscale = room<W>(logit_scale.shape()), gdbias = room<W>(position_bias.shape());
  const Tensor dqkv_bias = sum(dqkv, {0, 1, 2}), gdqkv_bias = room<W>(dqkv_bias.shape());
  const WindowAttentionInputs<T> gin{gat(gqkv), wide(gscale), wide(gbias)};
  window_attention_forward<T>(gpu(), size, gin, gat(gy), wide(log_sums));
  window_attention_backward<T>(gpu(), size, gin, {gat(gy), wide(log_sums)}, gat(gdy),
                               {gat(gdqkv), {wide(gdscale)}, {wide(gdbias)}, {wide(gdqkv_bias)}});
  EXPECT_TENSOR_NEAR(back(gy), y, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdqkv), dqkv, kGradientTolerance<T>);
  // A scale's gradient is a sum over windows of terms of both signs, about 1 each: bf16 is near beside that, not beside what is left.
  const double windows = std::sqrt(static_cast<double>(size.heads * size.tasks_per_head())), norm = norm_of(dscale);
  const double tolerance = kGradientTolerance<T> * (sizeof(T) == 2 && norm > 0 ? std::max(1.0, windows / norm) : 1.0);
  EXPECT_TENSOR_NEAR(back(gdscale), dscale, tolerance);
  EXPECT_TENSOR_NEAR(back(gdbias), dbias, kGradientTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdqkv_bias), dqkv_bias, kGradientTolerance<T>);
  // The same once more on top of it.
  window_attention_backward<T>(gpu(), size, gin, {gat(gy), wide(log_sums)}, gat(gdy),
                               {gat(gdqkv), {wide(gdscale), Sum::adds}, {wide(gdbias), Sum::adds}, {wide(gdqkv_bias), Sum::adds}});
  EXPECT_TENSOR_NEAR(back(gdscale), twice(dscale), 2 * tolerance);
  EXPECT_TENSOR_NEAR(back(gdbias), twice(dbias), 2 * kGradientTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdqkv_bias), twice(dqkv_bias), 2 * kGradientTolerance<T>);
  // What is not wanted changes nothing else.
  const Tensor again = room<T>(qkv.shape()), without = room<T>(y.shape());
  window_attention_forward<T>(gpu(), size, gin, gat(without), nullptr);
  window_attention_backward<T>(gpu(), size, gin, {gat(gy), wide(log_sums)}, gat(gdy), {gat(again), {}, {}});
  EXPECT_TENSOR_NEAR(back(without), back(gy), 0);
  EXPECT_TENSOR_NEAR(back(again), back(gdqkv), 0);
}

constexpr AttentionDropout kDropout{.probability = 0.25, .key = RandomKey(7), .first_sample = 5, .first_head = 2};

TYPED_TEST(CudaAttention, HeadsOfEverySizeAgreeWithTheCpu) {
  std::uint64_t seed = 1;
  for (const std::int64_t head_size : {1, 8, 16, 20, 32, 33, 64, 80, 128}) {
    compare<TypeParam>({.batch = 1, .ny = 4, .nx = 8, .heads = 2, .head_size = head_size, .grid = {.window = 4}, .dropout = {}}, seed);
    seed += 10;
  }
}

TYPED_TEST(CudaAttention, WindowsOfEverySizeAgreeWithTheCpu) {
  std::uint64_t seed = 101;
  for (const std::int64_t window : {1, 2, 3, 7, 8, 9, 12}) {
    compare<TypeParam>({.batch = 2, .ny = window, .nx = 2 * window, .heads = 1, .head_size = 16, .grid = {.window = window}, .dropout = {}},
                       seed);
    seed += 10;
  }
  compare<TypeParam>({.batch = 1, .ny = 16, .nx = 16, .heads = 1, .head_size = 32, .grid = {.window = 16}, .dropout = {}}, seed);
}

TYPED_TEST(CudaAttention, ShiftedWindowsOfAPartOfTheGridAgreeWithTheCpu) {
  compare<TypeParam>({.batch = 2,
                      .ny = 8,
                      .nx = 8,
                      .heads = 2,
                      .head_size = 8,
                      .grid = {.window = 4, .roll = 2, .mask_shift = 2, .global_rows = 8, .global_columns = 8},
                      .dropout = {}},
                     201);
  compare<TypeParam>(
      {.batch = 1,
       .ny = 10,
       .nx = 5,
       .heads = 1,
       .head_size = 16,
       .grid = {.window = 5, .roll = 7, .mask_shift = 2, .first_row = 5, .first_column = 10, .global_rows = 15, .global_columns = 15},
       .dropout = kDropout},
      202);
}

TYPED_TEST(CudaAttention, DropoutDropsWhatTheCpuDrops) {
  compare<TypeParam>({.batch = 2, .ny = 6, .nx = 12, .heads = 2, .head_size = 16, .grid = {.window = 6}, .dropout = kDropout}, 301);
}

TYPED_TEST(CudaAttention, ManyWindowsPerPartOfTheGradientsAgreeWithTheCpu) {
  compare<TypeParam>({.batch = 70, .ny = 2, .nx = 4, .heads = 2, .head_size = 8, .grid = {.window = 2}, .dropout = {}}, 401);
}

TYPED_TEST(CudaAttention, NoSamplesAndNoHeadsGiveGradientsOfZero) {
  compare<TypeParam>({.batch = 0, .ny = 4, .nx = 4, .heads = 2, .head_size = 8, .grid = {.window = 2}, .dropout = {}}, 501);
  compare<TypeParam>({.batch = 1, .ny = 4, .nx = 4, .heads = 0, .head_size = 8, .grid = {.window = 2}, .dropout = {}}, 502);
}

/// Several attentions at once against the CPU, in f64 there: values, and gradients on top of what was there.
template <class T>
void compare_position_biases(PositionBiasSize size, const std::vector<std::int64_t>& heads) {
  SCOPED_TRACE(concat(size.offsets, " offsets, ", size.hidden, " hidden numbers, ", heads.size(), " attentions"));
  const Tensor coordinates = random_tensor({size.offsets, 2}, 1), there = to_device(coordinates, kGpu);
  struct Attention {
    Tensor up, up_bias, down, y, slopes, dy, dup, dup_bias, ddown;
  };
  std::vector<Attention> cpu, gpu_side;
  std::vector<PositionBias<double>> biases;
  std::vector<PositionBiasGradient<double>> gradients;
  std::vector<PositionBias<T>> gpu_biases;
  std::vector<PositionBiasGradient<T>> gpu_gradients;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const auto make = [&, seed = 10 * i](const Shape& shape, std::uint64_t number) { return random_numbers(shape, seed + number); };
    const Shape up{size.hidden, 2}, up_bias{size.hidden}, down{heads[i], size.hidden}, y{heads[i], size.offsets};
    const Attention& a = cpu.emplace_back(Attention{make(up, 2), make(up_bias, 3), make(down, 4), make(y, 5), make(y, 5), make(y, 6),
                                                    make(up, 7), make(up_bias, 8), make(down, 9)});
    const auto at = [](const Tensor& x) { return x.data<double>(); };
    const PositionBiasWeights<double> weights{heads[i], at(a.up), at(a.up_bias), at(a.down)};
    biases.push_back({weights, at(a.y), at(a.slopes)});
    const Attention& g = gpu_side.emplace_back(Attention{on_gpu<T>(a.up), on_gpu<T>(a.up_bias), on_gpu<T>(a.down), room<T>(y), room<T>(y),
                                                         on_gpu<T>(a.dy), on_gpu<T>(a.dup), room<T>(up_bias), on_gpu<T>(a.ddown)});
    const auto gat = [](const Tensor& x) { return x.data<T>(); };
    const PositionBiasWeights<T> gpu_weights{heads[i], gat(g.up), gat(g.up_bias), gat(g.down)};
    gpu_biases.push_back({gpu_weights, gat(g.y), gat(g.slopes)});
    gradients.push_back({weights, at(a.slopes), at(a.dy), {at(a.dup), Sum::adds}, {at(a.dup_bias)}, {at(a.ddown), Sum::adds}});
    gpu_gradients.push_back({gpu_weights, gat(g.slopes), gat(g.dy), {gat(g.dup), Sum::adds}, {gat(g.dup_bias)}, {gat(g.ddown), Sum::adds}});
  }
  position_biases<double>(Cpu{}, size, coordinates.data<double>(), biases);
  position_bias_gradients<double>(Cpu{}, size, coordinates.data<double>(), gradients);
  position_biases<T>(gpu(), size, there.data<double>(), gpu_biases);
  position_bias_gradients<T>(gpu(), size, there.data<double>(), gpu_gradients);
  for (std::size_t i = 0; i < heads.size(); ++i) {
    EXPECT_TENSOR_NEAR(back(gpu_side[i].y), cpu[i].y, kTolerance<T>);
    EXPECT_TENSOR_NEAR(back(gpu_side[i].dup), cpu[i].dup, kTolerance<T>);
    EXPECT_TENSOR_NEAR(back(gpu_side[i].dup_bias), cpu[i].dup_bias, kTolerance<T>);
    EXPECT_TENSOR_NEAR(back(gpu_side[i].ddown), cpu[i].ddown, kTolerance<T>);
  }
}

class CudaPositionBias : public OnGpu {};

TEST_F(CudaPositionBias, BiasesAndGradientsAgreeWithTheCpu) {
  compare_position_biases<double>({.offsets = 300, .hidden = 40}, {3, 1, 17});  // several strips of offsets, heads in several rounds
  compare_position_biases<float>({.offsets = 9, .hidden = 512}, {2, 6});
  compare_position_biases<double>({.offsets = 1, .hidden = 3}, std::vector<std::int64_t>(40, 2));  // more attentions than a launch takes
}

}  // namespace
}  // namespace trident
