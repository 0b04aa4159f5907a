/// Question: what fraction of the time that its operations and bytes need does the spectral convolution reach? The limit is the sum over
/// its three parts (to modes, product per mode, back) of the longer of arithmetic at the peak and memory at the stream's rate; a weight is
/// read once forward, and once more and its gradient written backward.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "models/layers/spectral_conv.h"
#include "perf/machine_limits.h"
#include "runtime/autograd/tape.h"
#include "runtime/device/allocator.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

enum class Passes { forward, both };

/// Seconds of a convolution of (batch, channels, n, n) with `modes` per side: one pass.
double limit_of_pass(double batch, double channels, double n, double modes, double weight_passes) {
  const double half = modes / 2 + 1, fields = batch * channels;
  const double seconds_per_flop = 1.0 / perf::peak_flops(), seconds_per_byte = 1.0 / perf::stream_bandwidth();
  // Products of mirrored points, added and subtracted, with the matrices of cosines and sines: rows, then the kept columns. Points are
  // mirrored at a quarter of the grid too, which halves them once more; the yardstick stays as it was.
  const double pairs = n / 2 + 1, transform_flops = fields * (4 * n * pairs * half + 8 * (modes / 2 + 1) * pairs * half),
               field_bytes = 4 * fields * n * n, mode_bytes = 8 * fields * modes * half;
  const double transform = std::max(transform_flops * seconds_per_flop, (field_bytes + mode_bytes) * seconds_per_byte);
  const double weight_bytes = 8 * channels * channels * modes * half;
  const double product = std::max(8 * batch * channels * channels * modes * half * seconds_per_flop * weight_passes,
                                  weight_passes * weight_bytes * seconds_per_byte);
  return 2 * transform + product;
}

void spectral_conv(benchmark::State& state, Passes passes, Factorization factorization) {
  const std::int64_t batch = state.range(0), channels = state.range(1), n = state.range(2), modes = state.range(3);
  SpectralConv conv(
      {.in_channels = channels, .out_channels = channels, .n_modes = {modes, modes}, .factorization = factorization, .rank = 0.1}, Mesh());
  const ParameterList parameters = materialize([&](const ParameterVisitor& visitor) { walk(conv, visitor); }, DType::f32,
                                               passes == Passes::both ? Use::training : Use::inference, RandomKey(1));
  const Tensor x = full({batch, channels, n, n}, 0.5, DType::f32), dy = full({1}, 1.0, DType::f32);
  for (auto _ : state) {
    if (passes == Passes::forward) {
      benchmark::DoNotOptimize(conv(x));
      continue;
    }
    const Tensor y = conv(leaf(x));
    backward(record("start", dy, {y}, [gradient = y.detached()](const Tensor&, Wanted) { return std::vector{gradient}; }));
  }
  const auto limit = [&](double weight_passes) {
    return limit_of_pass(static_cast<double>(batch), static_cast<double>(channels), static_cast<double>(n), static_cast<double>(modes),
                         weight_passes);
  };
  if (factorization == Factorization::dense) {
    // The gradient of the weight is added to: read and written.
    state.counters["of_limit"] =
        benchmark::Counter(limit(1) + (passes == Passes::both ? limit(3) : 0.0), benchmark::Counter::kIsIterationInvariantRate);
  }
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"batch", "channels", "points", "modes"})
      ->Args({2, 64, 128, 64})
      ->Args({8, 24, 16, 16})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}
BENCHMARK_CAPTURE(spectral_conv, dense_forward, Passes::forward, Factorization::dense)->Apply(sizes);
BENCHMARK_CAPTURE(spectral_conv, dense_both, Passes::both, Factorization::dense)->Apply(sizes);
BENCHMARK_CAPTURE(spectral_conv, tucker_forward, Passes::forward, Factorization::tucker)->Apply(sizes);
BENCHMARK_CAPTURE(spectral_conv, tucker_both, Passes::both, Factorization::tucker)->Apply(sizes);

}  // namespace
}  // namespace trident
