// Numbers of HDF5 files in one piece and in chunks, as the library writes them: the same whether it reads them or they are read past it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "launch/data/hdf5_file.h"
#include "launch/data/reading_threads.h"
#include "runtime/error.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using ::testing::HasSubstr;
using testing::message_of;
using testing::TemporaryFolder;

const Shape kShape{4, 5, 20, 64};  // a frame has 5 KiB in f32

/// How a file is written; what is not said is as the library has it.
struct Writing {
  const char* name = "";
  std::vector<hsize_t> chunk = {};                       // none: one piece
  std::function<void(hid_t)> properties = [](hid_t) {};  // of the variable's creation
  hid_t type = H5T_NATIVE_FLOAT;
  bool newest = false;  // the indices of HDF5 1.10
  hsize_t user_block = 0;
  hsize_t growing = 0;  // the most that the first axis may have
  float unwritten = -1;
};

void shuffle_and_deflate(hid_t creation) {
  H5Pset_shuffle(creation);
  H5Pset_deflate(creation, 4);
}

float number_at(const Shape& at) { return static_cast<float>(((at[0] * kShape[1] + at[1]) * kShape[2] + at[2]) * kShape[3] + at[3]); }

/// The variable "x", whose numbers count; those of the last two rows of the first axis are not written.
std::string write_file(const TemporaryFolder& folder, const Writing& writing) {
  const std::string path = (folder / "x.h5").string();
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS), file_creation = H5Pcreate(H5P_FILE_CREATE), creation = H5Pcreate(H5P_DATASET_CREATE);
  if (writing.newest) H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  if (writing.user_block > 0) H5Pset_userblock(file_creation, writing.user_block);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, file_creation, access);
  const std::vector<hsize_t> extents(kShape.begin(), kShape.end());
  std::vector<hsize_t> most = extents, written = extents;
  if (writing.growing > 0) most[0] = writing.growing;
  written[0] -= 2;
  const hid_t space = H5Screate_simple(4, extents.data(), most.data()), part = H5Screate_simple(4, written.data(), nullptr);
  if (!writing.chunk.empty()) H5Pset_chunk(creation, 4, writing.chunk.data());
  H5Pset_fill_value(creation, H5T_NATIVE_FLOAT, &writing.unwritten);
  writing.properties(creation);
  const hid_t variable = H5Dcreate2(file, "x", writing.type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  std::vector<float> numbers(static_cast<std::size_t>(numel(kShape)) / 2);
  for (std::size_t index = 0; index < numbers.size(); ++index) numbers[index] = static_cast<float>(index);
  const std::array<hsize_t, 4> origin{};
  H5Sselect_hyperslab(space, H5S_SELECT_SET, origin.data(), nullptr, written.data(), nullptr);
  EXPECT_GE(H5Dwrite(variable, H5T_NATIVE_FLOAT, part, space, H5P_DEFAULT, numbers.data()), 0) << writing.name;
  for (const hid_t id : {part, space}) H5Sclose(id);
  for (const hid_t id : {access, file_creation, creation}) H5Pclose(id);
  H5Dclose(variable);
  H5Fclose(file);
  return path;
}

/// A block and what it should hold.
struct Block {
  Shape start, count;
  std::vector<float> expected;

  explicit Block(std::mt19937& random, float unwritten = -1) {
    for (int axis = 0; axis < kShape.rank(); ++axis) {
      const bool whole = random() % 2 == 0;
      start.push_back(whole ? 0 : static_cast<std::int64_t>(random()) % kShape[axis]);
      count.push_back(whole ? kShape[axis] : 1 + static_cast<std::int64_t>(random()) % (kShape[axis] - start[axis]));
    }
    for (std::int64_t index = 0; index < numel(count); ++index) {
      Shape at = start;
      std::int64_t rest = index;
      for (int axis = 3; axis >= 0; rest /= count[axis], --axis) at[axis] += rest % count[axis];
      expected.push_back(at[0] < kShape[0] - 2 ? number_at(at) : unwritten);
    }
  }
  bool is_in(const Hdf5Dataset& variable) const {
    std::vector<float> read(expected.size());
    variable.read(start, count, read.data());
    return read == expected;
  }
};

TEST(Hdf5Pieces, GiveTheNumbersOfEveryBlockHoweverTheyAreStored) {
  const TemporaryFolder folder;
  const auto deflate = [](hid_t creation) { H5Pset_deflate(creation, 1); };
  const auto shuffle = [](hid_t creation) { H5Pset_shuffle(creation); };
  const auto checksums = [](hid_t creation) { shuffle_and_deflate(creation), H5Pset_fletcher32(creation); };
  const auto early = [](hid_t creation) { H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY); };
  const auto plain_borders = [](hid_t creation) {
    shuffle_and_deflate(creation), H5Pset_chunk_opts(creation, H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS);
  };
  const auto elsewhere = [&](hid_t creation) { H5Pset_external(creation, (folder / "numbers").c_str(), 0, H5F_UNLIMITED); };
  const std::vector<hsize_t> frame{1, 1, 20, 64}, tiles{1, 2, 8, 24}, rows{3, 1, 1, 64}, all{4, 5, 20, 64};
  const std::vector<Writing> writings{
      {.name = "one piece"},
      {.name = "one piece, user block", .user_block = 2048},
      {.name = "one piece elsewhere", .properties = elsewhere, .unwritten = 0},
      {.name = "frames", .chunk = frame},
      {.name = "frames, user block", .chunk = frame, .user_block = 1024},
      {.name = "tiles with partial ones at the border", .chunk = tiles},
      {.name = "rows", .chunk = rows},
      {.name = "one chunk", .chunk = all, .newest = true},
      {.name = "one deflated chunk", .chunk = all, .properties = shuffle_and_deflate, .newest = true},
      {.name = "implicit index", .chunk = frame, .properties = early, .newest = true},
      {.name = "fixed array", .chunk = tiles, .newest = true, .user_block = 512},
      {.name = "extensible array", .chunk = frame, .newest = true, .growing = H5S_UNLIMITED},
      {.name = "deflated", .chunk = frame, .properties = deflate},
      {.name = "shuffled", .chunk = tiles, .properties = shuffle},
      {.name = "shuffled and deflated", .chunk = tiles, .properties = shuffle_and_deflate},
      {.name = "deflated, extensible array", .chunk = frame, .properties = deflate, .newest = true, .growing = H5S_UNLIMITED},
      {.name = "partial chunks without filters", .chunk = tiles, .properties = plain_borders, .newest = true},
      {.name = "checksums", .chunk = frame, .properties = checksums},
      {.name = "big-endian", .chunk = frame, .type = H5T_IEEE_F32BE},
      {.name = "f64", .chunk = tiles, .properties = shuffle_and_deflate, .type = H5T_NATIVE_DOUBLE},
      {.name = "integers", .chunk = frame, .type = H5T_NATIVE_INT},
  };
  std::mt19937 random(3);
  for (const Writing& writing : writings) {
    const Hdf5File file = Hdf5File::open(write_file(folder, writing));
    const Hdf5Dataset variable = file.dataset("x");
    for (int round = 0; round < 60; ++round) {
      const Block block(random, writing.unwritten);
      EXPECT_TRUE(block.is_in(variable)) << writing.name << " " << to_string(block.start) << to_string(block.count);
    }
    std::vector<double> frame_in_f64(20 * 64);
    variable.read({1, 2, 0, 0}, {1, 1, 20, 64}, frame_in_f64.data());
    EXPECT_EQ(frame_in_f64[5], number_at({1, 2, 0, 5})) << writing.name;
    std::vector<float> every_other(10 * 32);
    variable.read({1, 2, 0, 1}, {1, 1, 10, 32}, every_other.data(), {1, 1, 2, 2});
    EXPECT_EQ(every_other[33], number_at({1, 2, 2, 3})) << writing.name;
    EXPECT_THROW(variable.read({3, 4, 1, 0}, {1, 1, 20, 64}, frame_in_f64.data()), DataError) << writing.name;
  }
}

TEST(Hdf5Pieces, AreReadBySeveralThreadsAtOnce) {
  const TemporaryFolder folder;
  for (const auto& properties : {std::function<void(hid_t)>([](hid_t) {}), std::function<void(hid_t)>(shuffle_and_deflate)}) {
    const Hdf5File file = Hdf5File::open(write_file(folder, {.chunk = {1, 1, 20, 64}, .properties = properties}));
    const Hdf5Dataset variable = file.dataset("x");
    std::atomic<int> right = 0;
    on_reading_threads(400, 4, [&](std::int64_t number) {
      std::mt19937 random(static_cast<unsigned>(number));
      right += Block(random).is_in(variable) ? 1 : 0;
    });
    EXPECT_EQ(right, 400);
  }
}

TEST(Hdf5Pieces, HonourFiltersThatTheWriterSkippedForAChunk) {
  const TemporaryFolder folder;
  const std::string path = write_file(folder, {.chunk = {1, 1, 20, 64}, .properties = shuffle_and_deflate});
  const std::vector<float> sevens(20 * 64, 7.0F);
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), variable = H5Dopen2(file, "x", H5P_DEFAULT);
  const std::array<hsize_t, 4> origin{1, 3, 0, 0};
  EXPECT_GE(H5Dwrite_chunk(variable, H5P_DEFAULT, 3, origin.data(), sevens.size() * 4, sevens.data()), 0);
  H5Dclose(variable);
  H5Fclose(file);
  std::vector<float> read(20 * 64);
  Hdf5File::open(path).dataset("x").read({1, 3, 0, 0}, {1, 1, 20, 64}, read.data());
  EXPECT_EQ(read, sevens);
}

TEST(Hdf5Pieces, OfAFileThatIsBeingWrittenAreLeftToTheLibrary) {
  const TemporaryFolder folder;
  const std::string path = (folder / "x.h5").string();
  Hdf5File written = Hdf5File::create(path);
  const Hdf5Dataset variable = written.create_dataset("x", {2, 2048}, DType::f32, {1, 2048});
  const std::vector<float> ones(2048, 1.0F);
  variable.write({0, 0}, {1, 2048}, ones.data());
  const Hdf5Dataset opened = Hdf5File::open(path).dataset("x");
  variable.write({1, 0}, {1, 2048}, ones.data());
  std::vector<float> read(2048);
  opened.read({1, 0}, {1, 2048}, read.data());
  EXPECT_EQ(read, ones);
}

/// Of the chunk that begins at `origin`, where the library says that its bytes lie, and how many they are.
std::pair<std::uint64_t, std::uint64_t> place_of(const std::string& path, const std::array<hsize_t, 4>& origin) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), variable = H5Dopen2(file, "x", H5P_DEFAULT);
  haddr_t offset = 0;
  hsize_t bytes = 0;
  unsigned skipped = 0;
  EXPECT_GE(H5Dget_chunk_info_by_coord(variable, origin.data(), &skipped, &offset, &bytes), 0);
  H5Dclose(variable);
  H5Fclose(file);
  return {offset, bytes};
}

/// Where the index (a B-tree of HDF5 1.8) names a chunk: its bytes and skipped filters in 4 bytes each, 5 coordinates, the place.
std::size_t entry_of(const std::string& bytes, std::uint64_t place) {
  return bytes.find(std::string(reinterpret_cast<const char*>(&place), 8)) - 48;
}

std::string message_of_reading(const Hdf5Dataset& variable) {
  std::vector<float> frame(20 * 64);
  return message_of<DataError>([&] { variable.read({1, 2, 0, 0}, {1, 1, 20, 64}, frame.data()); });
}

TEST(Hdf5Pieces, SayWhatIsDamaged) {
  const TemporaryFolder folder;
  const Writing plain{.chunk = {1, 1, 20, 64}}, deflated{.chunk = {1, 1, 20, 64}, .properties = shuffle_and_deflate};
  std::string path = write_file(folder, plain), whole = testing::read_bytes(path);
  const auto [place, bytes] = place_of(path, {1, 2, 0, 0});
  const auto message_with = [&](std::size_t at, const std::string& change) {
    testing::write_bytes(path, std::string(whole).replace(at, change.size(), change));
    return message_of_reading(Hdf5File::open(path).dataset("x"));
  };
  EXPECT_THAT(message_with(entry_of(whole, place), {'d', 0, 0, 0}),
              HasSubstr(concat("x.h5: variable \"x\" cannot be read at (1, 2, 0, 0) (its chunk at byte ", place,
                               " of the file has 100 bytes, expected 5120); check")));
  EXPECT_THAT(message_with(entry_of(whole, place) + 48 + 4, "\1"),
              HasSubstr("(its chunk at (1, 2, 0, 0) is not found: "));  // beyond the file
  {
    testing::write_bytes(path, whole);
    const Hdf5Dataset opened = Hdf5File::open(path).dataset("x");
    std::filesystem::resize_file(path, place + bytes - 1);
    EXPECT_THAT(message_of_reading(opened), HasSubstr(concat("(the file ends at byte ", place + bytes - 1, ")")));
  }
  path = write_file(folder, deflated), whole = testing::read_bytes(path);
  const auto [packed, packed_bytes] = place_of(path, {1, 2, 0, 0});
  EXPECT_THAT(message_with(packed + packed_bytes / 2, "garbage"),
              HasSubstr(concat("its chunk at byte ", packed, " of the file cannot be inflated")));
  EXPECT_THAT(message_with(entry_of(whole, packed), {'d', 0, 0, 0}), HasSubstr("cannot be inflated"));
  EXPECT_THAT(message_with(entry_of(whole, packed) + 4, {3, 0, 0, 0}), HasSubstr(concat("has ", packed_bytes, " bytes, expected 5120")));
}

TEST(Hdf5PiecesFuzz, MutatedIndicesAndChunksAreReadOrRefusedButNeverCrash) {
  const TemporaryFolder folder;
  std::vector<std::string> seeds;
  for (const auto& properties : {std::function<void(hid_t)>([](hid_t) {}), std::function<void(hid_t)>(shuffle_and_deflate)})
    seeds.push_back(testing::read_bytes(write_file(folder, {.chunk = {1, 1, 20, 64}, .properties = properties})));
  const std::string path = (folder / "x.h5").string();
  std::mt19937_64 random(5);
  int accepted = 0, refused = 0;
  for (std::size_t round = 0; round < 1000; ++round) {
    std::string bytes = seeds[round % seeds.size()];
    // Other parts of the file only the library reads, which does not survive everything.
    const std::size_t index = bytes.find("TREE\1"), entries = index + 24, place_of_edits = round % 4 < 2 ? 10 * 56 : bytes.size() - entries;
    for (std::uint64_t edits = 1 + random() % 3; edits > 0; --edits)
      bytes[entries + random() % place_of_edits] = static_cast<char>(random());
    testing::write_bytes(path, bytes);
    std::vector<float> numbers(static_cast<std::size_t>(numel(kShape)) / 2);
    try {
      Hdf5File::open(path).dataset("x").read({0, 0, 0, 0}, {2, 5, 20, 64}, numbers.data());
      ++accepted;
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace trident
