#include <cstring>
#include <limits>
#include <vector>

#include "runtime/kernels/adamw.h"
#include "tests/runtime/cuda_kernels.h"

namespace trident {
namespace {

using namespace testing;

class CudaAdamW : public OnGpu {};

/// A table or structure as words on the device.
template <class Value>
Tensor words_on_gpu(const Value* values, std::size_t count) {
  std::vector<std::int64_t> words(count * sizeof(Value) / sizeof(std::int64_t));
  std::memcpy(words.data(), values, count * sizeof(Value));
  return to_device(from_values<std::int64_t>({static_cast<std::int64_t>(words.size())}, words), kGpu);
}

enum class Rule { torch, neuralop };

constexpr std::int64_t kSize = 5000;
// Blocks that begin and end anywhere, with moments aligned alike and otherwise, short ones, and one of no elements.
const std::vector<FlatBlock> kBlocks{{0, 3, 0, 0, 0},       {4, 2052, 0, 1, 0},    {2054, 2100, 0, 0, 1}, {2101, 2104, 0, 1, 0},
                                     {2200, 4204, 0, 0, 1}, {4207, 4999, 0, 1, 0}, {4999, 4999, 0, 0, 0}};
const AdamWStep kStep{.beta1 = 0.9,
                      .beta2 = 0.95,
                      .eps = 1e-6,
                      .max_norm = 5.0,
                      .correction1 = 0.19,
                      .correction2 = 0.0975,
                      .groups = {{1e-2, 0.1}, {3e-3, 0.0}}};

template <class T>
void compare(Rule rule, double norm) {
  SCOPED_TRACE(concat(rule == Rule::torch ? "torch" : "neuralop", ", norm ", norm));
  std::vector<FlatBlock> blocks = kBlocks;
  std::int64_t place = 0, second_place = 0;
  for (FlatBlock& block : blocks) {  // moments one after the other, most of them aligned unlike the values
    block.place = place, block.second = second_place;
    const std::int64_t size = block.end - block.begin, gap = block.group == 1 ? 2 : 0;
    place += size + gap;
    second_place += (rule == Rule::neuralop && block.complex != 0 ? size / 2 : size) + gap;
  }
  const Tensor value = random_numbers({kSize}, 1), gradient = random_numbers({kSize}, 2), first = random_numbers({kSize}, 3);
  const Tensor second = random_numbers({kSize}, 4);
  for (double& number : std::span(second.data<double>(), kSize)) number *= number;
  const Tensor norms = from_values<double>({1}, std::vector{norm}), gnorm = to_device(norms, kGpu);
  const Tensor gvalue = on_gpu<T>(value), ggradient = on_gpu<T>(gradient), gfirst = on_gpu<T>(first), gsecond = on_gpu<T>(second);
  const Tensor gcopy = on_gpu<bf16>(value), gstep = words_on_gpu(&kStep, 1), gblocks = words_on_gpu(blocks.data(), blocks.size());
  const FlatBlocks on_host{blocks.data(), static_cast<std::int64_t>(blocks.size())};
  const FlatBlocks on_device{reinterpret_cast<const FlatBlock*>(gblocks.data<std::int64_t>()), on_host.count};
  const auto* device_step = reinterpret_cast<const AdamWStep*>(gstep.data<std::int64_t>());
  const AdamWBuffers<double> buffers{value.data<double>(), gradient.data<double>(), first.data<double>(), second.data<double>()};
  const AdamWBuffers<T> gbuffers{gvalue.data<T>(), ggradient.data<T>(), gfirst.data<T>(), gsecond.data<T>(), gcopy.data<bf16>()};
  if (rule == Rule::torch) {
    adamw(Cpu{}, &kStep, on_host, norms.data<double>(), buffers);
    adamw(gpu(), device_step, on_device, gnorm.data<double>(), gbuffers);
  } else {
    neuralop_adamw(Cpu{}, &kStep, on_host, norms.data<double>(), buffers);
    neuralop_adamw(gpu(), device_step, on_device, gnorm.data<double>(), gbuffers);
  }
  EXPECT_TENSOR_NEAR(back(gvalue), value, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gfirst), first, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gsecond), second, kTolerance<T>);
  EXPECT_TENSOR_NEAR(back(gcopy), as(as(as(value, dtype_of<T>), DType::bf16), DType::f64), 1e-3);
}

TEST_F(CudaAdamW, UpdatesAgreeWithTheCpu) {
  for (const Rule rule : {Rule::torch, Rule::neuralop}) {
    for (const double norm : {2.0, 12.5}) {
      compare<float>(rule, norm);
      compare<double>(rule, norm);
    }
  }
}

TEST_F(CudaAdamW, ANormThatIsNotFiniteWritesNothing) {
  for (const double norm : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    compare<float>(Rule::torch, norm);
    compare<double>(Rule::neuralop, norm);
  }
}

template <class T>
void compare_sums() {
  std::vector<FlatBlock> blocks = kBlocks;
  for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i].place = static_cast<std::int64_t>(blocks.size() - 1 - i);
  const Tensor x = random_numbers({kSize}, 11), sums = empty({static_cast<std::int64_t>(blocks.size())}, DType::f64);
  sums_of_squares(Cpu{}, {blocks.data(), static_cast<std::int64_t>(blocks.size())}, x.data<double>(), sums.data<double>());
  const Tensor gx = on_gpu<T>(x), gblocks = words_on_gpu(blocks.data(), blocks.size()), gsums = room<double>(sums.shape());
  const FlatBlocks on_device{reinterpret_cast<const FlatBlock*>(gblocks.data<std::int64_t>()), static_cast<std::int64_t>(blocks.size())};
  sums_of_squares(gpu(), on_device, gx.data<T>(), gsums.data<double>());
  EXPECT_TENSOR_NEAR(back(gsums), sums, 1e-14);
}

TEST_F(CudaAdamW, SumsOfSquaresAgreeWithTheCpu) {
  compare_sums<float>();
  compare_sums<double>();
}

}  // namespace
}  // namespace trident
