#include "launch/trainer/schedule.h"

#include <gtest/gtest.h>

namespace trident {
namespace {

TEST(Schedule, CosineWithWarmUpStartsAtZeroAndFollowsTheReference) {
  const Schedule schedule({.choice = ScheduleChoice::cosine, .warmup_steps = 3, .total_steps = 15});
  // 0.001 times these are the rates of a recorded run of the reference.
  const double expected[] = {0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 0.9829629131445341, 0.9330127018922195, 0.8535533905932737, 0.75};
  for (int step = 0; step < 8; ++step) EXPECT_DOUBLE_EQ(schedule.factor(step), expected[step]) << step;
  EXPECT_NEAR(schedule.factor(15), 0.0, 1e-16);
}

TEST(Schedule, CosineWithoutWarmUpStartsAtOne) {
  const Schedule schedule({.choice = ScheduleChoice::cosine, .total_steps = 4});
  EXPECT_DOUBLE_EQ(schedule.factor(0), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(2), 0.5);
}

TEST(Schedule, StepReducesTheRateByGammaAfterTheWarmUp) {
  const Schedule schedule({.choice = ScheduleChoice::step, .warmup_steps = 2, .step_size = 3, .gamma = 0.5});
  const double expected[] = {0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25};
  for (int step = 0; step < 9; ++step) EXPECT_DOUBLE_EQ(schedule.factor(step), expected[step]) << step;
}

TEST(Schedule, ConstantStaysAtOneAfterTheWarmUp) {
  const Schedule schedule({.choice = ScheduleChoice::constant, .warmup_steps = 2});
  EXPECT_DOUBLE_EQ(schedule.factor(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(2), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(1000), 1.0);
}

}  // namespace
}  // namespace trident
