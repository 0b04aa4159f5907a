/// Question: what fraction of the machine's f32 peak does window attention reach at the four levels of Poseidon-T (128x128 fields, batch
/// 4), counting only its matrix products (2 forward; 5 backward and 1 recomputed)?
#include <benchmark/benchmark.h>

#include "perf/machine_limits.h"
#include "runtime/autograd/tape.h"
#include "runtime/ops/attention.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

Tensor random(const Shape& shape, std::uint64_t seed) {
  const Tensor x = empty(shape, DType::f32);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.data<float>()[i] = static_cast<float>(normal(RandomKey(seed), static_cast<std::uint64_t>(i)));
  return x;
}

void attention_of(benchmark::State& state, bool backward) {
  const std::int64_t side = state.range(0), window = state.range(1), heads = state.range(2), head_size = 16, batch = 4,
                     tokens = window * window, offsets = (2 * window - 1) * (2 * window - 1);
  std::vector<Tensor> operands{random({batch, side, side, 3, heads, head_size}, 1), random({heads}, 2), random({heads, offsets}, 3)};
  if (backward) {
    for (Tensor& operand : operands) operand = leaf(operand);
  }
  for (auto _ : state) {
    const Tensor y = window_attention(operands[0], operands[1], operands[2], {.window = window});
    if (backward) benchmark::DoNotOptimize(gradients(y, y.detached(), operands));
  }
  const double flops = (backward ? 8.0 : 2.0) * 2.0 * static_cast<double>(batch * side * side * tokens * heads * head_size);
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(flops / perf::peak_flops(), benchmark::Counter::kIsIterationInvariantRate);
}

void levels(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"side", "window", "heads"})->Args({32, 16, 3})->Args({16, 16, 6})->Args({8, 8, 12})->Args({4, 4, 24});
}

BENCHMARK_CAPTURE(attention_of, forward, false)->Apply(levels)->UseRealTime();
BENCHMARK_CAPTURE(attention_of, with_backward, true)->Apply(levels)->UseRealTime();

}  // namespace
}  // namespace trident
