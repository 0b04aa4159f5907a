/// Question: how long does a training step of a Fourier neural operator take, and how much memory has the process at most?
/// perf/peers/fno_step.py does the same work with neuraloperator, perf/neural_operators.py runs both side by side.
#include <omp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/losses.h"
#include "models/model.h"
#include "parallel/gradient_reducer.h"
#include "parallel/messages.h"
#include "parallel/optimizer.h"
#include "parallel/session.h"
#include "runtime/autograd/tape.h"
#include "runtime/config.h"
#include "runtime/device/allocator.h"
#include "runtime/device/cuda_device.h"
#include "runtime/device/cuda_graph.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

struct Case {
  const char* model;
  std::int64_t batch, points;
};

const std::map<std::string, Case> kCases{
    {"darcy_fno", {R"({"type": "fno", "n_modes": [16, 16], "in_channels": 1, "out_channels": 1, "hidden_channels": 24})", 8, 16}},
    {"darcy_tfno", {R"({"type": "tfno", "n_modes": [16, 16], "in_channels": 1, "out_channels": 1, "hidden_channels": 24})", 8, 16}},
    {"large_fno", {R"({"type": "fno", "n_modes": [64, 64], "in_channels": 1, "out_channels": 1, "hidden_channels": 64})", 2, 128}},
    {"large_tfno", {R"({"type": "tfno", "n_modes": [64, 64], "in_channels": 1, "out_channels": 1, "hidden_channels": 64})", 2, 128}},
    {"mg_tfno",
     {R"({"type": "mg_tfno", "levels": 1, "n_modes": [32, 32], "in_channels": 1, "out_channels": 1, "hidden_channels": 64})", 4, 128}}};

Tensor random(const Shape& shape, std::uint64_t seed) {
  const Tensor x = empty(shape, DType::f32);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.data<float>()[i] = static_cast<float>(normal(RandomKey(seed), static_cast<std::uint64_t>(i)));
  return x;
}

struct Options {
  std::string name;
  double seconds = 5.0;
  Recompute recompute = Recompute::none;
  Device device = {};
  DType precision = DType::f32;
};

/// This rank's part of a batch.
Fields fields_of(const Case& work, const Model& model, const Mesh& mesh) {
  if (!model->patching()) {
    const Shape shape{work.batch, 1, work.points, work.points};
    return {.input = random(shape, 1), .time = {}, .pixel_mask = {}, .label = random(shape, 2)};
  }
  const PatchGrid grid(*model->patching(), work.points, work.points);
  const Range units = part_of(work.batch * grid.patches(), mesh.size(Axis::data), mesh.coordinate(Axis::data));
  return {.input = random({units.size(), grid.levels + 1, grid.window_rows(), grid.window_columns()}, 1),
          .time = {},
          .pixel_mask = {},
          .label = random({units.size(), 1, grid.rows + 2, grid.columns + 2}, 2),
          .ny = work.points,
          .nx = work.points,
          .patches = PatchUnits{.units = units, .samples = work.batch}};
}

struct Result {
  double seconds = 0.0;       // median over steps
  double cpu_seconds = 0.0;   // of all threads of this rank, the least of all steps: what a machine shared with others disturbs least
  std::int64_t launches = 0;  // of a step, in graphs
};

/// Repeats steps until `seconds` have passed, after two that warm up. All ranks do as many.
template <class Step>
Result measure(const Mesh& mesh, const Options& options, Step&& step) {
  using Clock = std::chrono::steady_clock;
  const auto timed_step = [&] {
    barrier(mesh.world());
    const auto start = Clock::now();
    step();
    if (options.device.kind == Device::Kind::cuda) current_stream(options.device).synchronize();
    barrier(mesh.world());
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  timed_step();
  const Tensor steps =
      from_values<std::int64_t>({1}, std::vector{std::max<std::int64_t>(3, static_cast<std::int64_t>(options.seconds / timed_step()))});
  mesh.world().all_reduce(steps, ReduceOp::min);
  std::vector<double> durations(static_cast<std::size_t>(steps.data<std::int64_t>()[0]));
  double cpu = std::numeric_limits<double>::infinity();
  const std::int64_t launches = launches_in_graphs();
  for (double& duration : durations) {
    const std::clock_t start = std::clock();
    duration = timed_step();
    cpu = std::min(cpu, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  std::nth_element(durations.begin(), durations.begin() + static_cast<std::ptrdiff_t>(durations.size() / 2), durations.end());
  return {durations[durations.size() / 2], cpu, (launches_in_graphs() - launches) / static_cast<std::int64_t>(durations.size())};
}

Result train(const Case& work, const Mesh& mesh, const Options& options) {
  const Model model = describe_model(parse_json(work.model, "model"), mesh);
  const ParameterList parameters = materialize(model, options.precision, Use::training, RandomKey(0), {}, options.device);
  GradientReducer reducer(parameters, FlatShares(parameters, mesh));
  AdamW optimizer(parameters, {.rule = AdamWRule::neuralop, .eps = 1e-6}, {1e-4}, [](const std::string&) { return 0; });
  LossDescription description = model->loss();
  description.norm = NormLoss{.kind = NormKind::h1};
  const Loss loss(description, model->num_out_channels(), LossScope::global, mesh);
  const Fields fields = on_device(fields_of(work, model, mesh), options.device);
  const GlobalNorm norm(parameters, FlatShares(parameters, mesh));
  Pass pass;
  pass.mode = Mode::train;
  pass.recompute = options.recompute;
  pass.precision = options.precision;
  const auto compute = [&] {
    parameters.start_gradients();
    const LossTotals totals = loss.totals({&fields, 1});
    backward(loss.share(model(fields, model->prepare(), pass), fields, totals), reducer.on_final());
    parameters.complete_gradients();
    reducer.finish();
    optimizer.apply(norm());
  };
  std::int64_t number = 0;
  std::optional<CudaGraph> graph;  // as the trainer has on a GPU
  return measure(mesh, options, [&] {
    optimizer.prepare(++number, std::vector{1e-4});
    if (options.device.kind == Device::Kind::cpu) {
      compute();
    } else if (graph) {
      graph->launch();
    } else {
      graph.emplace(options.device, compute);
    }
  });
}

std::int64_t peak_bytes_of_process() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

Options options_from(const std::vector<std::string>& words) {
  Options options;
  for (const std::string& word : words) {
    if (word == "--recompute") {
      options.recompute = Recompute::blocks;
    } else if (word == "--cuda") {
      options.device.kind = Device::Kind::cuda;
    } else if (word == "--bf16") {
      options.precision = DType::bf16;
    } else if (options.name.empty()) {
      options.name = word;
    } else {
      options.seconds = std::stod(word);
    }
  }
  if (kCases.contains(options.name)) return options;
  throw ConfigError("fno_step: give darcy_fno, darcy_tfno, large_fno, large_tfno or mg_tfno, and then seconds");
}

int run(const Session& session, const std::vector<std::string>& words) {
  const Options options = options_from(words);
  const Mesh mesh(session.world(), {session.world()->size(), 1, 1, 1});
  const Result result = train(kCases.at(options.name), mesh, options);
  if (mesh.world().rank() != 0) return 0;
  std::printf(
      "{\"case\": \"%s\", \"ranks\": %d, \"threads\": %d, \"device\": \"%s\", \"precision\": \"%s\", \"seconds_per_step\": %.6f, "
      "\"cpu_seconds_per_step\": %.6f, \"process_bytes\": %lld, \"tensor_bytes\": %lld, \"launches\": %lld}\n",
      options.name.c_str(), mesh.world().size(), omp_get_max_threads(), to_string(options.device).c_str(),
      std::string(name_of(options.precision)).c_str(), result.seconds, result.cpu_seconds, static_cast<long long>(peak_bytes_of_process()),
      static_cast<long long>(memory_counters(options.device).peak_bytes), static_cast<long long>(result.launches));
  return 0;
}

}  // namespace
}  // namespace trident

/// [mpirun -n RANKS] fno_step CASE [SECONDS] [--recompute] [--cuda] [--bf16]: repeats the step that long; OMP_NUM_THREADS sets the threads
/// of a rank. With --recompute blocks keep no activations (training.activation_checkpointing); --cuda: a step of one rank as a graph on a
/// GPU, with --bf16 in that precision. Prints one JSON object.
int main(int argc, char** argv) {
  return trident::run_job([&](trident::Session& session) { return trident::run(session, {argv + 1, argv + argc}); });
}
