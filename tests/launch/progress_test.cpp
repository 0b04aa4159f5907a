#include "launch/trainer/progress.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "launch/trainer/stop_signal.h"

namespace trident {
namespace {

TEST(Readable, DurationsHaveTwoUnitsAndRoundUp) {
  EXPECT_EQ(readable_duration(0.2), "1 s");
  EXPECT_EQ(readable_duration(59.5), "1 min 00 s");
  EXPECT_EQ(readable_duration(3725.0), "1 h 02 min");
}

TEST(Readable, BytesHaveAUnit) {
  EXPECT_EQ(readable_bytes(1536.0), "1.5 KiB");
  EXPECT_EQ(readable_bytes(3.5 * 1024 * 1024 * 1024), "3.50 GiB");
}

TEST(StopSignal, RemembersTheSignalAndNothingElseHappens) {
  const StopSignal stop;
  EXPECT_EQ(StopSignal::received(), 0);
  raise(SIGUSR1);
  EXPECT_EQ(StopSignal::received(), SIGUSR1);
  const StopSignal again;
  EXPECT_EQ(StopSignal::received(), 0);
  raise(SIGTERM);
  EXPECT_EQ(StopSignal::received(), SIGTERM);
}

}  // namespace
}  // namespace trident
