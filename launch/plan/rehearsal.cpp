#include "launch/plan/rehearsal.h"

#include <algorithm>

#include "launch/physical_units.h"
#include "launch/plan/counted_batch.h"
#include "launch/trainer/trainer.h"
#include "parallel/counting_communicator.h"
#include "runtime/device/allocator.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

LoaderOptions loader_options(const RunConfig& config, const Model& model, const Mesh& mesh, Device device) {
  LoaderOptions options = shared_out(model, mesh);
  options.global_batch_size = config.training.global_batch_size;
  options.micro_batches = config.training.gradient_accumulation_steps;
  options.dtype = parameter_type(dtype_of_precision(config.training.precision));
  options.device = device;
  return options;
}

/// Which part of all points of a step's samples this rank computes.
double share_of_points(const GlobalBatch& batch, const Dataset& data, const Model& model) {
  double points = 0.0;
  for (const MicroBatch& part : batch.micro_batches) {
    if (const auto& patches = part.fields.patches) {
      const double all = static_cast<double>(PatchGrid(*model->patching(), data.ny(), data.nx()).patches());
      points += static_cast<double>(patches->units.size()) / all * static_cast<double>(data.points());
    } else {
      points += static_cast<double>(part.fields.label.numel()) / data.out_channels();
    }
  }
  return points / static_cast<double>(batch.size * data.points());
}

/// Of all sets of axes that have a communicator of their own: those without axes of one rank.
std::vector<Traffic> traffic_of(const Mesh& mesh) {
  std::vector<AxisSet> sets{AxisSet{}};
  for (const Axis axis : {Axis::data, Axis::domain_y, Axis::domain_x, Axis::tensor}) {
    if (mesh.size(axis) == 1) continue;
    for (std::size_t i = 0, count = sets.size(); i < count; ++i) sets.push_back(sets[i] | axis);
  }
  std::vector<Traffic> traffic;
  for (const AxisSet axes : sets) {
    if (axes == AxisSet{}) continue;
    for (const bool background : {false, true}) {
      const Mesh lane = background ? mesh.background() : mesh;
      const auto& comm = dynamic_cast<const CountingCommunicator&>(lane.comm(axes));
      if (comm.calls() > 0) traffic.push_back({axes, background, comm.calls(), comm.bytes_sent()});
    }
  }
  return traffic;
}

/// Memory of a counted device from now on.
class Counter {
 public:
  explicit Counter(Device device) : device_(device), before_(memory_counters(device)) { reset_peak(device); }
  std::int64_t in_use() const { return memory_counters(device_).in_use_bytes - before_.in_use_bytes; }
  std::int64_t peak() const { return memory_counters(device_).peak_bytes - before_.in_use_bytes; }
  std::int64_t allocated() const { return memory_counters(device_).allocated_bytes - before_.allocated_bytes; }

 private:
  Device device_;
  MemoryCounters before_;
};

std::int64_t bytes_of(const Tensor& x) { return x.defined() ? x.num_bytes() : 0; }

/// What a step reads and writes: a tensor is written once and read in the forward and in the backward; gradients are zeroed, added to,
/// squared and read by the update, which reads and writes values and moments.
std::int64_t bytes_touched(std::int64_t allocated, const MemoryNeeds& memory) {
  return 3 * allocated + 5 * memory.gradients + 2 * (memory.gradients + memory.moments);
}

}  // namespace

RankNeeds rehearse(const PlannedRun& planned, const RunConfig& config, const MeshSizes& sizes, const MeshSizes& coordinates) {
  const bool cuda = config.device == DeviceChoice::cuda;
  const Device device{.kind = cuda ? Device::Kind::cuda : Device::Kind::cpu, .counted = true};
  const DType precision = dtype_of_precision(config.training.precision);
  const Mesh mesh = Mesh::counting(sizes, coordinates);
  const Counter counter(device);
  RankNeeds needs;

  const Model model = describe_model(planned.choice.config, mesh);
  ParameterList list = materialize(model, precision, Use::training, std::nullopt, config.training.freeze, device);
  require_whole_batches(planned.run, list);
  for (const auto& entry : list.entries()) needs.parameters += entry.size;
  needs.memory.parameters = bytes_of(list.values()) + bytes_of(list.rounded());
  needs.memory.gradients = bytes_of(list.gradients());
  TrainingConfig training = config.training;
  training.cuda_graphs = false;  // there is nothing to capture
  const PhysicalUnits units = training.loss_units == Units::physical
                                  ? PhysicalUnits(*planned.data, &Problem::output, model->num_dims(), parameter_type(precision), device)
                                  : PhysicalUnits();
  Trainer trainer(model, std::move(list), training, config.parallel, planned.steps, config.seed, mesh, units);
  const std::int64_t number = static_cast<std::int64_t>(size_of(parameter_type(precision)));
  for (const NamedPiece& moment : trainer.optimizer().state()) needs.memory.moments += moment.size * number;

  const LoaderOptions reading = loader_options(config, model, mesh, device);
  const std::int64_t without_batches = counter.in_use();
  std::vector<GlobalBatch> batches;  // the one in use, those that wait, and the one that the reading thread holds
  for (int i = 0; i < reading.batches_ahead + 2; ++i) batches.push_back(counted_batch(*planned.data, reading));
  const std::int64_t held = counter.in_use();
  needs.memory.batches = held - without_batches;

  const std::int64_t allocated = counter.allocated();
  trainer.timer().observe([&](std::string_view phase) {
    if (phase == "forward") needs.memory.activations = std::max(needs.memory.activations, counter.in_use() - held);
  });
  trainer.launch(batches.front(), 0);
  needs.memory.peak = counter.peak();
  needs.memory.others = needs.memory.peak - needs.memory.activations - needs.memory.batches - needs.memory.moments -
                        needs.memory.gradients - needs.memory.parameters;
  needs.bytes_touched = bytes_touched(counter.allocated() - allocated, needs.memory);
  needs.traffic = traffic_of(mesh);

  const std::vector<std::int64_t> extents(planned.data->extents().begin(), planned.data->extents().end());
  const double passes = training.activation_checkpointing ? 4.0 : 3.0;  // a backward takes two forwards' products
  needs.flops = passes * model->forward_flops(training.global_batch_size, extents) *
                share_of_points(batches.front(), *planned.data, model) / mesh.size(Axis::tensor);
  return needs;
}

}  // namespace trident
