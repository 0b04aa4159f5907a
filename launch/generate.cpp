#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <vector>

#include "launch/commands.h"
#include "launch/generate/burgers.h"
#include "launch/generate/flow_set.h"
#include "launch/generate/pair_set.h"
#include "parallel/session.h"
#include "runtime/config.h"

namespace trident {

namespace {

struct GenerateArguments {
  GenerateOptions options;
  // Of some problems alone; the defaults are the problem's.
  std::optional<double> viscosity, viscous_above, velocity_std;
  std::optional<std::string> coefficient;
};

std::string known_problems() {
  std::string names;
  for (const std::vector<std::string>& part : {flow_set_names(), pair_set_names()}) {
    for (const std::string& name : part) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

/// What is solved, with the options that were given; those of other problems are refused.
GenerateOptions complete(const GenerateArguments& given) {
  GenerateOptions options = given.options;
  const bool is_flow = !is_pair_set(options.problem), is_burgers = options.problem == kBurgersSet, is_darcy = options.problem == kDarcySet;
  const std::vector<std::string> flows = flow_set_names();
  if (is_flow && std::ranges::find(flows, options.problem) == flows.end()) {
    throw ConfigError(concat("generate: problem \"", options.problem, "\" has no solver; there are ", known_problems()));
  }
  if (is_burgers) options.viscosity = kBurgersViscosity;
  const auto take = [&](const char* option, const auto& value, bool fits, const char* owners, auto& target) {
    if (!value) return;
    if (!fits)
      throw ConfigError(concat("generate: ", option, " means nothing for ", options.problem, ", only for ", owners, "; leave it out"));
    target = *value;
  };
  take("--viscosity", given.viscosity, is_flow || is_burgers, "NS-* and Burgers1D", options.viscosity);
  take("--viscous-above", given.viscous_above, is_flow, "NS-*", options.viscous_above);
  take("--velocity-std", given.velocity_std, is_flow, "NS-*", options.velocity_std);
  take("--coefficient", given.coefficient, is_darcy, "Darcy", options.coefficient);
  return options;
}

void generate(const GenerateOptions& options, const CommandContext& context) {
  Communicator& world = *context.session.world();
  const bool is_pair = is_pair_set(options.problem);
  if (is_pair) {
    generate_pair_set(options, world);
  } else {
    generate_flow_set(options, world);
  }
  if (!context.common.json || world.rank() != 0) return;
  ConfigValue result = ConfigValue::map({{"output", options.output}, {"trajectories", options.trajectories}});
  if (!is_pair) result.set("frames", kFrames);
  std::cout << to_json(result) << '\n';
}

}  // namespace

Command generate_command() {
  return {"generate", "solves a PDE many times and writes a data set", [](Arguments& arguments) {
            auto given = std::make_shared<GenerateArguments>();
            GenerateOptions& options = given->options;
            arguments.add("problem", options.problem, known_problems(), Presence::required);
            arguments.add("--trajectories", options.trajectories, "how many to solve", Presence::required);
            arguments.add("--output", options.output, "the file to write", Presence::required);
            arguments.add("--first", options.first, "number of the first trajectory: parts of a set can be made apart");
            arguments.add("--resolution", options.resolution, "points per side");
            arguments.add("--seed", options.seed, "data depend on it and the trajectory's number alone");
            arguments.add("--viscosity", given->viscosity, "NS: of the flow and of its tracer, default 4e-4; Burgers1D: default 0.01");
            arguments.add("--viscous-above", given->viscous_above,
                          "NS: cycles per side up to which the flow feels no viscosity; default 0");
            arguments.add("--velocity-std", given->velocity_std, "NS: root mean square of a velocity component at time 0; default 0.39");
            arguments.add("--coefficient", given->coefficient, "Darcy: two-phase (default) or log-normal");
            arguments.flag("--overwrite", options.overwrite, "replace an existing file");
            return [given](CommandContext& context) { generate(complete(*given), context); };
          }};
}

}  // namespace trident
