/// The table of commands.
#pragma once

#include "launch/command_line.h"

namespace trident {

/// In the order of `trident --help`. A command is defined in the file of its name.
std::vector<Command> all_commands();
Command generate_command();
Command train_command();
Command plan_command();
Command evaluate_command();
Command predict_command();
Command serve_command();  // absent from builds without gRPC
Command convert_command();
Command inspect_command();
Command plot_command();

}  // namespace trident
