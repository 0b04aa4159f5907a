#include "checkpoint/numpy_reader.h"

#include <gtest/gtest.h>

#include <random>

#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::write_bytes;

const std::filesystem::path kFiles = std::filesystem::path(TRIDENT_GOLDEN_FOLDER) / "numpy";

/// An .npy of version 1 as NumPy writes it.
std::string npy(const std::string& dictionary, const std::string& data) {
  std::string header = dictionary + std::string((64 - (10 + dictionary.size() + 1) % 64) % 64, ' ') + "\n";
  const auto length = static_cast<std::uint16_t>(header.size());
  return std::string("\x93NUMPY\x01\x00", 8) + std::string(reinterpret_cast<const char*>(&length), 2) + header + data;
}

std::string refusal(const std::string& bytes) {
  const TemporaryFolder folder;
  write_bytes(folder / "x.npy", bytes);
  return message_of<CheckpointError>([&] { NumpyReader(folder / "x.npy").tensor(""); });
}

// Made by tests/golden/numpy/make_files.py.
TEST(NumpyReader, ReadsArraysOfEitherOrder) {
  const NumpyReader rows(kFiles / "rows.npy"), columns(kFiles / "columns.npy");
  EXPECT_EQ(to_host<float>(rows.tensor("")), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(rows.tensor("").shape(), (Shape{2, 3}));
  EXPECT_EQ(to_host<double>(columns.tensor("")), (std::vector<double>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(columns.tensor("").strides(), (Shape{1, 2}));
}

TEST(NumpyReader, ReadsArchivesStoredAndDeflated) {
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    const NumpyReader reader(kFiles / name);
    ASSERT_EQ(reader.entries().size(), 3U);
    EXPECT_EQ(to_host<float>(reader.tensor("x")), (std::vector<float>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(to_host<std::int64_t>(reader.tensor("n")), (std::vector<std::int64_t>{7, -8}));
    EXPECT_EQ(reader.tensor("flags").dtype(), DType::boolean);
    EXPECT_NE(message_of<CheckpointError>([&] { reader.tensor("y"); }).find("no array \"y\"; it has 3"), std::string::npos);
  }
}

TEST(NumpyReader, NamesWhatAHeaderBreaks) {
  const std::string data(24, '\0');
  EXPECT_EQ(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", data)), "");
  EXPECT_NE(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", data)).find("24 bytes"), std::string::npos);
  EXPECT_NE(refusal(npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", data)).find(">f4"), std::string::npos);
  EXPECT_NE(refusal(npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", data)).find("|O"), std::string::npos);
  EXPECT_NE(refusal(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }", data)).find("structure"), std::string::npos);
  EXPECT_NE(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3), }", data)).find("shape"), std::string::npos);
  EXPECT_NE(refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", data)).find("24 bytes"),
            std::string::npos);
  EXPECT_NE(refusal(npy("{'descr': '<f4', 'shape': (2, 3), }", data)).find("fortran_order"), std::string::npos);
  EXPECT_NE(refusal("NUMPY").find("does not begin"), std::string::npos);
}

TEST(NumpyReaderFuzz, MutatedFilesAreReadOrRefusedButNeverCrash) {
  const TemporaryFolder folder;
  std::mt19937_64 random(5);
  int accepted = 0, refused = 0;
  const std::vector<std::string> seeds{read_bytes(kFiles / "rows.npy"), read_bytes(kFiles / "columns.npy"),
                                       read_bytes(kFiles / "stored.npz")};
  for (std::size_t round = 0; round < 1500; ++round) {
    std::string bytes = seeds[round % seeds.size()];
    for (std::uint64_t edits = 1 + random() % 3; edits > 0; --edits) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (round % 5 == 0) bytes.resize(random() % bytes.size());
    write_bytes(folder / "x", bytes);
    try {
      const NumpyReader reader(folder / "x");
      for (const NumpyEntry& entry : reader.entries()) {
        if (entry.dtype == DType::f32) to_host<float>(reader.tensor(entry.name));
      }
      ++accepted;
    } catch (const CheckpointError&) {
      ++refused;
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace trident
