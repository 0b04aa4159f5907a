#include <iostream>
#include <memory>

#include "launch/commands.h"
#include "launch/generate/flow_set.h"
#include "parallel/session.h"
#include "runtime/config.h"

namespace trident {

Command generate_command() {
  return {"generate", "solves a PDE many times and writes a data set in the PDEgym layout", [](Arguments& arguments) {
            auto options = std::make_shared<GenerateOptions>();
            std::string names;
            for (const std::string& name : flow_set_names()) names += (names.empty() ? "" : ", ") + name;
            arguments.add("problem", options->problem, names, Presence::required);
            arguments.add("--trajectories", options->trajectories, "how many to solve", Presence::required);
            arguments.add("--output", options->output, "the file to write", Presence::required);
            arguments.add("--first", options->first, "number of the first trajectory: parts of a set can be made apart");
            arguments.add("--resolution", options->resolution, "points per side");
            arguments.add("--seed", options->seed, "data depend on it and the trajectory's number alone");
            arguments.add("--viscosity", options->viscosity, "of the flow and of its tracer, in unit squares per unit time");
            arguments.add("--viscous-above", options->viscous_above, "cycles per side up to which the flow feels no viscosity");
            arguments.add("--velocity-std", options->velocity_std, "root mean square of a velocity component at time 0");
            arguments.flag("--overwrite", options->overwrite, "replace an existing file");
            return [options](CommandContext& context) {
              Communicator& world = *context.session.world();
              generate_flow_set(*options, world);
              if (!context.common.json || world.rank() != 0) return;
              ConfigValue result = ConfigValue::map();
              result.set("output", options->output);
              result.set("trajectories", options->trajectories);
              result.set("frames", kFrames);
              std::cout << to_json(result) << '\n';
            };
          }};
}

}  // namespace trident
