#include "launch/commands.h"

namespace trident {

std::vector<Command> all_commands() { return {generate_command()}; }

}  // namespace trident
