/// The program: joins the job, reads the command line, runs one command. An error is printed once and ends with exit code 1.
#include <csignal>

#include "launch/commands.h"
#include "parallel/session.h"

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit of sizes is an error of the writer, as a full disk is
  return trident::run_job([&](trident::Session& session) {
    const trident::Invocation invocation = trident::parse_command_line(argc, argv, trident::all_commands());
    if (!invocation.run) return 0;
    trident::CommandContext context{invocation.common, session, ""};
    trident::set_threads(context);
    invocation.run(context);
    return 0;
  });
}
