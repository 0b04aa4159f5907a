#include "launch/plan/report.h"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "launch/mesh_choice.h"
#include "launch/trainer/progress.h"

namespace trident {
namespace {

constexpr std::array kAxes{Axis::data, Axis::domain_y, Axis::domain_x, Axis::tensor};
constexpr std::size_t kBestRows = 8;

int size_on(const MeshSizes& sizes, Axis axis) { return sizes[static_cast<std::size_t>(axis)]; }
std::string bytes(std::int64_t number) { return readable_bytes(static_cast<double>(number)); }

std::string three_digits(double number) {
  std::ostringstream text;
  text << std::setprecision(3) << number;
  return text.str();
}

/// "2 TB/s", "25.7 GFLOP/s".
std::string rate(double number, const char* unit) {
  const bool tera = number >= 1e12;
  return concat(three_digits(number / (tera ? 1e12 : 1e9)), tera ? " T" : " G", unit, "/s");
}

/// "1.25 s", "38 ms".
std::string seconds(double number) { return number < 1.0 ? three_digits(1e3 * number) + " ms" : three_digits(number) + " s"; }

std::string names_of(AxisSet axes) {
  std::string names;
  for (const Axis axis : kAxes) {
    if (axes.contains(axis)) names += concat(names.empty() ? "" : " ", name_of(axis));
  }
  return names;
}

std::int64_t bytes_sent(const RankNeeds& needs) {
  std::int64_t sum = 0;
  for (const Traffic& traffic : needs.traffic) sum += traffic.bytes;
  return sum;
}

std::string settings_of(const PlannedMesh& mesh) {
  std::string text;
  const auto add = [&](bool on, const char* name) {
    if (on) text += concat(text.empty() ? "" : ", ", name);
  };
  add(mesh.optimizer_sharding, "optimizer_sharding");
  add(mesh.sequence_parallel, "sequence_parallel");
  add(mesh.activation_checkpointing, "activation_checkpointing");
  return text;
}

std::string spelled(const PlannedMesh& mesh) {
  const std::string settings = settings_of(mesh);
  return described(mesh.sizes) + (settings.empty() ? "" : " with " + settings);
}

void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& lines) {
  std::vector<std::size_t> widths(lines.front().size());
  for (const auto& line : lines) {
    for (std::size_t column = 0; column < line.size(); ++column) widths[column] = std::max(widths[column], line[column].size());
  }
  for (const auto& line : lines) {
    std::string text = "  ";
    for (std::size_t column = 0; column < line.size(); ++column) {
      text += line[column] + std::string(widths[column] + 2 - line[column].size(), ' ');
    }
    out << text.substr(0, text.find_last_not_of(' ') + 1) << '\n';
  }
}

/// Whether rows and columns have but changed places.
bool mirrors(const PlannedMesh& mesh, const PlannedMesh& other) {
  return MeshSizes{mesh.sizes[0], mesh.sizes[2], mesh.sizes[1], mesh.sizes[3]} == other.sizes &&
         mesh.needs.memory.peak == other.needs.memory.peak;
}

void print_meshes(std::ostream& out, const PlannedRun& planned, const std::vector<PlannedMesh>& meshes, Rows rows) {
  std::vector<std::vector<std::string>> lines{{"data", "domain_y", "domain_x", "tensor", "memory", "sent a step", "step", "run", "with"}};
  const PlannedMesh* before = nullptr;
  for (const PlannedMesh& mesh : meshes) {
    if (rows == Rows::best && (lines.size() > kBestRows || (before != nullptr && mirrors(mesh, *before)))) continue;
    before = &mesh;
    std::vector<std::string>& line = lines.emplace_back();
    for (const Axis axis : kAxes) line.push_back(std::to_string(size_on(mesh.sizes, axis)));
    line.push_back(bytes(mesh.needs.memory.peak));
    line.push_back(bytes(bytes_sent(mesh.needs)));
    line.push_back(seconds(mesh.time.total()));
    line.push_back(readable_duration(static_cast<double>(planned.steps) * mesh.time.total()));
    line.push_back(settings_of(mesh));
  }
  print_table(out, lines);
  const std::size_t left = meshes.size() + 1 - lines.size();
  if (left > 0) out << "  and " << left << " more (--all)\n";
}

void print_machine(std::ostream& out, const Machine& machine) {
  out << "assumed of each device: " << bytes(machine.memory) << " of memory (a tenth is left free), " << rate(machine.flops, "FLOP")
      << ", memory at " << rate(machine.bandwidth, "B") << "; it sends " << rate(machine.inside, "B") << " to the others of its node of "
      << machine.devices_per_node << ", " << rate(machine.between, "B") << " to other nodes, " << three_digits(machine.latency * 1e6)
      << " us an exchange (flags change them: trident plan --help)\n";
}

/// The parts of the best mesh's memory, traffic and time.
void print_best(std::ostream& out, const PlannedMesh& best) {
  const MemoryNeeds& memory = best.needs.memory;
  out << "\nmemory of the first, the rank that holds most: parameters " << bytes(memory.parameters) << ", gradients "
      << bytes(memory.gradients) << ", moments " << bytes(memory.moments) << ", batches " << bytes(memory.batches) << ", activations kept "
      << bytes(memory.activations) << ", others " << bytes(memory.others) << '\n';
  for (const Traffic& traffic : best.needs.traffic) {
    out << "sent a step over " << names_of(traffic.axes) << ": " << bytes(traffic.bytes) << " in " << traffic.calls << " exchanges"
        << (traffic.background ? ", behind the backward" : "") << '\n';
  }
  out << "a step: " << seconds(best.time.computing) << " computing, " << seconds(best.time.waiting)
      << " waiting for exchanges (an estimate)\n";
}

void print_choice(std::ostream& out, const PlannedRun& planned, const PlannedMesh& best) {
  out << "\nparallel: {";
  for (const Axis axis : kAxes) out << name_of(axis) << ": " << size_on(best.sizes, axis) << ", ";
  out << "optimizer_sharding: " << (best.optimizer_sharding ? "true" : "false")
      << ", sequence_parallel: " << (best.sequence_parallel ? "true" : "false") << "}\n";
  if (best.activation_checkpointing != planned.run.config.training.activation_checkpointing)
    out << "training: {activation_checkpointing: " << (best.activation_checkpointing ? "true" : "false") << "}\n";
}

/// Each reason once, with the first mesh that it holds for.
void print_others(std::ostream& out, const Plan& plan, const Machine& machine) {
  if (!plan.too_large.empty()) {
    out << '\n'
        << plan.too_large.size() << (plan.too_large.size() == 1 ? " mesh does" : " meshes do")
        << " not fit; the smallest: " << needed_memory(plan.too_large.front(), machine) << '\n';
  }
  if (plan.impossible.empty()) return;
  const auto& [sizes, reason] = plan.impossible.front();
  out << '\n'
      << plan.impossible.size() << (plan.impossible.size() == 1 ? " mesh does" : " meshes do") << " not work, such as " << described(sizes)
      << ": " << reason << '\n';
}

ConfigValue config_of_sizes(const MeshSizes& sizes) {
  ConfigValue config = ConfigValue::map();
  for (const Axis axis : kAxes) config.set(name_of(axis), size_on(sizes, axis));
  return config;
}

ConfigValue document_of(const PlannedRun& planned, const PlannedMesh& mesh) {
  ConfigValue traffic = ConfigValue::list({});
  for (const Traffic& one : mesh.needs.traffic) {
    traffic.append(ConfigValue::map(
        {{"axes", names_of(one.axes)}, {"behind_backward", one.background}, {"exchanges", one.calls}, {"bytes", one.bytes}}));
  }
  const MemoryNeeds& memory = mesh.needs.memory;
  ConfigValue document = config_of_sizes(mesh.sizes);
  document.set("optimizer_sharding", mesh.optimizer_sharding);
  document.set("sequence_parallel", mesh.sequence_parallel);
  document.set("activation_checkpointing", mesh.activation_checkpointing);
  document.set("parameters", mesh.needs.parameters);
  document.set("memory_bytes", ConfigValue::map({{"peak", memory.peak},
                                                 {"parameters", memory.parameters},
                                                 {"gradients", memory.gradients},
                                                 {"moments", memory.moments},
                                                 {"batches", memory.batches},
                                                 {"activations", memory.activations},
                                                 {"others", memory.others}}));
  document.set("sent_bytes", bytes_sent(mesh.needs));
  document.set("traffic", traffic);
  document.set("flops", mesh.needs.flops);
  document.set("step_seconds", ConfigValue::map({{"computing", mesh.time.computing}, {"waiting", mesh.time.waiting}}));
  document.set("run_seconds", static_cast<double>(planned.steps) * mesh.time.total());
  return document;
}

}  // namespace

void print(std::ostream& out, const PlannedRun& planned, const Plan& plan, const Machine& machine, Rows rows) {
  const RunConfig& config = planned.run.config;
  out << planned.steps << " steps of " << config.training.global_batch_size << " samples of " << spelled_points(planned.data->extents())
      << " points, without evaluations and saving\n";
  print_machine(out, machine);
  out << '\n';
  print_meshes(out, planned, plan.fitting, rows);
  print_best(out, plan.fitting.front());
  print_choice(out, planned, plan.fitting.front());
  print_others(out, plan, machine);
}

ConfigValue document_of(const PlannedRun& planned, const Plan& plan, const Machine& machine) {
  ConfigValue meshes = ConfigValue::list({}), too_large = ConfigValue::list({}), impossible = ConfigValue::list({});
  for (const PlannedMesh& mesh : plan.fitting) meshes.append(document_of(planned, mesh));
  for (const PlannedMesh& mesh : plan.too_large) too_large.append(document_of(planned, mesh));
  for (const auto& [sizes, reason] : plan.impossible) {
    ConfigValue one = config_of_sizes(sizes);
    one.set("reason", reason);
    impossible.append(one);
  }
  return ConfigValue::map({{"steps", planned.steps},
                           {"machine", ConfigValue::map({{"memory_bytes", machine.memory},
                                                         {"flops", machine.flops},
                                                         {"memory_bandwidth", machine.bandwidth},
                                                         {"node_bandwidth", machine.inside},
                                                         {"network_bandwidth", machine.between},
                                                         {"latency_seconds", machine.latency},
                                                         {"devices_per_node", machine.devices_per_node}})},
                           {"meshes", meshes},
                           {"too_large", too_large},
                           {"impossible", impossible}});
}

std::string needed_memory(const PlannedMesh& mesh, const Machine& machine) {
  const MemoryNeeds& memory = mesh.needs.memory;
  return concat(spelled(mesh), " needs ", bytes(memory.peak), " (", bytes(memory.parameters + memory.gradients + memory.moments),
                " of them parameters, gradients and moments) and ",
                bytes(static_cast<std::int64_t>(kUsableMemory * static_cast<double>(machine.memory))), " of ", bytes(machine.memory),
                " may be used");
}

std::string way_to_fit(const PlannedRun& planned, const PlannedMesh& mesh, const Machine& machine) {
  PlannedRun accumulating = planned;
  TrainingConfig& training = accumulating.run.config.training;
  const std::int64_t most = training.global_batch_size / size_on(mesh.sizes, Axis::data);
  try {
    while (2 * training.gradient_accumulation_steps <= most) {
      training.gradient_accumulation_steps *= 2;
      const RankNeeds needs = rehearse(accumulating, config_of(accumulating, mesh), mesh.sizes, {});
      if (static_cast<double>(needs.memory.peak) <= kUsableMemory * static_cast<double>(machine.memory)) {
        return concat("with training.gradient_accumulation_steps=", training.gradient_accumulation_steps, " it needs ",
                      bytes(needs.memory.peak), " and fits");
      }
    }
  } catch (const ConfigError&) {  // the model takes whole batches
  }
  return "take more devices, or a smaller training.global_batch_size";
}

}  // namespace trident
