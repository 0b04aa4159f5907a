/// Processes beside a test.
#include "tests/launch/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "runtime/error.h"

namespace trident::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

bool appears(const std::filesystem::path& file) {
  for (int tries = 0; tries < 2000 && !std::filesystem::exists(file); ++tries) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return std::filesystem::exists(file);
}

/// Whether a process that a test starts by start(command) is told to end when the test is killed.
template <class StartCommand>
bool ends_with_its_test(StartCommand&& start) {
  const RunFolderFixture folder;
  const std::string ready = folder.path("ready"), ended = folder.path("ended");
  const pid_t test = ::fork();
  if (test == 0) {
    start(concat("sh -c \"trap 'touch ", ended, "; exit' TERM; touch ", ready, "; while :; do sleep 0.01; done\""));
    ::_exit(0);
  }
  EXPECT_TRUE(appears(ready));
  ::kill(test, SIGKILL);
  ::waitpid(test, nullptr, 0);
  return appears(ended);
}

TEST(Background, EndsWithTheTestThatIsKilled) {
  EXPECT_TRUE(ends_with_its_test([](const std::string& command) {
    const Background beside(command);
    ::pause();
  }));
}

TEST(RunShell, EndsWithTheTestThatIsKilled) {
  // What it prints of being told has no reader any more.
  EXPECT_TRUE(ends_with_its_test([](const std::string& command) { run_shell("true && " + command + " 2>/dev/null"); }));
}

TEST(Program, LetsIdleThreadsSleepSoonerUnlessTheUserChose) {
  const std::string shown = "OMP_DISPLAY_ENV=verbose " + program() + " --version";
  EXPECT_THAT(run_shell("unset OMP_WAIT_POLICY GOMP_SPINCOUNT; " + shown).output, HasSubstr("GOMP_SPINCOUNT = '10000'"));
  for (const char* choice : {"OMP_WAIT_POLICY=active", "GOMP_SPINCOUNT=77"}) {
    EXPECT_THAT(run_shell(concat("unset OMP_WAIT_POLICY; ", choice, " ", shown)).output, Not(HasSubstr("'10000'"))) << choice;
  }
}

TEST(RunShell, TellsOutputAndStatus) {
  const Finished finished = run_shell("echo out; echo error >&2; exit 3");
  EXPECT_EQ(finished.output, "out\nerror\n");
  EXPECT_EQ(finished.status, 3);
}

}  // namespace
}  // namespace trident::testing
