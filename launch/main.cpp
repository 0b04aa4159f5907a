/// The program: joins the job, reads the command line, runs one command. An error is printed once and ends with exit code 1.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "launch/commands.h"
#include "parallel/session.h"
#include "runtime/error.h"

namespace {

/// OpenMP's threads that have nothing to do spin before they sleep: 300,000 pauses, which on recent processors are 14 ms. Beside other work
/// on the machine they so keep the cores from those that they wait for, and a step takes many times as long. GCC's library reads the number
/// before main() begins, so the program starts itself anew with a smaller one, unless the user has chosen.
void let_idle_threads_sleep(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "10000", 1);
  ::execv("/proc/self/exe", argv);  // where this fails, nothing but that time is lost
}

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
  let_idle_threads_sleep(argv);
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
