#include "launch/commands.h"

#include "rpc/client.h"

namespace trident {

std::vector<Command> all_commands() {
  std::vector<Command> commands = {generate_command(), plan_command(), train_command(), evaluate_command(), predict_command()};
  if constexpr (build::kHasGrpc) commands.push_back(serve_command());
  commands.push_back(convert_command());
  commands.push_back(inspect_command());
  commands.push_back(plot_command());
  return commands;
}

}  // namespace trident
