/// The program: joins the job, reads the command line, runs one command, and turns the first error into one message and exit code 1.
#include <iostream>

#include "launch/commands.h"
#include "parallel/session.h"

namespace {

int run(trident::Session& session, int argc, const char* const* argv) {
  try {
    const trident::Invocation invocation = trident::parse_command_line(argc, argv, trident::all_commands());
    if (!invocation.run) return 0;
    trident::CommandContext context{invocation.common, session, ""};
    trident::share_cores(context);
    invocation.run(context);
    return 0;
  } catch (const std::exception& error) {
    return session.fail(error);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    trident::Session session;
    return run(session, argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
}
