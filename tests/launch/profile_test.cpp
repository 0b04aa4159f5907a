#include "launch/trainer/profile.h"

#include <gtest/gtest.h>

namespace trident {
namespace {

TraceEvent event(const char* name, double start, double end, TraceEvent::Kind kind = TraceEvent::Kind::work) {
  return {.name = name, .kind = kind, .communication = false, .start = start, .end = end, .group = "", .sequence = -1, .bytes = 0};
}

TraceEvent exchange(double start, double end, const char* group, std::int64_t sequence) {
  return {.name = "all_reduce",
          .kind = TraceEvent::Kind::exchange,
          .communication = true,
          .start = start,
          .end = end,
          .group = group,
          .sequence = sequence,
          .bytes = 100};
}

TEST(Profile, TellsHiddenExposedAndWaitingApart) {
  // Rank 0 sends from 2 on; rank 1 comes at 4, the numbers have arrived at 7. Rank 0 computes until 5 and is blocked until 7.
  const std::vector<std::vector<TraceEvent>> ranks{
      {event("step", 0, 10), event("waiting for communication", 5, 7, TraceEvent::Kind::blocked), exchange(2, 7, "data 0/0.1:0", 4)},
      {event("step", 0, 10), exchange(4, 7, "data 0/0.1:0", 4)}};
  const Profile profile = profile_of(ranks);
  ASSERT_EQ(profile.steps.size(), 2u);
  const StepProfile &first = profile.steps[0], &second = profile.steps[1];
  EXPECT_DOUBLE_EQ(first.compute, 8.0);
  EXPECT_DOUBLE_EQ(first.exposed, 2.0);  // 5 to 7
  EXPECT_DOUBLE_EQ(first.hidden, 1.0);   // 4 to 5; from 2 to 4 nothing travelled
  EXPECT_DOUBLE_EQ(first.waiting, 0.0);
  EXPECT_EQ(first.bytes, 100);
  EXPECT_DOUBLE_EQ(second.compute, 10.0);
  EXPECT_DOUBLE_EQ(second.hidden, 3.0);
  EXPECT_DOUBLE_EQ(profile.exposed_by_axes.at("data"), 2.0);
}

TEST(Profile, ARankThatIsEarlyWaitsForTheOthers) {
  const std::vector<std::vector<TraceEvent>> ranks{
      {event("step", 0, 10), event("waiting for communication", 1, 9, TraceEvent::Kind::blocked), exchange(1, 9, "tensor 0/0.2:0", 0)},
      {event("step", 0, 10), event("waiting for communication", 8, 9, TraceEvent::Kind::blocked), exchange(8, 9, "tensor 0/0.2:0", 0)}};
  const Profile profile = profile_of(ranks);
  EXPECT_DOUBLE_EQ(profile.steps[0].waiting, 7.0);
  EXPECT_DOUBLE_EQ(profile.steps[0].exposed, 1.0);
  EXPECT_DOUBLE_EQ(profile.steps[0].compute, 2.0);
  EXPECT_DOUBLE_EQ(profile.steps[1].waiting, 0.0);
}

TEST(Profile, WhatTheComputingThreadExchangesItselfExposesNothingElse) {
  TraceEvent own = exchange(3, 6, "tensor 0/0.2:0", 0);
  own.communication = false;
  const std::vector<std::vector<TraceEvent>> ranks{{event("step", 0, 10), own, exchange(2, 8, "data 0.1/0.1:0", 0)}};
  const Profile profile = profile_of(ranks);
  EXPECT_DOUBLE_EQ(profile.steps[0].compute, 7.0);
  EXPECT_DOUBLE_EQ(profile.steps[0].exposed, 3.0);
  EXPECT_DOUBLE_EQ(profile.exposed_by_axes.at("tensor"), 3.0);
  EXPECT_DOUBLE_EQ(profile.exposed_by_axes.at("data"), 0.0);
}

TEST(Profile, TheTraceHasAProcessARankAndALaneForCommunication) {
  const ConfigValue trace = chrome_trace({{event("step", 1, 2), exchange(1, 2, "data 0/0.1:0", 0)}}, {"rank 0 | data 0"});
  const std::vector<ConfigValue>& events = trace.find("traceEvents")->elements();
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[0].find("args")->find("name")->as_string(), "rank 0 | data 0");
  EXPECT_EQ(events[3].find("tid")->as_integer(), 0);
  EXPECT_EQ(events[4].find("tid")->as_integer(), 1);
  EXPECT_DOUBLE_EQ(events[4].find("dur")->as_number(), 1e6);
  EXPECT_EQ(events[4].find("args")->find("over")->as_string(), "data");
}

}  // namespace
}  // namespace trident
