#include "launch/data/own_data.h"

#include <gmock/gmock.h>

#include <cmath>
#include <numbers>

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/launch/opened_data.h"

namespace trident {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::open_one;
using testing::own_entry;
using testing::read;
using testing::Sample;
using testing::write_counting;

using OwnData = testing::DataFiles;

TEST_F(OwnData, OfSteadyFieldsGiveOneSampleATrajectory) {
  write_counting(folder / "x.h5", "x", {3, 2, 2, 2});
  DataEntry entry = own_entry(folder / "x.h5");
  entry.mean = {1.0, 2.0};
  entry.std = {2.0, 4.0};
  const Dataset dataset = open_one(entry);
  EXPECT_EQ(dataset.size(), 3);
  EXPECT_FALSE(dataset.has_time());
  const Sample sample = read(dataset, 1);
  EXPECT_EQ(sample.input, (std::vector<float>{3.5F, 4.0F, 4.5F, 5.0F, 2.5F, 2.75F, 3.0F, 3.25F}));
  EXPECT_EQ(sample.label, sample.input);
}

TEST_F(OwnData, APartOfAFieldIsWhatTheWholeFieldHasThere) {
  write_counting(folder / "x.h5", "x", {2, 2, 4, 5});
  const Dataset dataset = open_one(own_entry(folder / "x.h5"));
  const Sample whole = read(dataset, 1);
  std::vector<float> input(2 * 2 * 3), label(input.size());
  dataset.read(1, Box{{1, 3}, {2, 5}}, {input.data(), label.data(), nullptr});
  for (std::size_t channel = 0; channel < 2; ++channel) {
    for (std::size_t y = 0; y < 2; ++y) {
      for (std::size_t x = 0; x < 3; ++x) {
        EXPECT_EQ(input[(channel * 2 + y) * 3 + x], whole.input[(channel * 4 + y + 1) * 5 + x + 2]);
      }
    }
  }
  EXPECT_EQ(label, input);
}

TEST_F(OwnData, AWindowTakesEverySoManyPointsAndMayBeEmpty) {
  write_counting(folder / "x.h5", "x", {1, 2, 4, 6});  // 0, 1, 2, ...
  const Dataset dataset = open_one(own_entry(folder / "x.h5"));
  const FieldSource& source = *dataset.members().front().source;
  std::vector<float> values(4);
  source.read({0, 1, 1}, 0, 0, {.part = {{1, 4}, {0, 6}}, .stride = 3}, values.data());
  EXPECT_EQ(values[0], 24.0F + 6.0F);
  EXPECT_EQ(values[1], 24.0F + 9.0F);
  source.read({0, 1, 1}, 0, 0, {.part = {{2, 2}, {0, 6}}}, values.data());
  EXPECT_EQ(values[0], 30.0F) << "an empty window writes nothing";
}

TEST_F(OwnData, TakeFramesFromTheTimeAxisWhereverItIs) {
  write_counting(folder / "x.h5", "x", {2, 2, 3, 2, 2});  // trajectory, channel, frame, y, x
  DataEntry entry = own_entry(folder / "x.h5");
  entry.time_axis = 2;
  entry.time_scale = 4.0;
  const Dataset dataset = open_one(entry);
  EXPECT_EQ(dataset.size(), 2 * 6);
  const SampleIndex at = dataset.index(6 + 2);
  EXPECT_EQ(at.trajectory, 1);
  EXPECT_EQ(at.frames, (FramePair{0, 2}));
  EXPECT_EQ(at.time, 0.5);
  // Trajectory 1 begins at 24, its channels 12 apart, its frames 4.
  EXPECT_EQ(read(dataset, 8).label, (std::vector<float>{32, 33, 34, 35, 44, 45, 46, 47}));
}

TEST_F(OwnData, MayHaveAnotherVariableAsOutputAndOneChannel) {
  {
    Hdf5File file = Hdf5File::create((folder / "x.h5").string());
    const std::vector<float> a{1, 2, 3, 4}, b{5, 6, 7, 8};
    file.create_dataset("x", {1, 2, 2}, DType::f32).write({0, 0, 0}, {1, 2, 2}, a.data());
    file.create_dataset("y", {1, 2, 2}, DType::f64).write({0, 0, 0}, {1, 2, 2}, b.data());
  }
  DataEntry entry = own_entry(folder / "x.h5");
  entry.output = "y";
  entry.channels = {"u"};
  entry.input_channels = {"f"};
  entry.input_mean = {1.0};
  const Sample sample = read(open_one(entry), 0);
  EXPECT_EQ(sample.input, (std::vector<float>{0, 1, 2, 3}));
  EXPECT_EQ(sample.label, (std::vector<float>{5, 6, 7, 8}));
}

TEST_F(OwnData, AreRefusedWhereTheDescriptionIsWrong) {
  write_counting(folder / "x.h5", "x", {2, 2, 3, 2, 2});
  const auto refuse = [&](auto change, const char* what) {
    DataEntry entry = own_entry(folder / "x.h5");
    entry.time_axis = 2;
    change(entry);
    EXPECT_THAT(message_of<Error>([&] { open_one(entry); }), AllOf(HasSubstr("data.train[0]: "), HasSubstr(what)));
  };
  refuse([](DataEntry& entry) { entry.channels = {}; }, "channels");
  refuse([](DataEntry& entry) { entry.std = {1.0, 0.0}; }, "not above 0");
  refuse([](DataEntry& entry) { entry.mean = {1.0}; }, "1 numbers for 2 channels");
  refuse([](DataEntry& entry) { entry.groups = {{"b"}, {"a"}}; }, "groups");
  refuse([](DataEntry& entry) { entry.time_axis = 4; }, "time_axis: 4");
  refuse([](DataEntry& entry) { entry.time_axis.reset(); }, "(2, 2, 3, 2, 2), expected (trajectory, [channel], y, x); name the axis");
  refuse([](DataEntry& entry) { entry.space_axes = 4; }, "space_axes: 4 axes of space; give 1 (x), 2 (y, x) or 3 (z, y, x)");
  refuse([](DataEntry& entry) { entry.space_axes = 1; }, "expected (trajectory, [channel], x) and a time axis; space_axes, now 1");
  refuse([](DataEntry& entry) { entry.mean_imag = {1.0, 1.0}; }, "mean_imag: the fields are real");
  refuse([](DataEntry& entry) { entry.input_mean_imag = {1.0, 1.0}; }, ": input_mean_imag: the fields are real");
  refuse([](DataEntry& entry) { entry.mean_imag = {1.0}; }, "mean_imag: has 1 numbers for 2 channels");
  refuse([](DataEntry& entry) { entry.space_axes = 3, entry.complex = false, entry.time_axis = 4; }, "time_axis: 4");
  refuse([](DataEntry& entry) { entry.channels = {"a", "b", "c"}; }, "2 channels, expected at least 3");
  refuse([](DataEntry& entry) { entry.trajectories = {{0, 5}}; }, "has 2 trajectories, expected 5");
  refuse([](DataEntry& entry) { entry.max_num_time_steps = 9; }, "reach frame 9");
  refuse([](DataEntry& entry) { entry.resolution = 3; }, "resolution: 3");
  refuse([](DataEntry& entry) { entry.input = "velocity"; }, "has no variable \"velocity\", but x");
}

TEST_F(OwnData, OfOneAxisOfSpaceMayHaveFramesInTheOutputAlone) {
  {
    Hdf5File file = Hdf5File::create((folder / "x.h5").string());
    const std::vector<float> x{0, 1, 2, 3, 4, 5}, y{10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25};
    file.create_dataset("x", {2, 3}, DType::f32).write({0, 0}, {2, 3}, x.data());
    file.create_dataset("y", {2, 2, 3}, DType::f32).write({0, 0, 0}, {2, 2, 3}, y.data());
  }
  DataEntry entry = own_entry(folder / "x.h5");
  entry.output = "y";
  entry.time_axis = 1;
  entry.space_axes = 1;
  entry.channels = {"u"};
  entry.allowed_time_transitions = {{1}};
  const Dataset dataset = open_one(entry);
  EXPECT_EQ(dataset.extents(), (Shape{3}));
  EXPECT_EQ(dataset.size(), 2);
  EXPECT_EQ(read(dataset, 1).input, (std::vector<float>{3, 4, 5}));
  EXPECT_EQ(read(dataset, 1).label, (std::vector<float>{23, 24, 25}));
}

TEST_F(OwnData, OfThreeAxesOfSpaceAreReadInParts) {
  write_counting(folder / "x.h5", "x", {2, 2, 3, 4, 5});
  DataEntry entry = own_entry(folder / "x.h5");
  entry.space_axes = 3;
  const Dataset dataset = open_one(entry);
  EXPECT_EQ(dataset.extents(), (Shape{3, 4, 5}));
  EXPECT_EQ(dataset.ny() * 10 + dataset.nx(), 45);
  const Sample whole = read(dataset, 1);
  EXPECT_EQ(whole.input.front(), 120.0F);
  EXPECT_EQ(whole.input.back(), 239.0F);
  std::vector<float> input(2 * 2 * 2 * 3), label(input.size());
  dataset.read(1, Box{{1, 3}, {0, 2}, {2, 5}}, {input.data(), label.data(), nullptr});
  EXPECT_EQ(input[0], 120.0F + 20.0F + 2.0F);
  EXPECT_EQ(input[23], 120.0F + 60.0F + 40.0F + 5.0F + 4.0F);
}

TEST_F(OwnData, OfComplexNumbersAreTheSameFromPairsAndFromComplexVariables) {
  const std::vector<c64> values{{1, 2}, {3, 4}, {5, 6}, {7, 8}};
  {
    Hdf5File file = Hdf5File::create((folder / "x.h5").string());
    file.create_dataset("z", {2, 2}, DType::c128).write({0, 0}, {2, 2}, std::vector<c128>(values.begin(), values.end()).data());
    file.create_dataset("pairs", {2, 2, 2}, DType::f32).write({0, 0, 0}, {2, 2, 2}, reinterpret_cast<const float*>(values.data()));
    const std::vector<float> real{9, 10, 11, 12};
    file.create_dataset("real", {2, 2}, DType::f32).write({0, 0}, {2, 2}, real.data());
  }
  DataEntry entry = own_entry(folder / "x.h5");
  entry.space_axes = 1;
  entry.channels = {"psi"};
  entry.mean = {1.0}, entry.mean_imag = {3.0}, entry.std = {2.0};
  for (const char* variable : {"z", "pairs"}) {
    entry.input = variable;
    if (entry.input == "pairs") entry.complex = true;
    const Dataset dataset = open_one(entry);
    EXPECT_TRUE(dataset.is_complex());
    const Tensor fields = dataset.make_fields(1, 1, whole_box(dataset.extents()));
    dataset.read_input(1, {.part = whole_box(dataset.extents())}, numbers_of(fields));
    EXPECT_EQ(to_host<c64>(fields), (std::vector<c64>{{2.0F, 1.5F}, {3.0F, 2.5F}})) << variable;
  }
  entry.input = "real";
  EXPECT_THAT(message_of<DataError>([&] { open_one(entry); }), HasSubstr("variable \"real\" is real where complex fields are expected"));
  entry.output = "z";
  entry.input_mean = {0.0}, entry.input_channels = {"v"};
  const Dataset mixed = open_one(entry);
  const Tensor fields = mixed.make_fields(1, 1, whole_box(mixed.extents()));
  mixed.read_input(1, {.part = whole_box(mixed.extents())}, numbers_of(fields));
  EXPECT_EQ(to_host<c64>(fields), (std::vector<c64>{{11.0F, 0.0F}, {12.0F, 0.0F}})) << "real variables have no imaginary part";
  entry.input = "z", entry.complex = false;
  EXPECT_THAT(message_of<DataError>([&] { open_one(entry); }), HasSubstr("is complex, but the run file says complex: false"));
}

/// cos 2 pi (kz z + ky y + kx x) on n points a side, one frequency an axis.
std::vector<float> wave(int n, const std::array<int, 3>& k, int axes) {
  std::vector<float> values;
  for (int z = 0; z < (axes > 2 ? n : 1); ++z) {
    for (int y = 0; y < (axes > 1 ? n : 1); ++y) {
      for (int x = 0; x < n; ++x)
        values.push_back(static_cast<float>(std::cos(2.0 * std::numbers::pi * (k[0] * z + k[1] * y + k[2] * x) / n)));
    }
  }
  return values;
}

TEST_F(OwnData, OfAnyAxesOfSpaceAreDownsampledByFourierModes) {
  for (const int axes : {1, 2, 3}) {
    Shape shape{1}, start{0};
    for (int axis = 0; axis < axes; ++axis) shape.push_back(12), start.push_back(0);
    std::vector<float> low = wave(12, {1, -2, 1}, axes);
    const std::vector<float> high = wave(12, {5, 5, 5}, axes);  // what 8 points cannot hold is dropped, not folded back
    for (std::size_t k = 0; k < low.size(); ++k) low[k] += high[k];
    const std::string path = (folder / concat("x", axes, ".h5")).string();
    {
      Hdf5File file = Hdf5File::create(path);
      file.create_dataset("x", shape, DType::f32).write(start, shape, low.data());
    }
    DataEntry entry = own_entry(path);
    entry.channels = {"u"}, entry.space_axes = axes, entry.resolution = 8;
    const Dataset dataset = open_one(entry);
    const std::vector<float> expected = wave(8, {1, -2, 1}, axes), found = read(dataset, 0).input;
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t k = 0; k < found.size(); ++k) EXPECT_NEAR(found[k], expected[k], 1e-5) << axes << " axes, point " << k;
  }
}

TEST_F(OwnData, OfComplexNumbersAreDownsampledByBothParts) {
  std::vector<c64> values, expected;
  for (const int n : {12, 8}) {
    for (int k = 0; k < n * n; ++k) {
      const double angle = 2.0 * std::numbers::pi * (k / n + 2 * (k % n)) / n;
      (n == 12 ? values : expected).push_back(c64(std::polar(1.0, angle)));
    }
  }
  {
    Hdf5File file = Hdf5File::create((folder / "x.h5").string());
    file.create_dataset("x", {1, 12, 12}, DType::c64).write({0, 0, 0}, {1, 12, 12}, values.data());
  }
  DataEntry entry = own_entry(folder / "x.h5");
  entry.channels = {"psi"}, entry.resolution = 8;
  const Dataset dataset = open_one(entry);
  const Tensor fields = dataset.make_fields(1, 1, {{2, 5}, {0, 8}});
  dataset.read_input(0, {.part = {{2, 5}, {0, 8}}}, numbers_of(fields));
  const std::vector<c64> found = to_host<c64>(fields);
  for (std::size_t k = 0; k < found.size(); ++k) EXPECT_NEAR(std::abs(found[k] - expected[16 + k]), 0.0, 1e-5);
}

}  // namespace
}  // namespace trident
