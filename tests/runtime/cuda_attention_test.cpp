#include <cmath>

#include "runtime/kernels/attention.h"
#include "runtime/kernels/relative_bias.h"
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

template <class T>
void compare(const WindowAttentionSize& size, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.batch, " grids of ", size.ny, " x ", size.nx, ", ", size.heads, " heads of ", size.head_size, ", window ",
                      size.grid.window, ", roll ", size.grid.roll, ", mask ", size.grid.mask_shift, ", dropout ",
                      size.dropout.probability));
  using W = Wide<T>;
  const Tensor qkv = random_numbers({size.batch, size.ny, size.nx, 3, size.heads, size.head_size}, seed);
  const Tensor dy = random_numbers({size.batch, size.ny, size.nx, size.heads * size.head_size}, seed + 1);
  const Tensor logit_scale = random_numbers({size.heads}, seed + 2),
               position_bias = random_numbers({size.heads, size.tokens(), size.tokens()}, seed + 3);
  // One scale past ln 100, which has no gradient. Not in bf16: a scale of 100 makes as many times more of y's rounding.
  if (size.heads > 0 && sizeof(T) > 2) logit_scale.data<double>()[0] = 4.75;
  const auto at = [](const Tensor& tensor) { return tensor.data<double>(); };
  const Tensor y = empty_like(dy), dqkv = empty_like(qkv), dscale = empty_like(logit_scale), dbias = empty_like(position_bias);
  const WindowAttentionInputs<double> in{at(qkv), at(logit_scale), at(position_bias)};
  window_attention_forward<double>(Cpu{}, size, in, at(y), nullptr);
  window_attention_backward<double>(Cpu{}, size, in, {}, at(dy), {at(dqkv), at(dscale), at(dbias)});

  const auto gat = [](const Tensor& tensor) { return tensor.data<T>(); };
  const auto wide = [](const Tensor& tensor) { return tensor.data<W>(); };
  const Tensor gqkv = on_gpu<T>(qkv), gdy = on_gpu<T>(dy), gscale = on_gpu<W>(logit_scale), gbias = on_gpu<W>(position_bias);
  const Tensor gy = room<T>(y.shape()), log_sums = room<W>({size.heads * size.tasks_per_head() * size.tokens()});
  const Tensor gdqkv = room<T>(qkv.shape()), gdscale = room<W>(logit_scale.shape()), gdbias = room<W>(position_bias.shape());
  const WindowAttentionInputs<T> gin{gat(gqkv), wide(gscale), wide(gbias)};
  window_attention_forward<T>(gpu(), size, gin, gat(gy), wide(log_sums));
  window_attention_backward<T>(gpu(), size, gin, {gat(gy), wide(log_sums)}, gat(gdy), {gat(gdqkv), wide(gdscale), wide(gdbias)});
  EXPECT_TENSOR_NEAR(back(gy), y, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdqkv), dqkv, kGradientTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdscale), dscale, kGradientTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gdbias), dbias, kGradientTolerance<T>);
  // What is not wanted changes nothing else.
  const Tensor again = room<T>(qkv.shape()), without = room<T>(y.shape());
  window_attention_forward<T>(gpu(), size, gin, gat(without), nullptr);
  window_attention_backward<T>(gpu(), size, gin, {gat(gy), wide(log_sums)}, gat(gdy), {gat(again), nullptr, nullptr});
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
  for (const std::int64_t window : {1, 2, 3, 7, 9, 12}) {
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

template <class T>
void compare_relative_bias(RelativeBiasSize size, const std::vector<std::int64_t>& index, std::uint64_t seed) {
  SCOPED_TRACE(concat(size.positions, " positions, ", size.heads, " heads, ", size.pairs, " pairs"));
  const Tensor table = random_numbers({size.positions, size.heads}, seed), dy = random_numbers({size.heads, size.pairs}, seed + 1);
  const Tensor pairs = from_values<std::int64_t>({size.pairs}, index), y = empty_like(dy), dtable = empty_like(table);
  relative_bias<double>(Cpu{}, size, table.data<double>(), pairs.data<std::int64_t>(), y.data<double>());
  relative_bias_gradient<double>(Cpu{}, size, dy.data<double>(), pairs.data<std::int64_t>(), dtable.data<double>());
  const Tensor gtable = on_gpu<T>(table), gdy = on_gpu<T>(dy), gpairs = to_device(pairs, kGpu), gy = room<T>(y.shape()),
               gdtable = room<T>(table.shape());
  relative_bias<T>(gpu(), size, gtable.template data<T>(), gpairs.template data<std::int64_t>(), gy.template data<T>());
  relative_bias_gradient<T>(gpu(), size, gdy.template data<T>(), gpairs.template data<std::int64_t>(), gdtable.template data<T>());
  EXPECT_TENSOR_NEAR(back(gy), y, 0);
  EXPECT_TENSOR_NEAR(back(gdtable), dtable, kTolerance<T>);
}

template <class T>
void compare_relative_biases() {
  std::vector<std::int64_t> index;
  for (std::int64_t i = 0; i < 1000; ++i) index.push_back(i * i % 37 % 20);  // every warp meets positions several times
  compare_relative_bias<T>({.positions = 20, .heads = 3, .pairs = 1000}, index, 601);
  for (std::int64_t i = 0; i < 1000; ++i) index[static_cast<std::size_t>(i)] = i * 7919 % 2100;  // more positions than a block has
  compare_relative_bias<T>({.positions = 2100, .heads = 2, .pairs = 1000}, index, 602);
  compare_relative_bias<T>({.positions = 5, .heads = 2, .pairs = 0}, {}, 603);
}

class CudaRelativeBias : public OnGpu {};

TEST_F(CudaRelativeBias, BiasesAndGradientsAgreeWithTheCpu) {
  compare_relative_biases<float>();
  compare_relative_biases<double>();
}

}  // namespace
}  // namespace trident
