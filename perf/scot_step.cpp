/// Question: how many samples a second do a training step and inference of Poseidon on 128x128 fields reach, what fraction of the machine's
/// f32 peak is that (on the CPU), and how many bytes do they hold? perf/peers/scot_step.py does the same work in PyTorch on the CPU, and
/// perf/gpu/peer.py on a GPU.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include "models/captured_model.h"
#include "models/losses.h"
#include "models/model.h"
#include "parallel/optimizer.h"
#include "perf/machine_limits.h"
#include "runtime/autograd/tape.h"
#include "runtime/config.h"
#include "runtime/device/allocator.h"
#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_graph.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

struct Options {
  std::string kind, model = "T";
  std::int64_t batch = 0;  // 0: 4 in training, 1 in inference
  double seconds = 10.0;
  Computing computing = DType::f32;
};

ConfigValue poseidon(const std::string& model) {
  const std::int64_t width = model == "L" ? 192 : model == "B" ? 96 : 48, depth = model == "T" ? 4 : 8;
  ConfigValue config = parse_json(R"({"type": "scot", "image_size": 128, "patch_size": 4, "num_channels": 4, "num_out_channels": 4,
    "num_heads": [3, 6, 12, 24], "skip_connections": [2, 2, 2, 0], "window_size": 16, "drop_path_rate": 0.0, "p": 1,
    "channel_slice_list_normalized_loss": [0, 1, 3, 4], "use_conditioning": true})",
                                  "poseidon.json");
  config.set("embed_dim", width);
  config.set("depths", ConfigValue::list({depth, depth, depth, depth}));
  return config;
}

Tensor random(const Shape& shape, std::uint64_t seed) {
  const Tensor x = empty(shape, DType::f32);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.data<float>()[i] = static_cast<float>(normal(RandomKey(seed), static_cast<std::uint64_t>(i)));
  return x;
}

/// Waits until the device has done what was put on it.
void wait_for(Device device) {
  if (device.kind == Device::Kind::cuda) current_stream(device).synchronize();
}

struct Result {
  std::int64_t batch;
  double samples_per_second, of_peak;
  double cpu_seconds_per_sample;                // of all threads: what a machine shared with others leaves comparable
  std::int64_t peak_bytes, system_allocations;  // allocations after the warm-up
  std::int64_t launches;                        // of a step, in graphs
};

/// The median over steps, after three that warm up.
template <class Step>
Result measure(const Options& options, std::int64_t batch, double flops_per_sample, Step&& step) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const Device device = options.computing.device;
  for (int warm_up = 0; warm_up < 3; ++warm_up) step();
  wait_for(device);
  reset_peak(device);
  const std::int64_t allocations = memory_counters(device).system_allocations, launches = launches_in_graphs();
  const std::clock_t cpu_start = std::clock();
  std::vector<double> durations;
  for (const auto start = Clock::now(); since(start) < options.seconds || durations.size() < 3;) {
    const auto begin = Clock::now();
    step();
    wait_for(device);
    durations.push_back(since(begin));
  }
  std::nth_element(durations.begin(), durations.begin() + static_cast<std::ptrdiff_t>(durations.size() / 2), durations.end());
  const double cpu = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC /
                     static_cast<double>(batch * static_cast<std::int64_t>(durations.size()));
  const double rate = static_cast<double>(batch) / durations[durations.size() / 2];
  const double of_peak = device.kind == Device::Kind::cpu ? rate * flops_per_sample / perf::peak_flops() : 0.0;
  return {batch,
          rate,
          of_peak,
          cpu,
          memory_counters(device).peak_bytes,
          memory_counters(device).system_allocations - allocations,
          (launches_in_graphs() - launches) / static_cast<std::int64_t>(durations.size())};
}

Fields fields_of(std::int64_t batch, const Options& options) {
  return on_device({.input = random({batch, 4, 128, 128}, 1),
                    .time = full({batch}, 0.5, DType::f32),
                    .pixel_mask = {},
                    .label = random({batch, 4, 128, 128}, 2)},
                   options.computing.device);
}

Result training(const Options& options) {
  const std::int64_t batch = options.batch > 0 ? options.batch : 4;
  const Mesh mesh;
  const Model model = describe_model(poseidon(options.model), mesh);
  const ParameterList parameters =
      materialize(model, options.computing.precision, Use::training, RandomKey(0), {}, options.computing.device);
  AdamW optimizer(parameters, {.max_grad_norm = 5.0}, {0.01}, [](const std::string&) { return 0; });
  const GlobalNorm norm(parameters, FlatShares(parameters, mesh));
  const Loss loss(model->loss(), model->num_out_channels(), LossScope::global, mesh);
  const Fields fields = fields_of(batch, options);
  Pass pass;
  pass.mode = Mode::train;
  pass.precision = options.computing.precision;
  const auto compute = [&] {
    parameters.start_gradients();
    const LossTotals totals = loss.totals(std::vector{fields.label});
    backward(loss.share(model(fields, model->prepare(), pass), fields.label, totals));
    parameters.complete_gradients();
    optimizer.apply(norm());
  };
  std::int64_t number = 0;
  std::optional<CudaGraph> graph;  // as the trainer has on a GPU
  return measure(options, batch, 3.0 * model->forward_flops(1, {}), [&] {
    optimizer.prepare(++number, std::vector{1e-4});
    if (options.computing.device.kind == Device::Kind::cpu) {
      compute();
    } else if (graph) {
      graph->launch();
    } else {
      graph.emplace(options.computing.device, compute);
    }
  });
}

Result inference(const Options& options) {
  const std::int64_t batch = options.batch > 0 ? options.batch : 1;
  const Model model = captured(describe_model(poseidon(options.model), Mesh()), Mesh(), options.computing.device);
  const ParameterList parameters =
      materialize(model, options.computing.precision, Use::inference, RandomKey(0), {}, options.computing.device);
  const Prepared prepared = model->prepare();
  const Fields fields = fields_of(batch, options);
  Pass pass;
  pass.precision = options.computing.precision;
  const Recording off(false);
  return measure(options, batch, model->forward_flops(1, {}), [&] { model(fields, prepared, pass); });
}

void print(const Options& options, const Result& result) {
  std::printf(
      "{\"threads\": %d, \"device\": \"%s\", \"precision\": \"%s\", \"model\": \"%s\", \"batch\": %lld, \"%s\": {\"samples_per_second\": "
      "%.3f, "
      "\"of_peak\": %.3f, \"cpu_seconds_per_sample\": %.4f, \"peak_bytes\": %lld, \"system_allocations\": %lld, \"launches\": %lld}}\n",
      omp_get_max_threads(), to_string(options.computing.device).c_str(), std::string(name_of(options.computing.precision)).c_str(),
      options.model.c_str(), static_cast<long long>(result.batch), options.kind.c_str(), result.samples_per_second, result.of_peak,
      result.cpu_seconds_per_sample, static_cast<long long>(result.peak_bytes), static_cast<long long>(result.system_allocations),
      static_cast<long long>(result.launches));
}

/// Nothing if the words are not understood.
std::optional<Options> options_from(const std::vector<std::string>& words) {
  Options options;
  if (words.empty() || (words[0] != "training" && words[0] != "inference")) return std::nullopt;
  options.kind = words[0];
  std::size_t at = 1;
  if (at < words.size() && !words[at].starts_with("--")) options.seconds = std::stod(words[at++]);
  for (; at + 1 < words.size(); at += 2) {
    const std::string &name = words[at], &value = words[at + 1];
    if (name == "--model") {
      options.model = value;
    } else if (name == "--batch") {
      options.batch = std::stoll(value);
    } else if (name == "--seconds") {
      options.seconds = std::stod(value);
    } else if (name == "--device") {
      options.computing.device.kind = value == "cuda" ? Device::Kind::cuda : Device::Kind::cpu;
    } else if (name == "--precision") {
      options.computing.precision = value == "bf16" ? DType::bf16 : DType::f32;
    } else {
      return std::nullopt;
    }
  }
  return at == words.size() ? std::optional(options) : std::nullopt;
}

}  // namespace
}  // namespace trident

/// Repeats the step so long; OMP_NUM_THREADS sets the threads. Prints one JSON object.
int main(int argc, char** argv) {
  const auto options = trident::options_from({argv + 1, argv + argc});
  if (!options) {
    std::fprintf(stderr,
                 "usage: scot_step training|inference [SECONDS] [--model T|B|L] [--batch N] [--device cpu|cuda] [--precision f32|bf16]\n");
    return 1;
  }
  try {
    trident::print(*options, options->kind == "training" ? trident::training(*options) : trident::inference(*options));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "scot_step: %s\n", error.what());
    return 1;
  }
}
