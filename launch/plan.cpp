/// trident plan: memory, communication and time of a run, predicted before it is launched, in one process without the devices.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>

#include "launch/commands.h"
#include "launch/mesh_choice.h"
#include "launch/plan/report.h"
#include "launch/plan/search.h"

namespace trident {
namespace {

struct PlanOptions {
  std::string run_file;
  std::vector<std::string> overrides;
  int devices = 0;
  std::optional<std::string> points;
  MachineOptions machine;
  bool all = false;
};

/// "1024" or "256x512" as points along each of `axes` axes.
Shape extents_of(const std::string& text, int axes) {
  const ConfigError refusal(concat("--points: \"", text, "\" is not one number, or one for each of the ", axes,
                                   " axes of space; write for example 1024 or 256x512"));
  std::vector<std::int64_t> extents;
  const char *place = text.data(), *const end = place + text.size();
  for (bool more = true; more;) {
    const auto parsed = std::from_chars(place, end, extents.emplace_back());
    more = parsed.ptr != end;
    if (parsed.ec != std::errc() || extents.back() < 1 || (more && *parsed.ptr != 'x')) throw refusal;
    place = parsed.ptr + 1;
  }
  if (extents.size() == 1) extents.resize(static_cast<std::size_t>(axes), extents.front());
  if (static_cast<int>(extents.size()) != axes) throw refusal;
  Shape shape;
  for (const std::int64_t extent : extents) shape.push_back(extent);
  return shape;
}

/// The points of fields whose files are not there.
Shape announced_extents(const PlanOptions& options, const RunConfig& config) {
  const DataEntry& entry = config.data.train.front();
  const int axes = problem_of(config.data, entry, Files::to_come).space_axes;
  if (options.points) return extents_of(*options.points, axes);
  if (entry.resolution) return extents_of(std::to_string(*entry.resolution), axes);
  const ConfigValue* image_size = config.model.find("image_size");
  if (image_size != nullptr && image_size->kind() == ConfigValue::Kind::integer) return extents_of(to_json(*image_size), axes);
  throw ConfigError(
      concat(entry.path, ": is not there, so the points of its fields are not known; give them by --points, for example 1024"));
}

std::shared_ptr<const Dataset> planned_data(const PlanOptions& options, const RunConfig& config) {
  const auto is_there = [](const DataEntry& entry) { return std::filesystem::exists(entry.path); };
  if (!options.points && std::ranges::all_of(config.data.train, is_there)) {
    return std::make_shared<const Dataset>(open_dataset(config.data, config.data.train, Split::train, "data.train"));
  }
  return std::make_shared<const Dataset>(announced_dataset(config.data, announced_extents(options, config)));
}

std::int64_t steps_of(const RunFile& run, const Dataset& data) {
  const TrainingConfig& training = run.config.training;
  if (training.steps) return *training.steps;
  for (const DatasetMember& member : data.members()) {
    if (member.size() > 0) continue;
    throw run.error("training.epochs", concat("the length of an epoch is not known: the trajectories of \"", member.problem.name,
                                              "\" are not there to be counted; give their entry trajectories: [0, N], or training.steps"));
  }
  return *training.epochs * ((data.size() + training.global_batch_size - 1) / training.global_batch_size);
}

PlannedRun planned_run(const PlanOptions& options, const CommandContext& context) {
  std::vector<std::string> overrides = options.overrides;
  for (const std::string& text : overrides_of(context.common)) overrides.push_back(text);
  PlannedRun planned;
  planned.run = read_run(options.run_file, overrides);
  check_for_training(planned.run);
  check_data_config(planned.run.config.data, planned.run.document);
  follow_model(planned.run.config.model, planned.run.config.data);
  planned.data = planned_data(options, planned.run.config);
  planned.choice = choose_model(planned.run, *planned.data);
  planned.steps = steps_of(planned.run, *planned.data);
  return planned;
}

/// What can be done if no mesh works, as an error.
[[noreturn]] void refuse(const PlannedRun& planned, const Plan& plan, const PlanOptions& options, const Machine& machine) {
  if (plan.too_large.empty()) {
    const std::int64_t batch = planned.run.config.training.global_batch_size;
    const std::string reason = plan.impossible.empty()
                                   ? "the sizes that `parallel` names do not divide it"
                                   : concat(described(plan.impossible.front().first), ": ", plan.impossible.front().second);
    throw ConfigError(concat("--devices: no mesh of ", options.devices, " devices works for this model and ", batch, " samples a step (",
                             reason, "); take another number, or a larger training.global_batch_size"));
  }
  throw ConfigError(concat("--devices: no mesh of ", options.devices, " devices fits; ", needed_memory(plan.too_large.front(), machine),
                           "; ", way_to_fit(planned, plan.too_large.front(), machine)));
}

void plan(const PlanOptions& options, const CommandContext& context) {
  if (context.session.world()->rank() != 0) return;
  constexpr int kMostDevices = 1 << 20;
  if (options.devices < 1 || options.devices > kMostDevices) {
    throw ConfigError(concat("--devices: expected 1 to ", kMostDevices, " GPUs or CPU ranks, found ", options.devices));
  }
  const PlannedRun planned = planned_run(options, context);
  const Machine machine = assumed_machine(options.machine, planned.run.config, options.devices);
  const Plan found = plan_meshes(planned, options.devices, machine);
  if (found.fitting.empty()) refuse(planned, found, options, machine);
  if (context.common.json) {
    std::cout << to_json(document_of(planned, found, machine)) << '\n';
  } else {
    print(std::cout, planned, found, machine, options.all ? Rows::all : Rows::best);
  }
}

}  // namespace

Command plan_command() {
  return {"plan", "predicts memory, communication and time of a run on so many devices", [](Arguments& arguments) {
            auto options = std::make_shared<PlanOptions>();
            MachineOptions& machine = options->machine;
            arguments.add("run_file", options->run_file, "the run file (docs/configuration.md)", Presence::required);
            arguments.add("key=value", options->overrides, "overrides; sizes and settings that are named are kept, others are chosen");
            arguments.add("--devices", options->devices, "GPUs, or CPU ranks", Presence::required);
            arguments.add("--devices-per-node", machine.devices_per_node,
                          "that share a host (default: 8 GPUs, as many CPU ranks as cores here)");
            arguments.add("--memory", machine.memory, "of each device, such as 80GiB (default: that of this machine's, or 80GiB)");
            arguments.add("--teraflops", machine.teraflops, "that large products reach on a device");
            arguments.add("--memory-bandwidth", machine.memory_bandwidth, "of a device, GB/s");
            arguments.add("--node-bandwidth", machine.node_bandwidth, "that a device sends within its host, GB/s");
            arguments.add("--network-bandwidth", machine.network_bandwidth, "that a device sends to other hosts, GB/s");
            arguments.add("--latency", machine.latency, "of an exchange, microseconds");
            arguments.add("--points", options->points, "of the fields where their files are not there: 1024 or 256x512");
            arguments.flag("--all", options->all, "list every mesh");
            return [options](CommandContext& context) { plan(*options, context); };
          }};
}

}  // namespace trident
