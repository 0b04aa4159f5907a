/// Question: what fraction of the machine's f32 peak do the matrix products of Poseidon-T reach, forward and backward, at the sizes
/// of its four levels (128x128 fields, batch 4)?
#include <benchmark/benchmark.h>

#include "perf/machine_limits.h"
#include "runtime/autograd/tape.h"
#include "runtime/ops/matmul.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr double kSmall = 0.01;  // values: products stay far from overflow and from subnormals

Tensor values(const Shape& shape) { return full(shape, kSmall, DType::f32); }

void report(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(flops / perf::peak_flops(), benchmark::Counter::kIsIterationInvariantRate);
}

/// Runs fn(leaves) forward (and backward, twice the operations) until the clock is satisfied.
template <class Fn>
void run(benchmark::State& state, bool backward, double forward_flops, std::vector<Tensor> operands, Fn&& fn) {
  if (backward) {
    for (Tensor& operand : operands) operand = leaf(operand);
  }
  for (auto _ : state) {
    const Tensor y = fn(operands);
    if (backward) benchmark::DoNotOptimize(gradients(y, y.detached(), operands));
  }
  report(state, forward_flops * (backward ? 3 : 1));
}

void linear_of(benchmark::State& state, bool backward) {
  const std::int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  run(state, backward, 2.0 * static_cast<double>(rows * in * out), {values({rows, in}), values({out, in}), values({out})},
      [](const std::vector<Tensor>& x) { return linear(x[0], x[1], x[2]); });
}

void mlp_of(benchmark::State& state, bool backward) {
  const std::int64_t rows = state.range(0), d = state.range(1), hidden = 4 * d;
  run(state, backward, 4.0 * static_cast<double>(rows * d * hidden),
      {values({rows, d}), values({hidden, d}), values({hidden}), values({d, hidden}), values({d})},
      [](const std::vector<Tensor>& x) { return mlp(x[0], x[1], x[2], x[3], x[4]); });
}

void levels_qkv(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "in", "out"})->Args({4096, 48, 144})->Args({1024, 96, 288})->Args({256, 192, 576})->Args({64, 384, 1152});
}
void levels_mlp(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "d"})->Args({4096, 48})->Args({1024, 96})->Args({256, 192})->Args({64, 384});
}

BENCHMARK_CAPTURE(linear_of, forward, false)->Apply(levels_qkv)->UseRealTime();
BENCHMARK_CAPTURE(linear_of, with_backward, true)->Apply(levels_qkv)->UseRealTime();
BENCHMARK_CAPTURE(mlp_of, forward, false)->Apply(levels_mlp)->UseRealTime();
BENCHMARK_CAPTURE(mlp_of, with_backward, true)->Apply(levels_mlp)->UseRealTime();

}  // namespace
}  // namespace trident
