#include "launch/trainer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

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

TEST(Schedule, OfEpochsHasOneRateAnEpoch) {
  const Schedule schedule({.choice = ScheduleChoice::step, .steps_per_unit = 3, .step_size = 2, .gamma = 0.5});
  for (int step = 0; step < 18; ++step) EXPECT_DOUBLE_EQ(schedule.factor(step), std::pow(0.5, step / 6)) << step;
}

TEST(Schedule, CosineAnnealingGoesDownToItsFloorAndUpAgain) {
  const Schedule schedule({.choice = ScheduleChoice::cosine_annealing, .steps_per_unit = 2, .t_max = 4, .floor = 0.1});
  EXPECT_DOUBLE_EQ(schedule.factor(0), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(1), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(4), 0.55);
  EXPECT_DOUBLE_EQ(schedule.factor(8), 0.1);
  EXPECT_DOUBLE_EQ(schedule.factor(16), 1.0);
}

TEST(Schedule, PlateauReducesTheRateWhenEpochsStopImproving) {
  Schedule schedule({.choice = ScheduleChoice::plateau, .gamma = 0.5, .patience = 1, .steps_per_epoch = 2});
  const auto epoch = [&](double loss) {
    schedule.observe(loss - 0.1);
    const double before = schedule.factor(0);
    schedule.observe(loss + 0.1);
    return before;
  };
  for (const double loss : {4.0, 3.0, 3.0, 2.9999}) epoch(loss);  // the last two are no better by a relative 1e-4
  EXPECT_DOUBLE_EQ(schedule.factor(0), 0.5);
  Schedule resumed({.choice = ScheduleChoice::plateau, .gamma = 0.5, .patience = 1, .steps_per_epoch = 2});
  resumed.restore(schedule.state());
  for (Schedule* one : {&schedule, &resumed}) {
    for (int step = 0; step < 4; ++step) one->observe(5.0);
    EXPECT_DOUBLE_EQ(one->factor(0), 0.25);
  }
}

TEST(Schedule, PlateauLeavesRatesThatWouldHardlyChange) {
  Schedule schedule({.choice = ScheduleChoice::plateau, .rate = 3e-8, .gamma = 0.5, .patience = 0});
  for (int epoch = 0; epoch < 4; ++epoch) schedule.observe(1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(0), 0.5);  // the next reduction would be one of 7.5e-9
}

TEST(Schedule, ConstantStaysAtOneAfterTheWarmUp) {
  const Schedule schedule({.choice = ScheduleChoice::constant, .warmup_steps = 2});
  EXPECT_DOUBLE_EQ(schedule.factor(1), 0.5);
  EXPECT_DOUBLE_EQ(schedule.factor(2), 1.0);
  EXPECT_DOUBLE_EQ(schedule.factor(1000), 1.0);
}

}  // namespace
}  // namespace trident
