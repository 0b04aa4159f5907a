#include "launch/generate/flow_set.h"

#include <array>
#include <memory>

#include "launch/generate/pdegym_writer.h"
#include "launch/generate/sample_farm.h"
#include "parallel/communicator.h"
#include "runtime/error.h"

namespace trident {
namespace {

constexpr std::array<FlowSet, 6> kFlowSets{{{"NS-Sines", FlowFamily::sines, 3, false},
                                            {"NS-Gauss", FlowFamily::gaussians, 3, false},
                                            {"NS-PwC", FlowFamily::cells, 3, false},
                                            {"NS-SVS", FlowFamily::vortex_sheet, 3, false},
                                            {"NS-BB", FlowFamily::brownian, 3, false},
                                            {"NS-SL", FlowFamily::shear_layer, 2, true}}};

void check(const GenerateOptions& options) {
  check_sample_options(options, 8);
  require_option(options.viscosity >= 0.0, "viscosity", options.viscosity, "0 or more");
  require_option(options.viscous_above >= 0.0, "viscous-above", options.viscous_above, "0 or more cycles per side");
  require_option(options.velocity_std > 0.0, "velocity-std", options.velocity_std, "a number above 0");
}

void store(const FlowSet& set, int n, const std::vector<double>& field, float* target) {
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      const int source = set.transposed ? j * n + i : i * n + j;
      target[i * n + j] = static_cast<float>(field[static_cast<std::size_t>(source)]);
    }
  }
}

std::string source_of(const GenerateOptions& options) {
  return concat("Trident generate ", options.problem, " --first ", options.first, " --resolution ", options.resolution, " --seed ",
                options.seed, " --viscosity ", options.viscosity, " --viscous-above ", options.viscous_above, " --velocity-std ",
                options.velocity_std);
}

}  // namespace

std::vector<std::string> flow_set_names() {
  std::vector<std::string> names;
  for (const FlowSet& set : kFlowSets) names.emplace_back(set.name);
  return names;
}

const FlowSet& find_flow_set(const std::string& name) {
  for (const FlowSet& set : kFlowSets) {
    if (set.name == name) return set;
  }
  std::string known;
  for (const std::string& other : flow_set_names()) known += (known.empty() ? "" : ", ") + other;
  throw ConfigError(concat("generate: problem \"", name, "\" has no solver; there are ", known));
}

void solve_trajectory(const FlowSet& set, const GenerateOptions& options, std::int64_t number, NavierStokes& solver, float* frames) {
  const RandomKey key = RandomKey(static_cast<std::uint64_t>(options.seed)).fold(set.name).fold(static_cast<std::uint64_t>(number));
  PeriodicGrid& grid = solver.grid();
  Flow flow = initial_flow(set.family, grid, key, options.velocity_std, set.channels > 2);
  std::array<std::vector<double>, 3> fields;
  for (auto& field : fields) field.resize(grid.points());
  for (int frame = 0; frame < kFrames; ++frame) {
    if (frame > 0) solver.advance(flow, 1.0 / (kFrames - 1));
    solver.velocity(flow, fields[0], fields[1]);
    if (set.channels > 2) grid.to_points(flow.tracer.data(), fields[2].data());
    for (int channel = 0; channel < set.channels; ++channel) {
      store(set, grid.n(), fields[static_cast<std::size_t>(channel)], frames);
      frames += grid.points();
    }
  }
}

void generate_flow_set(const GenerateOptions& options, Communicator& world) {
  const FlowSet& set = find_flow_set(options.problem);
  check(options);
  const std::int64_t n = options.resolution;
  std::unique_ptr<SampleWriter> writer;
  if (world.rank() == 0) {
    writer = std::make_unique<PdegymWriter>(options.output, "velocity", Shape{options.trajectories, kFrames, set.channels, n, n},
                                            source_of(options));
  }
  const auto make_solver = [&]() -> SolveSample {
    const auto solver = std::make_shared<NavierStokes>(
        FlowParameters{.resolution = options.resolution, .viscosity = options.viscosity, .viscous_above = options.viscous_above});
    return [&, solver](std::int64_t number, float* frames) { solve_trajectory(set, options, number, *solver, frames); };
  };
  farm_samples({.name = options.problem, .first = options.first, .count = options.trajectories, .floats = kFrames * set.channels * n * n},
               world, make_solver, std::move(writer));
}

}  // namespace trident
