#include "models/problem.h"

#include <gtest/gtest.h>

#include "runtime/error.h"

namespace trident {
namespace {

TEST(FramePairs, ListAllPairsOfSnapshotsWithTheFirstFrameAscending) {
  const std::vector<FramePair> expected{{0, 0}, {0, 3}, {0, 6}, {3, 3}, {3, 6}, {6, 6}};
  EXPECT_EQ(frame_pairs({.max_num_time_steps = 2, .time_step_size = 3}), expected);
}

TEST(FramePairs, KeepAllowedTransitionsInThatOrderWhateverTheOrderOfTheList) {
  const std::vector<FramePair> expected{{0, 1}, {0, 3}, {1, 2}, {2, 3}};
  EXPECT_EQ(frame_pairs({.max_num_time_steps = 3, .time_step_size = 1, .allowed_time_transitions = std::vector{3, 1}}), expected);
}

TEST(FramePairs, OfAFixedInputIgnoreAllowedTransitions) {
  TimeSettings settings{
      .max_num_time_steps = 3, .time_step_size = 2, .allowed_time_transitions = std::vector{1}, .fix_input_to_time_step = 5};
  const std::vector<FramePair> expected{{5, 7}, {5, 9}, {5, 11}};
  EXPECT_EQ(frame_pairs(settings), expected);
}

TEST(FramePairs, RefuseSettingsThatCannotBeMeant) {
  EXPECT_THROW(frame_pairs({.max_num_time_steps = 0}), ConfigError);
  EXPECT_THROW(frame_pairs({.time_step_size = 0}), ConfigError);
  EXPECT_THROW(frame_pairs({.allowed_time_transitions = std::vector{8}}), ConfigError);
  EXPECT_THROW(frame_pairs({.fix_input_to_time_step = -1}), ConfigError);
}

TEST(FramePairs, RefuseFramesThatNoDataSetHasBeforeTheyAreListed) {
  EXPECT_THROW(frame_pairs({.max_num_time_steps = 2147483647, .time_step_size = 1}), ConfigError);
  EXPECT_THROW(frame_pairs({.max_num_time_steps = 7, .time_step_size = 2147483647}), ConfigError);
  EXPECT_THROW(frame_pairs({.max_num_time_steps = 7, .time_step_size = 2, .fix_input_to_time_step = 2147483647}), ConfigError);
}

TEST(Splits, AreByPositionWithTheTestSetLast) {
  const Splits splits{.total = 20, .validation = 3, .test = 5};
  EXPECT_EQ(trajectories_of(splits, Split::train), (TrajectoryRange{0, 12}));
  EXPECT_EQ(trajectories_of(splits, Split::validation), (TrajectoryRange{12, 15}));
  EXPECT_EQ(trajectories_of(splits, Split::test), (TrajectoryRange{15, 20}));
  EXPECT_EQ(trajectories_of(splits, Split::train, -2).last, 6);
  EXPECT_EQ(trajectories_of(splits, Split::train, -8).last, 1);
  EXPECT_EQ(trajectories_of(splits, Split::train, 12).last, 12);
  for (const std::int64_t number : {0, -3, 13}) EXPECT_THROW(trajectories_of(splits, Split::train, number), ConfigError);
}

TEST(Problems, AreFoundByOurNameAndByTheReferences) {
  EXPECT_EQ(find_problem("NS-SVS").name, "NS-SVS");
  EXPECT_EQ(find_problem("fluids.incompressible.VortexSheet").name, "NS-SVS");
  EXPECT_EQ(problem_names().size(), 20U);
  for (const std::string& name : problem_names()) EXPECT_EQ(find_problem(name).name, name);
}

TEST(Problems, HaveAsManyChannelsAsTheirGroups) {
  for (const std::string& name : problem_names()) {
    const Problem problem = find_problem(name);
    EXPECT_EQ(channel_groups(problem).back().last, static_cast<int>(problem.output.size())) << name;
  }
}

TEST(Problems, TakeTheEndingsThatTheyHave) {
  EXPECT_EQ(find_problem("NS-PwC.tracer").input.back().name, "tracer");
  EXPECT_EQ(find_problem("NS-PwC.tracer.out").times.max_num_time_steps, 10);
  EXPECT_EQ(find_problem("SE-AF.time").time_scale, 1.0);
  for (const char* name : {"NS-Sines.tracer", "CE-RP.tracer", "FNS-KF.tracer", "Wave-Gauss.out", "SE-AF.out", "NS-Sines.time", "NS-Sin"}) {
    EXPECT_THROW(find_problem(name), ConfigError) << name;
  }
}

TEST(Problems, LoseDensityAndPressureAloneByJustVelocities) {
  const Problem problem = velocities_only(find_problem("FNS-KF"));
  EXPECT_EQ(group_names(problem), (std::vector<std::string>{"uv", "g"}));
  EXPECT_EQ(problem.input.front().name, "u");
  EXPECT_THROW(velocities_only(find_problem("CE-RP")), ConfigError);
}

TEST(Problems, SurviveTheirConfigurationWithEveryDigit) {
  for (const char* name : {"FNS-KF", "Helmholtz.time", "NS-SL.out", "CE-Gauss"}) {
    const Problem problem = find_problem(name);
    const std::string text = to_json(to_config(problem));
    EXPECT_EQ(to_json(to_config(problem_from_config(parse_json(text, "trident.json")))), text);
  }
  const Problem read = problem_from_config(parse_json(to_json(to_config(find_problem("FNS-KF"))), "trident.json"));
  EXPECT_EQ(read.input[4].mean, -1.2996679288335145e-09);
  EXPECT_TRUE(read.input[3].masked);
}

}  // namespace
}  // namespace trident
