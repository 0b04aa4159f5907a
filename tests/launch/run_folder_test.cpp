#include "launch/trainer/run_folder.h"

#include <gmock/gmock.h>

#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using ::testing::HasSubstr;
using testing::message_of;
using testing::TemporaryFolder;

TEST(RunLock, OneJobHasAFolderAtATime) {
  const TemporaryFolder place;
  const RunFolder folder{place / "runs" / "a"};
  {
    const RunLock first(folder);
    EXPECT_THAT(message_of<ConfigError>([&] { RunLock{folder}; }), HasSubstr("another job is writing"));
    const RunLock elsewhere(RunFolder{place / "b"});
  }
  const RunLock next(folder);
}

}  // namespace
}  // namespace trident
