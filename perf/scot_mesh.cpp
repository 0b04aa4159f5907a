/// Question: how long does a training step of Poseidon-T take on a mesh, how many bytes does a rank hold beside its weights while the step
/// runs, and how many does it send? The global batch is the same on every mesh, so that times compare with those of one rank.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <set>
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
#include "runtime/error.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

struct Work {
  std::int64_t points = 128, batch = 8, steps = 3;
};

std::string poseidon_t(std::int64_t points) {
  return concat(R"({"type": "scot", "image_size": )", points, R"(, "patch_size": 4, "num_channels": 4, "num_out_channels": 4,
  "embed_dim": 48, "depths": [4, 4, 4, 4], "num_heads": [3, 6, 12, 24], "skip_connections": [2, 2, 2, 0], "window_size": 16,
  "drop_path_rate": 0.0, "p": 1, "channel_slice_list_normalized_loss": [0, 1, 3, 4], "use_conditioning": true})");
}

Tensor random(const Shape& shape, std::uint64_t seed) {
  const Tensor x = empty(shape, DType::f32);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(normal(RandomKey(seed), static_cast<std::uint64_t>(i)));
  return x;
}

/// By this rank, over all axes.
std::int64_t bytes_sent(const Mesh& mesh) {
  std::set<const Communicator*> communicators;
  for (const AxisSet data : {AxisSet{}, AxisSet(Axis::data)}) {
    for (const AxisSet tensor : {AxisSet{}, AxisSet(Axis::tensor)}) {
      for (const AxisSet domain : {AxisSet{}, Axis::domain_y | Axis::domain_x}) communicators.insert(&mesh.comm(data | tensor | domain));
    }
  }
  std::int64_t bytes = 0;
  for (const Communicator* comm : communicators) bytes += comm->bytes_sent();
  return bytes;
}

struct Result {
  std::vector<double> seconds;
  std::int64_t weight_bytes = 0, activation_bytes = 0, sent_bytes = 0;
};

Result train(const Mesh& mesh, const Work& work) {
  const Model model = describe_model(parse_json(poseidon_t(work.points), "poseidon_t.json"), mesh);
  const std::int64_t before = memory_counters({}).in_use_bytes;
  const ParameterList parameters = materialize(model, DType::f32, Use::training, RandomKey(0));
  GradientReducer reducer(parameters, FlatShares(parameters, mesh));
  AdamW optimizer(parameters, {.max_grad_norm = 5.0}, {0.01}, [](const std::string&) { return 0; });
  const std::int64_t weights = memory_counters({}).in_use_bytes - before;
  const Loss loss(model->loss(), model->num_out_channels(), LossScope::global, mesh);
  const Rectangle own = model->rectangle(work.points, work.points);
  const std::int64_t samples = part_of(work.batch, mesh.size(Axis::data), mesh.coordinate(Axis::data)).size();
  const Shape shape{samples, 4, own.rows.size(), own.columns.size()};
  const Fields fields{.input = random(shape, 1), .time = full({samples}, 0.5, DType::f32), .pixel_mask = {}, .label = random(shape, 2)};
  Pass pass;
  pass.mode = Mode::train;
  Result result{.seconds = {}, .weight_bytes = weights};
  const std::int64_t held = memory_counters({}).in_use_bytes, sent = bytes_sent(mesh);
  reset_peak({});
  for (std::int64_t step = 0; step < work.steps; ++step) {
    barrier(mesh.world());
    const auto start = std::chrono::steady_clock::now();
    parameters.zero_gradients();
    const LossTotals totals = loss.totals({&fields.label, 1});
    backward(loss.share(model(fields, model->prepare(), pass), fields.label, totals), reducer.on_final());
    reducer.finish();
    optimizer.update(step + 1, std::vector{1e-4}, global_norm(parameters, mesh));
    barrier(mesh.world());
    result.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  result.activation_bytes = memory_counters({}).peak_bytes - held;
  result.sent_bytes = (bytes_sent(mesh) - sent) / work.steps;
  return result;
}

int run(const Session& session, const std::vector<std::string>& arguments) {
  if (arguments.size() < 4) throw ConfigError("scot_mesh: give the sizes data, domain_y, domain_x, tensor, and then points, batch, steps");
  const auto number = [&](std::size_t i, std::int64_t otherwise) { return i < arguments.size() ? std::stoll(arguments[i]) : otherwise; };
  MeshSizes sizes;
  for (std::size_t i = 0; i < sizes.size(); ++i) sizes[i] = static_cast<int>(number(i, 1));
  const Work defaults, work{.points = number(4, defaults.points), .batch = number(5, defaults.batch), .steps = number(6, defaults.steps)};
  const Mesh mesh(session.world(), sizes);
  Result result = train(mesh, work);
  // The rank that holds, or sends, most speaks for all.
  const Tensor most = from_values<std::int64_t>({3}, std::vector{result.weight_bytes, result.activation_bytes, result.sent_bytes});
  mesh.world().all_reduce(most, ReduceOp::max);
  std::sort(result.seconds.begin(), result.seconds.end());
  if (mesh.world().rank() != 0) return 0;
  const auto bytes = to_host<std::int64_t>(most);
  std::printf("{\"mesh\": \"%dx%dx%dx%d\", \"points\": %lld, \"batch\": %lld, \"fastest_seconds\": %.3f, \"median_seconds\": %.3f, "
              "\"weight_bytes\": %lld, \"activation_bytes\": %lld, \"sent_bytes\": %lld}\n",
              sizes[0], sizes[1], sizes[2], sizes[3], static_cast<long long>(work.points), static_cast<long long>(work.batch),
              result.seconds.front(), result.seconds[result.seconds.size() / 2], static_cast<long long>(bytes[0]),
              static_cast<long long>(bytes[1]), static_cast<long long>(bytes[2]));
  return 0;
}

}  // namespace
}  // namespace trident

/// mpirun -n RANKS scot_mesh DATA DOMAIN_Y DOMAIN_X TENSOR [POINTS [BATCH [STEPS]]]: OMP_NUM_THREADS sets the threads of a rank.
int main(int argc, char** argv) {
  return trident::run_job([&](trident::Session& session) { return trident::run(session, {argv + 1, argv + argc}); });
}
