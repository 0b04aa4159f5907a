/// The program: reads the command line, runs one command, and turns the first error into one message and exit code 1.
#include <iostream>

#include "launch/commands.h"
#include "launch/slurm/environment.h"

namespace {

using trident::LaunchedProcess;
using trident::CommandContext;

void report(const std::exception& error, const CommandContext& context) {
  const LaunchedProcess process = trident::launched_process();
  std::string message = "trident: ";
  if (process.size > 1) message = "[rank " + std::to_string(process.rank) + (context.place.empty() ? "" : " | " + context.place) + "] ";
  std::cerr << message + error.what() + '\n' << std::flush;
}

}  // namespace

int main(int argc, char** argv) {
  CommandContext context;
  try {
    const trident::Invocation invocation = trident::parse_command_line(argc, argv, trident::all_commands());
    if (!invocation.run) return 0;
    context.common = invocation.common;
    trident::share_cores(context);
    invocation.run(context);
    return 0;
  } catch (const std::exception& error) {
    report(error, context);
    return 1;
  }
}
