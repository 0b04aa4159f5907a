#include "launch/plan/machine.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "launch/trainer/training_run.h"
#include "runtime/device/cuda_device.h"
#include "runtime/device/threads.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"

namespace trident {
namespace {

constexpr double kGigabyte = 1e9;
constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;
constexpr double kReached = 0.8;  // of the rate of one large product, by the products of a model

/// Bytes a second of a copy far larger than the caches: what is read and what is written.
double measured_bandwidth() {
  const Tensor from = full({std::int64_t{1} << 25}, 1.0, DType::f32), to = empty_like(from);
  double best = 0.0;
  for (int repeat = 0; repeat < 3; ++repeat) {  // the first one gets its pages
    const auto start = std::chrono::steady_clock::now();
    copy_into(to, from);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * static_cast<double>(from.num_bytes()) / seconds.count());
  }
  return best;
}

Machine assumed_cpu(DType precision, int ranks_per_node) {
  const double ranks = ranks_per_node;
  return {.memory =
              static_cast<std::int64_t>(static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)) / ranks),
          .flops = kReached * measured_flops_limit(precision) / ranks,
          .bandwidth = measured_bandwidth() / ranks,
          .inside = 4.0 * kGigabyte,
          .between = 10.0 * kGigabyte / ranks,
          .latency = 20e-6,
          .devices_per_node = ranks_per_node};
}

Machine assumed_gpu(DType precision, int gpus_per_node) {
  const bool here = cuda_device_count() > 0;
  return {.memory = here ? device_properties({.kind = Device::Kind::cuda}).memory_bytes : 80 * kGibibyte,
          .flops = precision == DType::bf16  ? 400e12
                   : precision == DType::f32 ? 30e12
                                             : 20e12,
          .bandwidth = 2000.0 * kGigabyte,
          .inside = 150.0 * kGigabyte,
          .between = 20.0 * kGigabyte,
          .latency = 20e-6,
          .devices_per_node = gpus_per_node};
}

/// Whether ranks that differ in these coordinates alone share a node, if the first ones do.
bool is_inside_node(AxisSet axes, const MeshSizes& sizes, const MeshOrder& order, int devices_per_node) {
  std::int64_t stride = 1, last = 0;
  for (const Axis axis : order) {
    const int size = sizes[static_cast<std::size_t>(axis)];
    if (axes.contains(axis)) last += (size - 1) * stride;
    stride *= size;
  }
  return last < devices_per_node;
}

void set_positive(double& target, const std::optional<double>& given, double unit, const char* flag) {
  if (!given) return;
  if (!(*given > 0.0)) throw ConfigError(concat(flag, ": ", *given, " is not above 0; leave it out for the default"));
  target = *given * unit;
}

}  // namespace

std::optional<std::int64_t> bytes_of_text(const std::string& text) {
  double number = 0.0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || !(number > 0.0)) return std::nullopt;
  std::string unit(parsed.ptr, text.data() + text.size());
  unit.erase(0, unit.find_first_not_of(' '));
  double decimal = 1.0, binary = 1.0;
  for (const char letter : {'K', 'M', 'G', 'T'}) {
    decimal *= 1000.0, binary *= 1024.0;
    if (unit == std::string{letter, 'B'}) return static_cast<std::int64_t>(number * decimal);
    if (unit == std::string{letter, 'i', 'B'}) return static_cast<std::int64_t>(number * binary);
  }
  return unit == "B" ? std::optional(static_cast<std::int64_t>(number)) : std::nullopt;
}

Machine assumed_machine(const MachineOptions& options, const RunConfig& config, int devices) {
  const bool cuda = config.device == DeviceChoice::cuda;
  const int per_node = options.devices_per_node.value_or(std::min(devices, cuda ? 8 : available_cores()));
  if (per_node < 1) throw ConfigError(concat("--devices-per-node: ", per_node, " is below 1; give the ranks that share a machine"));
  const DType precision = dtype_of_precision(config.training.precision);
  Machine machine = cuda ? assumed_gpu(precision, per_node) : assumed_cpu(precision, per_node);
  if (options.memory) {
    const auto bytes = bytes_of_text(*options.memory);
    if (!bytes) throw ConfigError(concat("--memory: \"", *options.memory, "\" is no amount of memory; write for example 80GiB or 512MB"));
    machine.memory = *bytes;
  }
  set_positive(machine.flops, options.teraflops, 1e12, "--teraflops");
  set_positive(machine.bandwidth, options.memory_bandwidth, kGigabyte, "--memory-bandwidth");
  set_positive(machine.inside, options.node_bandwidth, kGigabyte, "--node-bandwidth");
  set_positive(machine.between, options.network_bandwidth, kGigabyte, "--network-bandwidth");
  set_positive(machine.latency, options.latency, 1e-6, "--latency");
  return machine;
}

StepTime step_time(const RankNeeds& needs, const Machine& machine, const MeshSizes& sizes, const MeshOrder& order) {
  const double computing = needs.flops / machine.flops + static_cast<double>(needs.bytes_touched) / machine.bandwidth;
  double waiting = 0.0, background = 0.0;
  for (const Traffic& traffic : needs.traffic) {
    const bool inside = is_inside_node(traffic.axes, sizes, order, machine.devices_per_node);
    const double seconds = static_cast<double>(traffic.calls) * machine.latency +
                           static_cast<double>(traffic.bytes) / (inside ? machine.inside : machine.between);
    (traffic.background ? background : waiting) += seconds;
  }
  const double backward = computing * 2.0 / 3.0;  // which hides what the background sends
  return {computing, waiting + std::max(0.0, background - backward)};
}

}  // namespace trident
