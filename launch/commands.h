/// The table of commands.
#pragma once

#include "launch/command_line.h"

namespace trident {

Command convert_command();
Command inspect_command();

/// In the order of `trident --help`. A command is defined in the file of its name.
std::vector<Command> all_commands();
Command generate_command();
Command serve_command();  // absent from builds without gRPC

}  // namespace trident
