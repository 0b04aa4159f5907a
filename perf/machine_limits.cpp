#include "perf/machine_limits.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "runtime/kernels/vector.h"

namespace trident::perf {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The best of several runs: other work on the machine only ever makes one slower.
template <class Work>
double best_seconds(Work&& work) {
  double best = 1e30;
  for (int run = 0; run < 7; ++run) {
    const auto start = Clock::now();
    work();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

double measure_flops() {
  constexpr int kSums = 12, kRounds = 1 << 20;  // enough independent sums to hide the latency of a multiply-add
  std::vector<float> results(static_cast<std::size_t>(omp_get_max_threads()));
  const double seconds = best_seconds([&] {
#pragma omp parallel
    {
      using Vector = cpu::Vector<float>;
      Vector sums[kSums];
      for (int i = 0; i < kSums; ++i) sums[i] = cpu::broadcast(static_cast<float>(i));
      const Vector factor = cpu::broadcast(0.999F), add = cpu::broadcast(1e-3F);
      for (int round = 0; round < kRounds; ++round) {
        for (Vector& sum : sums) sum = sum * factor + add;
      }
      Vector total{};
      for (const Vector& sum : sums) total += sum;
      results[static_cast<std::size_t>(omp_get_thread_num())] = total[0];
    }
  });
  return 2.0 * kSums * kRounds * cpu::kLanes<float> * omp_get_max_threads() / seconds;
}

double measure_bandwidth() {
  constexpr std::int64_t kNumbers = std::int64_t{1} << 26;
  std::vector<float> x(kNumbers, 1.0F), y(kNumbers, 2.0F);
  const double seconds = best_seconds([&] {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < kNumbers; ++i) y[static_cast<std::size_t>(i)] += 0.5F * x[static_cast<std::size_t>(i)];
  });
  return 3.0 * sizeof(float) * kNumbers / seconds;
}

}  // namespace

double peak_flops() {
  static const double flops = measure_flops();
  return flops;
}

double stream_bandwidth() {
  static const double bandwidth = measure_bandwidth();
  return bandwidth;
}

}  // namespace trident::perf
