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
  std::optional<double> viscosity;  // the default is the problem's
};

std::string known_problems() {
  std::string names;
  for (const std::vector<std::string>& part : {flow_set_names(), pair_set_names()}) {
    for (const std::string& name : part) names += (names.empty() ? "" : ", ") + name;
  }
  return names;
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
            arguments.add("--viscous-above", options.viscous_above, "NS: cycles per side up to which the flow feels no viscosity");
            arguments.add("--velocity-std", options.velocity_std, "NS: root mean square of a velocity component at time 0");
            arguments.add("--coefficient", options.coefficient, "Darcy: two-phase or log-normal");
            arguments.flag("--overwrite", options.overwrite, "replace an existing file");
            return [given](CommandContext& context) {
              if (is_pair_set(given->options.problem)) given->options.viscosity = kBurgersViscosity;
              if (given->viscosity) given->options.viscosity = *given->viscosity;
              generate(given->options, context);
            };
          }};
}

}  // namespace trident
