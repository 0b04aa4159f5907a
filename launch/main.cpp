/// The program: joins the job, reads the command line, runs one command. An error is printed once and ends with exit code 1.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <iostream>

#include "launch/commands.h"
#include "parallel/session.h"
#include "runtime/error.h"

namespace {

/// A file that is opened where a standard stream was closed would get its number, and with it all that is printed.
void occupy_standard_streams() {
  int descriptor = 0;
  do {
    descriptor = ::open("/dev/null", O_RDWR);
  } while (descriptor >= 0 && descriptor <= STDERR_FILENO);
  if (descriptor > STDERR_FILENO) ::close(descriptor);
}

void require_printed() {
  if (!std::cout.flush()) throw trident::DataError("standard output: cannot be written to its end; free space where it goes");
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit of sizes is an error of the writer, as a full disk is
  return trident::run_job([&](trident::Session& session) {
    const trident::Invocation invocation = trident::parse_command_line(argc, argv, trident::all_commands());
    if (invocation.run) {
      trident::CommandContext context{invocation.common, session, ""};
      trident::set_threads(context);
      invocation.run(context);
    }
    require_printed();
    return 0;
  });
}
