/// Question: how many samples a second do a training step (batch 4) and inference (batch 1) of Poseidon-T on 128x128 fields reach, what
/// fraction of the machine's f32 peak is that, and how many bytes do they hold? perf/peers/scot_step.py does the same work in PyTorch.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <cstdio>
#include <string>
#include <vector>

#include "models/losses.h"
#include "models/model.h"
#include "parallel/optimizer.h"
#include "perf/machine_limits.h"
#include "runtime/autograd/tape.h"
#include "runtime/config.h"
#include "runtime/device/allocator.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr const char* kPoseidonT = R"({"type": "scot", "image_size": 128, "patch_size": 4, "num_channels": 4, "num_out_channels": 4,
  "embed_dim": 48, "depths": [4, 4, 4, 4], "num_heads": [3, 6, 12, 24], "skip_connections": [2, 2, 2, 0], "window_size": 16,
  "drop_path_rate": 0.0, "p": 1, "channel_slice_list_normalized_loss": [0, 1, 3, 4], "use_conditioning": true})";

Tensor random(const Shape& shape, std::uint64_t seed) {
  const Tensor x = empty(shape, DType::f32);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(normal(RandomKey(seed), static_cast<std::uint64_t>(i)));
  return x;
}

struct Result {
  double samples_per_second, of_peak;
  double cpu_seconds_per_sample;  // of all threads: what a machine shared with others leaves comparable
  std::int64_t peak_bytes, system_allocations;  // allocations after the warm-up
};

/// The median over steps, after two that warm up.
template <class Step>
Result measure(std::int64_t batch, double flops_per_sample, double seconds, Step&& step) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
  step(), step();
  reset_peak({});
  const std::int64_t allocations = memory_counters({}).system_allocations;
  const std::clock_t cpu_start = std::clock();
  std::vector<double> durations;
  for (const auto start = Clock::now(); since(start) < seconds || durations.size() < 3;) {
    const auto begin = Clock::now();
    step();
    durations.push_back(since(begin));
  }
  std::nth_element(durations.begin(), durations.begin() + static_cast<std::ptrdiff_t>(durations.size() / 2), durations.end());
  const double cpu = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC / static_cast<double>(batch * static_cast<std::int64_t>(durations.size()));
  const double rate = static_cast<double>(batch) / durations[durations.size() / 2];
  return {rate, rate * flops_per_sample / perf::peak_flops(), cpu, memory_counters({}).peak_bytes,
          memory_counters({}).system_allocations - allocations};
}

Result training(double seconds) {
  constexpr std::int64_t kBatch = 4;
  const Mesh mesh;
  const Model model = describe_model(parse_json(kPoseidonT, "poseidon_t.json"), mesh);
  const ParameterList parameters = materialize(model, DType::f32, Use::training, RandomKey(0));
  AdamW optimizer(parameters, {.max_grad_norm = 5.0}, {0.01}, [](const std::string&) { return 0; });
  const Loss loss(model->loss(), model->num_out_channels(), LossScope::global, mesh);
  const Fields fields{.input = random({kBatch, 4, 128, 128}, 1), .time = full({kBatch}, 0.5, DType::f32), .pixel_mask = {}, .label = random({kBatch, 4, 128, 128}, 2)};
  Pass pass;
  pass.mode = Mode::train;
  std::int64_t number = 0;
  return measure(kBatch, 3.0 * model->forward_flops(1, {}), seconds, [&] {
    parameters.zero_gradients();
    const LossTotals totals = loss.totals(std::vector{fields.label});
    backward(loss.share(model(fields, model->prepare(), pass), fields.label, totals));
    optimizer.update(++number, std::vector{1e-4}, global_norm(parameters, mesh));
  });
}

Result inference(double seconds) {
  const Model model = describe_model(parse_json(kPoseidonT, "poseidon_t.json"), Mesh());
  const ParameterList parameters = materialize(model, DType::f32, Use::inference, RandomKey(0));
  const Prepared prepared = model->prepare();
  const Fields fields{.input = random({1, 4, 128, 128}, 1), .time = full({1}, 0.5, DType::f32), .pixel_mask = {}, .label = {}};
  return measure(1, model->forward_flops(1, {}), seconds, [&] { model(fields, prepared, {}); });
}

void print(const char* name, const Result& result) {
  std::printf("{\"threads\": %d, \"%s\": {\"samples_per_second\": %.3f, \"of_peak\": %.3f, \"cpu_seconds_per_sample\": %.4f, \"peak_bytes\": %lld, "
              "\"system_allocations\": %lld}}\n",
              omp_get_max_threads(), name, result.samples_per_second, result.of_peak, result.cpu_seconds_per_sample,
              static_cast<long long>(result.peak_bytes), static_cast<long long>(result.system_allocations));
}

}  // namespace
}  // namespace trident

/// scot_step training|inference [SECONDS]: repeats the step that long; OMP_NUM_THREADS sets the threads. Prints one JSON object.
int main(int argc, char** argv) {
  const std::string kind = argc > 1 ? argv[1] : "";
  const double seconds = argc > 2 ? std::stod(argv[2]) : 10.0;
  if (kind == "training") {
    trident::print("training", trident::training(seconds));
  } else if (kind == "inference") {
    trident::print("inference", trident::inference(seconds));
  } else {
    std::fprintf(stderr, "usage: scot_step training|inference [SECONDS]\n");
    return 1;
  }
}
