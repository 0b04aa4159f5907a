/// Question: what fraction of the machine's memory bandwidth does the conditional layer norm with its residual addition reach, forward
/// (x and residual read, y written) and backward (x, dy read, dx written)? Rows of Poseidon-T's first level, and enough of them to leave
/// the caches.
#include <benchmark/benchmark.h>

#include "perf/machine_limits.h"
#include "runtime/autograd/tape.h"
#include "runtime/ops/layer_norm.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

void report(benchmark::State& state, double bytes) {
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_stream"] = benchmark::Counter(bytes / perf::stream_bandwidth(), benchmark::Counter::kIsIterationInvariantRate);
}

void layer_norm_of(benchmark::State& state, bool backward) {
  const std::int64_t batch = state.range(0), tokens = state.range(1), d = state.range(2);
  const Tensor x = full({batch, tokens, d}, 0.5, DType::f32), residual = full({batch, tokens, d}, 0.25, DType::f32);
  const Tensor ones = full({d}, 1.0, DType::f32), zero = zeros({d}, DType::f32), time = full({batch}, 0.5, DType::f32);
  const std::vector<Tensor> leaves{leaf(x), leaf(ones), leaf(zero), leaf(zero), leaf(zero)};
  const NormAffine affine{leaves[1], leaves[2], leaves[3], leaves[4], time};
  const double array = static_cast<double>(x.num_bytes());
  for (auto _ : state) {
    if (backward) {
      const Tensor y = layer_norm(leaves[0], affine, 1e-5, residual);
      benchmark::DoNotOptimize(gradients(y, y.detached(), leaves));
    } else {
      benchmark::DoNotOptimize(layer_norm(x, affine, 1e-5, residual));
    }
  }
  report(state, array * (backward ? 6 : 3));
}

BENCHMARK_CAPTURE(layer_norm_of, forward, false)
    ->ArgNames({"batch", "tokens", "d"})
    ->Args({4, 1024, 48})
    ->Args({64, 4096, 48})
    ->UseRealTime();
BENCHMARK_CAPTURE(layer_norm_of, with_backward, true)
    ->ArgNames({"batch", "tokens", "d"})
    ->Args({4, 1024, 48})
    ->Args({64, 4096, 48})
    ->UseRealTime();

}  // namespace
}  // namespace trident
