/// The program: reads the command line, runs one command, and turns the first error into one message and exit code 1.
#include <iostream>

#include "launch/commands.h"
#include "launch/slurm/environment.h"

namespace {

using trident::LaunchedProcess;
using trident::Session;

void report(const std::exception& error, const Session& session) {
  const LaunchedProcess process = trident::launched_process();
  std::string message = "trident: ";
  if (process.size > 1) message = "[rank " + std::to_string(process.rank) + (session.place.empty() ? "" : " | " + session.place) + "] ";
  std::cerr << message + error.what() + '\n' << std::flush;
}

}  // namespace

int main(int argc, char** argv) {
  Session session;
  try {
    const trident::Invocation invocation = trident::parse_command_line(argc, argv, trident::all_commands());
    if (!invocation.run) return 0;
    session.common = invocation.common;
    trident::share_cores(session);
    invocation.run(session);
    return 0;
  } catch (const std::exception& error) {
    report(error, session);
    return 1;
  }
}
