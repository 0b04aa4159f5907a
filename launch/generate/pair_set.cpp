#include "launch/generate/pair_set.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "launch/generate/burgers.h"
#include "launch/generate/darcy.h"
#include "launch/generate/pair_writer.h"
#include "launch/generate/sample_farm.h"
#include "parallel/communicator.h"

namespace trident {
namespace {

Medium medium_named(const std::string& name) {
  std::string allowed;
  for (const auto& [medium, text] : config_names(Medium{})) {
    if (name == text) return medium;
    allowed += concat(allowed.empty() ? "" : ", ", text);
  }
  throw ConfigError(concat("generate: --coefficient \"", name, "\" is not known; allowed: ", allowed));
}

RandomKey key_of(const GenerateOptions& options, std::int64_t number) {
  return RandomKey(static_cast<std::uint64_t>(options.seed)).fold(options.problem).fold(static_cast<std::uint64_t>(number));
}

void generate_darcy(const GenerateOptions& options, Communicator& world) {
  const Medium medium = medium_named(options.coefficient);
  check_sample_options(options, 4);
  const std::int64_t n = options.resolution;
  std::unique_ptr<SampleWriter> writer;
  if (world.rank() == 0) {
    const std::string meaning = medium == Medium::two_phase
                                    ? std::string("x is the phase: the coefficient is 0.02 where x is 0 and 0.36 where it is 1")
                                    : "x is the coefficient";
    const std::string source = concat("Trident generate Darcy --first ", options.first, " --resolution ", n, " --seed ", options.seed,
                                      " --coefficient ", options.coefficient);
    writer = std::make_unique<PairWriter>(
        options.output, options.trajectories, Shape{n, n}, Shape{n, n},
        std::vector<std::pair<std::string, std::string>>{
            {"equation", "-div(a grad y) = 1, y = 0 on the boundary"}, {"medium", meaning}, {"source", source}});
  }
  const auto make_solver = [&]() -> SolveSample {
    return [&](std::int64_t number, float* values) {
      solve_darcy(medium, options.resolution, key_of(options, number), values, values + n * n);
    };
  };
  farm_samples({.name = options.problem, .samples = "samples", .first = options.first, .count = options.trajectories, .floats = 2 * n * n},
               world, make_solver, std::move(writer));
}

void generate_burgers(const GenerateOptions& options, Communicator& world) {
  check_sample_options(options, 4);
  require_option(options.viscosity > 0.0, "viscosity", options.viscosity, "a number above 0: shocks need it");
  const std::int64_t n = options.resolution;
  std::unique_ptr<SampleWriter> writer;
  if (world.rank() == 0) {
    const std::string source = concat("Trident generate Burgers1D --first ", options.first, " --resolution ", n, " --seed ", options.seed,
                                      " --viscosity ", options.viscosity);
    writer = std::make_unique<PairWriter>(options.output, options.trajectories, Shape{n}, Shape{kBurgersFrames, n},
                                          std::vector<std::pair<std::string, std::string>>{
                                              {"equation", concat("y_t + y y_x = ", options.viscosity, " y_xx on [0, 1), periodic")},
                                              {"time", concat(kBurgersFrames, " frames from 0 to 1")},
                                              {"source", source}});
  }
  const auto make_solver = [&]() -> SolveSample {
    return [&](std::int64_t number, float* values) {
      solve_burgers(options.resolution, options.viscosity, key_of(options, number), values + n);
      std::copy_n(values + n, n, values);  // x is frame 0
    };
  };
  farm_samples({.name = options.problem, .first = options.first, .count = options.trajectories, .floats = (kBurgersFrames + 1) * n}, world,
               make_solver, std::move(writer));
}

}  // namespace

std::vector<std::string> pair_set_names() { return {kDarcySet, kBurgersSet}; }

bool is_pair_set(const std::string& name) { return name == kDarcySet || name == kBurgersSet; }

void generate_pair_set(const GenerateOptions& options, Communicator& world) {
  if (options.problem == kDarcySet) return generate_darcy(options, world);
  generate_burgers(options, world);
}

}  // namespace trident
