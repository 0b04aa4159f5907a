#include "launch/data/data_file.h"

#include <gtest/gtest.h>

#include "checkpoint/safetensors_writer.h"
#include "checkpoint/torch_writer.h"
#include "launch/data/dataset.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/launch/data_files.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::TemporaryFolder;

const std::filesystem::path kGoldens = TRIDENT_GOLDEN_FOLDER;

/// (3, 4, 5) with the values 0 to 59.
Tensor counted() {
  std::vector<float> values(60);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return from_values<float>({3, 4, 5}, values);
}

void write_hdf5(const std::filesystem::path& path) {
  Hdf5File file = Hdf5File::create(path.string());
  const Hdf5Dataset dataset = file.create_dataset("x", {3, 4, 5}, DType::f32);
  dataset.write<float>({0, 0, 0}, {3, 4, 5}, counted().data<float>());
  file.close();
}

/// An array as numpy.save writes it.
std::string npy(const std::string& type, const std::string& shape, const std::vector<c64>& values) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize(118 - 1, ' ');
  header += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + '\x76' + '\0' + header +
         std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(c64));
}

TEST(DataFile, ReadsTheSameBlocksFromEveryFormat) {
  const TemporaryFolder folder;
  write_hdf5(folder / "x.h5");
  write_safetensors(folder / "x.safetensors", {{"x", counted()}});
  write_state_dict(folder / "x.pt", {{"x", counted()}});
  for (const char* name : {"x.h5", "x.safetensors", "x.pt"}) {
    const DataArray array = DataFile::open((folder / name).string()).array("x");
    EXPECT_EQ(array.shape(), (Shape{3, 4, 5})) << name;
    std::vector<float> block(4);
    array.read({1, 2, 3}, {1, 2, 2}, block.data());
    EXPECT_EQ(block, (std::vector<float>{33, 34, 38, 39})) << name;
  }
  const std::string missing = message_of<DataError>([&] { DataFile::open((folder / "x.pt").string()).array("y"); });
  EXPECT_NE(missing.find("no variable \"y\"; it has x"), std::string::npos);
}

TEST(DataFile, ReadsBlocksOfOnePieceAsThoseOfChunks) {
  const TemporaryFolder folder;
  const Shape shape{3, 5, 40, 64}, origin{0, 0, 0, 0};  // a frame has 10 KiB
  std::vector<double> numbers(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>(i);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::string path = (folder / "x.h5").string();
    Hdf5File file = Hdf5File::create(path);
    file.create_dataset("piece", shape, dtype).write(origin, shape, numbers.data());
    file.create_dataset("chunks", shape, dtype, {1, 1, 8, 64}).write(origin, shape, numbers.data());
    file.close();
    const DataFile opened = DataFile::open(path);
    const DataArray piece = opened.array("piece"), chunks = opened.array("chunks");
    const auto expect_same = [&](const Shape& start, const Shape& count, const Shape& stride) {
      std::vector<float> of_piece(static_cast<std::size_t>(numel(count))), of_chunks = of_piece;
      piece.read(start, count, of_piece.data(), stride);
      chunks.read(start, count, of_chunks.data(), stride);
      EXPECT_EQ(of_piece, of_chunks) << to_string(start) << to_string(count);
      const std::int64_t first = ((start[0] * shape[1] + start[1]) * shape[2] + start[2]) * shape[3] + start[3];
      EXPECT_EQ(of_piece.front(), static_cast<float>(first));
    };
    expect_same({1, 2, 0, 0}, {1, 1, 40, 64}, {});            // a frame
    expect_same({0, 0, 0, 0}, shape, {});                     // everything
    expect_same({1, 3, 0, 0}, {2, 2, 40, 64}, {});            // frames of two trajectories
    expect_same({2, 0, 7, 0}, {1, 4, 30, 64}, {1, 1, 1, 1});  // rows of several frames
    expect_same({0, 1, 3, 9}, {3, 2, 20, 50}, {});            // short runs
    expect_same({0, 1, 0, 1}, {1, 2, 20, 32}, {1, 1, 2, 2});  // every other point
    std::vector<float> beyond(40 * 64);
    EXPECT_THROW(piece.read({2, 5, 0, 0}, {1, 1, 40, 64}, beyond.data()), DataError);
  }
}

TEST(DataFile, SaysThatAFileEndsWhileItIsRead) {
  const TemporaryFolder folder;
  const std::string path = (folder / "x.h5").string();
  testing::write_counting(path, "x", {4, 64, 64});
  const DataArray array = DataFile::open(path).array("x");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 100);
  std::vector<float> frame(64 * 64);
  array.read({2, 0, 0}, {1, 64, 64}, frame.data());
  EXPECT_EQ(frame.front(), 2.0F * 64 * 64);
  const std::string message = message_of<DataError>([&] { array.read({3, 0, 0}, {1, 64, 64}, frame.data()); });
  EXPECT_NE(message.find("x.h5: variable \"x\" cannot be read at (3, 0, 0) (the file ends at byte "), std::string::npos) << message;
}

TEST(DataFile, HonoursStridesOffsetsAndBooleans) {
  const DataFile darcy = DataFile::open((kGoldens / "data/darcy_test_32_part.pt").string());
  const DataArray x = darcy.array("x");
  EXPECT_EQ(x.shape(), (Shape{12, 32, 32}));
  std::vector<float> phases(1024);
  x.read({5, 0, 0}, {1, 32, 32}, phases.data());
  for (const float phase : phases) EXPECT_TRUE(phase == 0.0F || phase == 1.0F);
  // Every trajectory begins with its initial state, which is stored apart.
  const DataFile burgers = DataFile::open((kGoldens / "data/burgers_test_16_part.pt").string());
  std::vector<float> state(16), frame(16);
  for (std::int64_t sample = 0; sample < 8; ++sample) {
    burgers.array("x").read({sample, 0}, {1, 16}, state.data());
    burgers.array("y").read({sample, 0, 0}, {1, 1, 16}, frame.data());
    EXPECT_EQ(state, frame);
  }
}

TEST(DataFile, GivesAnArrayWithoutANameUnderEveryName) {
  const DataFile file = DataFile::open((kGoldens / "numpy/columns.npy").string());
  std::vector<float> row(3);
  file.array("anything").read({1, 0}, {1, 3}, row.data());
  EXPECT_EQ(row, (std::vector<float>{3, 4, 5}));
}

TEST(DataFile, GivesComplexNumbersOfEveryFormatAsPairs) {
  const TemporaryFolder folder;
  const std::vector<c64> values{{0, 1}, {2, 3}, {4, 5}, {6, 7}};
  const Tensor z = from_values<c64>({2, 2}, values);
  write_safetensors(folder / "z.safetensors", {{"z", z}});
  write_state_dict(folder / "z.pt", {{"z", z}});
  testing::write_bytes(folder / "z.npy", npy("<c8", "(2, 2)", values));
  {
    Hdf5File file = Hdf5File::create((folder / "z.h5").string());
    file.create_dataset("z", {2, 2}, DType::c64).write({0, 0}, {2, 2}, values.data());
  }
  for (const char* name : {"z.safetensors", "z.pt", "z.npy", "z.h5"}) {
    const DataArray array = DataFile::open((folder / name).string()).array("z");
    EXPECT_TRUE(array.is_complex()) << name;
    EXPECT_EQ(array.shape(), (Shape{2, 2, 2})) << name;
    std::vector<float> column(4);
    array.read({0, 1, 0}, {2, 1, 2}, column.data());
    EXPECT_EQ(column, (std::vector<float>{2, 3, 6, 7})) << name;
  }
}

TEST(DataFile, RefusesOtherFiles) {
  const TemporaryFolder folder;
  testing::write_bytes(folder / "text.csv", "1,2,3");
  EXPECT_NE(message_of<DataError>([&] { DataFile::open((folder / "text.csv").string()); }), "");
  EXPECT_NE(message_of<DataError>([&] { DataFile::open((folder / "absent.pt").string()); }), "");
}

TEST(DataFile, OfPyTorchIsASetOfTheUsersOwn) {
  DataEntry entry;
  entry.path = (kGoldens / "data/darcy_test_32_part.pt").string();
  entry.input = "x";
  entry.output = "y";
  entry.channels = {"u"};
  entry.input_channels = {"a"};
  entry.mean = {0.5};
  entry.std = {2.0};
  const Dataset dataset = open_dataset({}, {entry}, Split::train, "data.train");
  EXPECT_EQ(dataset.size(), 12);
  std::vector<float> input(1024), label(1024);
  dataset.read(7, {input.data(), label.data(), nullptr});
  const Tensor y = empty({1, 32, 32}, DType::f32);
  DataFile::open(entry.path).array("y").read({7, 0, 0}, {1, 32, 32}, y.data<float>());
  for (std::size_t i = 0; i < 1024; ++i) EXPECT_NEAR(label[i], (y.data<float>()[i] - 0.5F) / 2.0F, 1e-6F);
}

}  // namespace
}  // namespace trident
