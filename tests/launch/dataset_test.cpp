#include "launch/data/dataset.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "runtime/error.h"
#include "tests/launch/opened_data.h"

namespace trident {
namespace {

using ::testing::AllOf;
using testing::DataFiles;
using ::testing::HasSubstr;
using testing::message_of;
using testing::open_one;
using testing::own_entry;
using testing::read;
using testing::write_bytes;
using testing::write_counting;

using DamagedData = DataFiles;

TEST_F(DamagedData, NameTheFileThatIsMissingOrTruncated) {
  const std::string path = (folder / "x.h5").string();
  EXPECT_THAT(message_of<DataError>([&] { open_one(own_entry(path)); }), AllOf(HasSubstr(path), HasSubstr("no such file")));
  write_counting(path, "x", {40, 2, 16, 16});
  std::filesystem::resize_file(path, 30000);
  EXPECT_THAT(message_of<DataError>([&] { open_one(own_entry(path)); }),
              AllOf(HasSubstr(path), HasSubstr("truncated"), HasSubstr("30000 bytes")));
  write_bytes(path, "not a data file");
  EXPECT_THAT(message_of<DataError>([&] { open_one(own_entry(path)); }), HasSubstr("not a complete HDF5"));
  EXPECT_THAT(message_of<DataError>([] { open_one(own_entry("/dev/null")); }), HasSubstr("/dev/null: is no file of data"));
}

TEST_F(DamagedData, NameVariableTrajectoryFrameAndPointOfANumberThatIsNotFinite) {
  write_counting(folder / "x.h5", "x", {2, 3, 2, 2, 2}, 24 + 8 * 2 + 4 + 2 + 1);  // trajectory 1, frame 2, channel 1, point (1, 1)
  DataEntry entry = own_entry(folder / "x.h5");
  entry.time_axis = 1;
  const Dataset dataset = open_one(entry);
  read(dataset, 0);
  EXPECT_THAT(
      message_of<DataError>([&] { read(dataset, 6 + 2); }),
      AllOf(HasSubstr("x.h5: variable \"x\", trajectory 1, frame 2, channel 1, point (1, 1): found nan"), HasSubstr("expected finite")));
}

TEST_F(DamagedData, OfAnotherProblemSayWhatWasExpected) {
  write_counting(folder / "ns.nc", "velocity", {3, 2, 4, 4});
  DataEntry entry;
  entry.problem = "NS-Sines";
  entry.path = (folder / "ns.nc").string();
  entry.trajectories = {{0, 1}};
  EXPECT_THAT(message_of<DataError>([&] { open_one(entry); }),
              AllOf(HasSubstr("(3, 2, 4, 4)"), HasSubstr("(trajectory, frame, channel, y, x)")));
  entry.problem = "CE-RP";
  EXPECT_THAT(message_of<DataError>([&] { open_one(entry); }), HasSubstr("has no variable \"data\", but velocity"));
}

using ChunkFiles = DataFiles;

TEST_F(ChunkFiles, FollowEachOtherByNumberOrByName) {
  for (int number = 0; number < 11; ++number) {
    write_counting(folder / ("x_" + std::to_string(number) + ".nc"), "x", {number == 10 ? 1 : 2, 2, 2, 2});
  }
  DataEntry entry = own_entry(folder.path());
  const Dataset dataset = open_one(entry);
  EXPECT_EQ(dataset.size(), 21);
  EXPECT_EQ(read(dataset, 20).input[0], 0.0F);
  EXPECT_EQ(read(dataset, 19).input[0], 8.0F);
  EXPECT_THAT(dataset.description(), HasSubstr("11 files in the order of their numbers"));
  entry.chunk_order = ChunkOrder::name;
  EXPECT_EQ(read(open_one(entry), 4).input[0], 0.0F);  // x_10 follows x_1 and has one trajectory
  EXPECT_EQ(read(open_one(entry), 5).input[0], 0.0F);
}

TEST_F(ChunkFiles, WithAGapOrOfDifferentShapesAreRefused) {
  write_counting(folder / "x_0.nc", "x", {1, 2, 2, 2});
  write_counting(folder / "x_2.nc", "x", {1, 2, 2, 2});
  EXPECT_THAT(message_of<DataError>([&] { open_one(own_entry(folder.path())); }), HasSubstr("x_2.nc follows where x_1.nc was expected"));
  write_counting(folder / "x_1.nc", "x", {1, 2, 3, 2});
  EXPECT_THAT(message_of<DataError>([&] { open_one(own_entry(folder.path())); }),
              AllOf(HasSubstr("x_1.nc"), HasSubstr("3 points along y, expected 2")));
  EXPECT_THAT(message_of<DataError>([&] { chunk_files(folder.path().string(), "c", ChunkOrder::number); }),
              HasSubstr("no chunk file of variable \"c\""));
}

DataEntry flow_entry(const std::filesystem::path& path, const char* problem) {
  DataEntry entry;
  entry.problem = problem;
  entry.path = path.string();
  entry.trajectories = {{0, 2}};
  entry.max_num_time_steps = 1;
  return entry;
}

using Datasets = DataFiles;

TEST_F(Datasets, OfShearLayersAreTransposedInSpaceButNotInComponents) {
  write_counting(folder / "sl.nc", "velocity", {2, 3, 2, 2, 2});
  DataEntry entry = flow_entry(folder / "sl.nc", "NS-SL");
  entry.just_velocities = true;
  const float u_std = 0.391F, v_std = 0.356F;
  EXPECT_EQ(read(open_one(entry), 0).input,
            (std::vector<float>{0, 2 / u_std, 1 / u_std, 3 / u_std, 4 / v_std, 6 / v_std, 5 / v_std, 7 / v_std}));
}

TEST_F(Datasets, FollowEachOtherAndKeepTheirMasks) {
  write_counting(folder / "ns.nc", "velocity", {2, 3, 3, 2, 2});
  write_counting(folder / "ce.nc", "data", {2, 3, 5, 2, 2});
  const DataEntry flow = flow_entry(folder / "ns.nc", "NS-Sines"), gas = flow_entry(folder / "ce.nc", "CE-RP");
  const Dataset dataset = open_dataset({}, {gas, flow}, Split::train, "data.train");
  EXPECT_EQ(dataset.size(), 12);
  EXPECT_EQ(dataset.index(6).member, 1U);
  EXPECT_EQ(dataset.mask(), Dataset::Mask::channels);
  std::vector<float> field(4 * 4);
  bool mask[4];
  dataset.read(0, {field.data(), field.data(), mask});
  EXPECT_THAT(mask, ::testing::ElementsAre(false, false, false, false));
  dataset.read(6, {field.data(), field.data(), mask});
  EXPECT_THAT(mask, ::testing::ElementsAre(false, false, false, true));
}

TEST_F(Datasets, ThatCannotShareBatchesAreRefusedWithTheTwoNumbers) {
  write_counting(folder / "ns.nc", "velocity", {2, 3, 3, 2, 2});
  write_counting(folder / "fine.nc", "velocity", {2, 3, 3, 4, 4});
  const DataEntry flow = flow_entry(folder / "ns.nc", "NS-Sines"), fine = flow_entry(folder / "fine.nc", "NS-BB"),
                  tracer = flow_entry(folder / "ns.nc", "NS-PwC.tracer");
  const auto refusal = [&](const DataEntry& a, const DataEntry& b) {
    return message_of<ConfigError>([&] { open_dataset({}, {a, b}, Split::train, "data.train"); });
  };
  EXPECT_THAT(refusal(flow, fine), HasSubstr("resolutions 2x2 and 4x4"));
  EXPECT_THAT(refusal(flow, tracer), HasSubstr("input channels 4 and 5"));
  DataEntry weighted = flow;
  weighted.weight = 2.0;
  EXPECT_THAT(refusal(flow, weighted), HasSubstr("weights none and given"));
}

TEST_F(Datasets, GiveOtherPairsOfFramesForEvaluation) {
  write_counting(folder / "ns.nc", "velocity", {2, 3, 3, 2, 2});
  const Dataset dataset = open_one(flow_entry(folder / "ns.nc", "NS-Sines")).with_pairs({{0, 1}});
  EXPECT_EQ(dataset.size(), 2);
  EXPECT_EQ(dataset.index(1).time, 0.05);
  EXPECT_THROW(dataset.with_pairs({{0, 3}}), ConfigError);
}

TEST_F(Datasets, OfOneTrajectoryHaveAnyOfItsFramesAndNoOther) {
  write_counting(folder / "ns.nc", "velocity", {2, 21, 3, 2, 2});
  const std::string path = (folder / "ns.nc").string();
  const auto frames_of = [&](std::int64_t trajectory) { return open_frames(find_problem("NS-Sines"), path, trajectory, {{0, 2}, {2, 1}}); };
  EXPECT_EQ(frames_of(1).size(), 2);
  EXPECT_THROW(frames_of(-1), ConfigError);
  EXPECT_THROW(frames_of(std::numeric_limits<std::int64_t>::max()), ConfigError);
  EXPECT_THROW(frames_of(2), DataError);
}

TEST_F(Datasets, TakeTimeSettingsFromTheEntryThenTheSectionThenTheProblem) {
  write_counting(folder / "ns.nc", "velocity", {2, 21, 3, 2, 2});
  DataEntry entry = flow_entry(folder / "ns.nc", "NS-Sines");
  entry.max_num_time_steps.reset();
  EXPECT_EQ(open_one(entry).size(), 2 * 36);
  DataConfig config;
  config.max_num_time_steps = 3;
  config.allowed_time_transitions = std::vector{1};
  EXPECT_EQ(open_one(entry, config).size(), 2 * 3);
  entry.max_num_time_steps = 5;
  EXPECT_EQ(open_one(entry, config).size(), 2 * 5);
}

TEST_F(Datasets, OfFewerTrajectoriesThanThePublishedSplitSayWhatToDo) {
  write_counting(folder / "ns.nc", "velocity", {2, 3, 3, 2, 2});
  DataEntry entry = flow_entry(folder / "ns.nc", "NS-Sines");
  entry.trajectories.reset();
  EXPECT_THAT(message_of<DataError>([&] { open_one(entry); }),
              AllOf(HasSubstr("has 2 trajectories, expected 19640"), HasSubstr("set trajectories")));
}

TEST(DataSection, IsCheckedWithItsLineBeforeAnyFileIsOpened) {
  const ConfigValue document =
      parse_yaml("data:\n  train:\n    - {problem: NS-Sines, path: none.nc}\n    - {problem: NS-Sin, path: none.nc}\n", "run.yaml");
  const auto config = read_config<DataConfig>(*document.find("data"));
  EXPECT_THAT(message_of<ConfigError>([&] { check_data_config(config, document); }),
              AllOf(HasSubstr("run.yaml:4"), HasSubstr("data.train[1]"), HasSubstr("NS-Sines")));
  const auto refusal = [](const std::string& entry) {
    const ConfigValue other = parse_yaml("data:\n  train:\n    - " + entry, "run.yaml");
    return message_of<ConfigError>([&] { check_data_config(read_config<DataConfig>(*other.find("data")), other); });
  };
  EXPECT_THAT(refusal("{problem: NS-Sines, path: none.nc, weight: 0}"), HasSubstr("weight: 0 is not above 0"));
}

}  // namespace
}  // namespace trident
