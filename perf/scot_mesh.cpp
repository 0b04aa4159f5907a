/// Question: how long does a training step of Poseidon-T take on a mesh, where does the time go, how many bytes does a rank hold beside its
/// weights while the step runs, and how many does it send? The global batch is the same on every mesh, so that times compare with those of
/// one rank.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "launch/trainer/profile.h"
#include "models/losses.h"
#include "models/model.h"
#include "parallel/gradient_reducer.h"
#include "parallel/messages.h"
#include "parallel/optimizer.h"
#include "parallel/session.h"
#include "runtime/autograd/tape.h"
#include "runtime/config.h"
#include "runtime/device/allocator.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

struct Work {
  std::int64_t points = 128, batch = 8, steps = 3;
  TokensBetween tokens = TokensBetween::alike;
  Sharding sharding = Sharding::none;
};

std::string poseidon_t(std::int64_t points) {
  return concat(R"({"type": "scot", "image_size": )", points, R"(, "patch_size": 4, "num_channels": 4, "num_out_channels": 4,
  "embed_dim": 48, "depths": [4, 4, 4, 4], "num_heads": [3, 6, 12, 24], "skip_connections": [2, 2, 2, 0], "window_size": 16,
  "drop_path_rate": 0.0, "p": 1, "channel_slice_list_normalized_loss": [0, 1, 3, 4], "use_conditioning": true})");
}

Tensor random(const Shape& shape, std::uint64_t seed) {
  const Tensor x = empty(shape, DType::f32);
  for (std::int64_t i = 0; i < x.numel(); ++i)
    x.data<float>()[i] = static_cast<float>(normal(RandomKey(seed), static_cast<std::uint64_t>(i)));
  return x;
}

/// Processor seconds of this process, and of the calling thread alone.
double cpu_seconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct RankResult {
  std::vector<double> seconds;
  std::int64_t weight_bytes = 0, activation_bytes = 0, sent_bytes = 0;
  double computing_cpu = 1e9, other_cpu = 1e9;  // seconds of the cheapest step, of the computing thread and of the others
};

class Training {
 public:
  static constexpr std::int64_t kWarmUp = 6;

  Training(const Mesh& mesh, const Work& work)
      : mesh_(mesh),
        work_(work),
        model_(describe_model(parse_json(poseidon_t(work.points), "poseidon_t.json"), mesh)),
        parameters_(materialize(model_, DType::f32, Use::training, RandomKey(0))),
        shares_(parameters_, mesh, work.sharding),
        reducer_(parameters_, shares_),
        norm_(parameters_, shares_),
        optimizer_(
            parameters_, {.max_grad_norm = 5.0}, {0.01}, [](const std::string&) { return 0; }, shares_),
        loss_(model_->loss(), model_->num_out_channels(), LossScope::global, mesh),
        weight_bytes_(memory_counters({}).in_use_bytes) {
    const Rectangle own = model_->rectangle(work.points, work.points);
    const std::int64_t samples = part_of(work.batch, mesh.size(Axis::data), mesh.coordinate(Axis::data)).size();
    const Shape shape{samples, 4, own.rows.size(), own.columns.size()};
    fields_ = {.input = random(shape, 1), .time = full({samples}, 0.5, DType::f32), .pixel_mask = {}, .label = random(shape, 2)};
  }

  /// Until memory and libraries have settled, and the check of each group's first collectives (parallel/watchdog.h) has ended.
  void warm_up() {
    for (std::int64_t number = 0; number < kWarmUp; ++number) step(number);
  }

  /// `meet`: returns when all processes of the job have come.
  template <class Meet>
  RankResult run(const Meet& meet) {
    RankResult result{.seconds = {}, .weight_bytes = weight_bytes_};
    const std::int64_t held = memory_counters({}).in_use_bytes;
    reset_peak({});
    const std::int64_t sent = mesh_.bytes_sent();
    for (std::int64_t number = kWarmUp; number < kWarmUp + work_.steps; ++number) {
      meet();
      const auto start = std::chrono::steady_clock::now();
      const double process = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID), thread = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
      step(number);
      const double computing = cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - thread;
      result.other_cpu = std::min(result.other_cpu, cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - process - computing);
      result.computing_cpu = std::min(result.computing_cpu, computing);
      meet();
      result.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    result.activation_bytes = memory_counters({}).peak_bytes - held;
    result.sent_bytes = (mesh_.bytes_sent() - sent) / work_.steps;
    std::sort(result.seconds.begin(), result.seconds.end());
    return result;
  }

 private:
  void step(std::int64_t number) {
    const Activity activity("step");
    parameters_.start_gradients();
    const LossTotals totals = loss_.totals({&fields_.label, 1});
    Pass pass;
    pass.mode = Mode::train, pass.tokens = work_.tokens;
    backward(loss_.share(model_(fields_, model_->prepare(), pass), fields_.label, totals), reducer_.on_final());
    parameters_.complete_gradients();
    reducer_.finish();
    optimizer_.update(number + 1, std::vector{1e-4}, norm_());
  }

  Mesh mesh_;
  Work work_;
  Model model_;
  ParameterList parameters_;
  FlatShares shares_;
  GradientReducer reducer_;
  GlobalNorm norm_;
  AdamW optimizer_;
  Loss loss_;
  std::int64_t weight_bytes_;  // with gradients and moments
  Fields fields_;
};

/// Milliseconds a step: means over the steps and ranks.
std::string described(const Profile& profile) {
  StepProfile sum;
  for (const StepProfile& step : profile.steps) {
    sum.total += step.total, sum.compute += step.compute, sum.exposed += step.exposed, sum.waiting += step.waiting,
        sum.hidden += step.hidden;
  }
  std::array<char, 240> text{};
  const double each = 1e3 / static_cast<double>(std::max<std::size_t>(1, profile.steps.size()));
  std::snprintf(text.data(), text.size(),
                R"("milliseconds": {"compute": %.1f, "exposed": %.1f, "waiting": %.1f, "hidden": %.1f}, "exposed_share": {)",
                each * sum.compute, each * sum.exposed, each * sum.waiting, each * sum.hidden);
  std::string result = text.data();
  const char* separator = "";
  for (const auto& [axes, seconds] : profile.exposed_by_axes) {
    std::snprintf(text.data(), text.size(), R"(%s"%s": %.4f)", separator, axes.c_str(), seconds / std::max(sum.total, 1e-9));
    result += text.data(), separator = ", ";
  }
  return result + "}";
}

Work work_of(std::span<const std::string> arguments) {
  const auto number = [&](std::size_t i, std::int64_t otherwise) { return i < arguments.size() ? std::stoll(arguments[i]) : otherwise; };
  const Work defaults;
  return {.points = number(4, defaults.points), .batch = number(5, defaults.batch), .steps = number(6, defaults.steps)};
}

int run(const Session& session, std::vector<std::string> arguments) {
  const auto flag = [&](const char* name) { return std::erase(arguments, name) > 0; };
  const bool shared_tokens = flag("--sequence-parallel"), shared_optimizer = flag("--optimizer-sharding"), apart = flag("--apart");
  if (arguments.size() < 4) throw ConfigError("scot_mesh: give the sizes data, domain_y, domain_x, tensor, and then points, batch, steps");
  Work work = work_of(arguments);
  if (shared_tokens) work.tokens = TokensBetween::shared;
  if (shared_optimizer) work.sharding = Sharding::over_replicas;
  MeshSizes sizes;
  for (std::size_t i = 0; i < sizes.size(); ++i) sizes[i] = std::stoi(arguments[i]);
  const Mesh mesh = apart ? Mesh() : Mesh(session.world(), sizes);
  Communicator& job = *session.world();
  Training training(mesh, work);
  training.warm_up();
  MeshTrace trace(mesh);
  const RankResult result = training.run([&job] { barrier(job); });
  const Profile profile = profile_of(trace.finish());
  // The rank that holds, or sends, most speaks for all; processor seconds are of all.
  const Tensor most = from_values<std::int64_t>({3}, std::vector{result.weight_bytes, result.activation_bytes, result.sent_bytes});
  const Tensor cpu = from_values<double>({2}, std::vector{result.computing_cpu, result.other_cpu});
  job.all_reduce(most, ReduceOp::max);
  job.all_reduce(cpu, ReduceOp::sum);
  if (job.rank() != 0) return 0;
  const auto bytes = to_host<std::int64_t>(most);
  std::printf(
      "{\"mesh\": \"%s%dx%dx%dx%d%s%s\", \"points\": %lld, \"batch\": %lld, \"fastest_seconds\": %.3f, \"median_seconds\": %.3f, "
      "\"cpu_seconds\": {\"computing\": %.3f, \"others\": %.3f}, %s, \"weight_bytes\": %lld, \"activation_bytes\": %lld, "
      "\"sent_bytes\": %lld}\n",
      apart ? "apart " : "", sizes[0], sizes[1], sizes[2], sizes[3], shared_tokens ? " sequence_parallel" : "",
      shared_optimizer ? " optimizer_sharding" : "", static_cast<long long>(work.points), static_cast<long long>(work.batch),
      result.seconds.front(), result.seconds[result.seconds.size() / 2], cpu.data<double>()[0], cpu.data<double>()[1],
      described(profile).c_str(), static_cast<long long>(bytes[0]), static_cast<long long>(bytes[1]), static_cast<long long>(bytes[2]));
  return 0;
}

}  // namespace
}  // namespace trident

/// mpirun -n RANKS scot_mesh DATA DOMAIN_Y DOMAIN_X TENSOR [POINTS [BATCH [STEPS]]] [--sequence-parallel] [--optimizer-sharding] [--apart]
/// OMP_NUM_THREADS sets the threads of a rank. --apart: the processes have nothing to do with each other but that they run at once, each
/// one rank with a whole batch: what the machine allows.
int main(int argc, char** argv) {
  return trident::run_job([&](trident::Session& session) { return trident::run(session, {argv + 1, argv + argc}); });
}
