/// Processes beside a test.
#include "tests/launch/program.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "runtime/error.h"

namespace trident::testing {
namespace {

bool appears(const std::filesystem::path& file) {
  for (int tries = 0; tries < 2000 && !std::filesystem::exists(file); ++tries) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return std::filesystem::exists(file);
}

TEST(Background, EndsWithTheTestThatIsKilled) {
  const RunFolderFixture folder;
  const std::string ready = folder.path("ready"), ended = folder.path("ended");
  const pid_t test = ::fork();
  if (test == 0) {
    const Background beside(concat("sh -c \"trap 'touch ", ended, "; exit' TERM; touch ", ready, "; while :; do sleep 0.01; done\""));
    ::pause();
    ::_exit(0);
  }
  EXPECT_TRUE(appears(ready));
  ::kill(test, SIGKILL);
  ::waitpid(test, nullptr, 0);
  EXPECT_TRUE(appears(ended));
}

}  // namespace
}  // namespace trident::testing
