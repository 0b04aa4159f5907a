#include "runtime/activity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <thread>

#include "runtime/device/stream.h"

namespace trident {
namespace {

bool any_line(const std::string& text) {
  const std::vector<std::string> lines = describe_threads();
  return std::ranges::any_of(lines, [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

TEST(Activity, AnotherThreadReadsWhatThisOneDoes) {
  const Activity step("step");
  const Activity forward("forward");
  note_operation("linear");
  note_operation("gelu");
  bool seen = false;
  std::thread([&] { seen = any_line("computing: step > forward; last operations: gelu, linear"); }).join();
  EXPECT_TRUE(seen);
  EXPECT_EQ(enclosing_activities(), "step");
}

TEST(Activity, NothingIsSaidOfThreadsThatDoNothing) {
  { const Activity over("that is over"); }
  EXPECT_FALSE(any_line("that is over"));
}

TEST(Activity, AWorkerIsInTheActivitiesOfWhoAskedForTheWork) {
  WorkerStream stream;
  std::string seen;
  {
    const Activity backward("backward");
    stream.enqueue([&] {
      const Activity sum("all_reduce");
      seen = enclosing_activities();
    });
  }
  stream.synchronize();
  EXPECT_EQ(seen, "backward");
}

TEST(Activity, DeeperThanThereIsRoomForIsCutNotWrong) {
  std::vector<std::unique_ptr<Activity>> nested;
  for (int k = 0; k < 2 * ActivityStack::kDeepest; ++k) nested.push_back(std::make_unique<Activity>("level"));
  EXPECT_EQ(current_activities().depth, ActivityStack::kDeepest);
  while (!nested.empty()) nested.pop_back();
  EXPECT_EQ(current_activities().depth, 0);
}

}  // namespace
}  // namespace trident
