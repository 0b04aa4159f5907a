#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "checkpoint/safetensors_reader.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/weight_files.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::write_bytes;

/// A file with the given header and as many bytes of data.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  file += header;
  return file + std::string(data_bytes, '\0');
}

std::string read_error(const std::string& bytes) {
  const TemporaryFolder folder;
  write_bytes(folder / "x.safetensors", bytes);
  return message_of<CheckpointError>([&] { const SafetensorsReader reader(folder / "x.safetensors"); });
}

void expect_rejected(const std::string& header, std::size_t data_bytes, const std::string& reason) {
  const std::string error = read_error(file_of(header, data_bytes));
  EXPECT_NE(error.find(reason), std::string::npos) << header.substr(0, 200) << "\n" << error;
}

TEST(Safetensors, KeepsNamesShapesTypesAndNumbers) {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  constexpr std::array kFlags{true, false, true};
  const Tensor flags = from_values({3}, std::span<const bool>(kFlags));
  write_safetensors(path,
                    {{"flags", flags},
                     {"a", from_values<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6})},
                     {"b", from_values<double>({}, std::vector<double>{0.1})},
                     {"count", from_values<std::int64_t>({1}, std::vector<std::int64_t>{-7})},
                     {"none", empty({0, 4}, DType::f32)}},
                    {{"format", "pt"}, {"note", "ü \"x\""}});
  const SafetensorsReader reader(path);
  EXPECT_EQ(reader.metadata().at("note"), "ü \"x\"");
  ASSERT_EQ(reader.entries().size(), 5U);
  EXPECT_EQ(to_host<float>(reader.tensor("a")), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(reader.tensor("a").shape(), (Shape{2, 3}));
  EXPECT_EQ(to_number(reader.tensor("b")), 0.1);
  EXPECT_EQ(reader.tensor("b").rank(), 0);
  EXPECT_EQ(to_number(reader.tensor("count")), -7);
  EXPECT_EQ(reader.tensor("none").shape(), (Shape{0, 4}));
  EXPECT_EQ(std::memcmp(reader.tensor("flags").bytes(), "\1\0\1", 3), 0);
  EXPECT_EQ(reader.find("c"), nullptr);
}

TEST(Safetensors, TensorsOutliveTheirReader) {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", {{"a", from_values<float>({2}, std::vector<float>{1, 2})}});
  const Tensor a = SafetensorsReader(folder / "x").tensor("a");
  EXPECT_EQ(to_host<float>(a), (std::vector<float>{1, 2}));
}

TEST(Safetensors, WritesViewsRowByRow) {
  const TemporaryFolder folder;
  const Tensor a = from_values<float>({2, 2}, std::vector<float>{1, 2, 3, 4});
  write_safetensors(folder / "x", {{"t", view::permute(a, {1, 0})}});
  EXPECT_EQ(to_host<float>(SafetensorsReader(folder / "x").tensor("t")), (std::vector<float>{1, 3, 2, 4}));
}

TEST(Safetensors, WritesAHeaderOfWholeWordsSoThatEveryNumberIsAligned) {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", {{"flag", zeros({1}, DType::boolean)}, {"a", zeros({1}, DType::f32)}, {"b", zeros({1}, DType::f64)}});
  const std::string bytes = read_bytes(folder / "x");
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  EXPECT_EQ(header % 8, 0U);
  const SafetensorsReader reader(folder / "x");
  EXPECT_EQ(reader.entries()[0].name, "b");
  EXPECT_EQ(reader.entries()[2].name, "flag");
}

TEST(Safetensors, ReadsNumbersThatAreNotAligned) {
  const TemporaryFolder folder;
  std::string file =
      file_of(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}})", 9);
  const double value = 2.5;
  std::memcpy(file.data() + file.size() - 8, &value, 8);
  write_bytes(folder / "x", file);
  EXPECT_EQ(to_number(SafetensorsReader(folder / "x").tensor("b")), 2.5);
}

TEST(Safetensors, RefusesToWriteTwoTensorsOfOneName) {
  const TemporaryFolder folder;
  const Tensor a = zeros({1}, DType::f32);
  EXPECT_THROW(write_safetensors(folder / "x", {{"a", a}, {"a", a}}), CheckpointError);
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

TEST(Safetensors, HoldWideComplexNumbersAsPairs) {
  const TemporaryFolder folder;
  write_safetensors(folder / "x.safetensors", {{"a", from_values<c128>({2}, std::vector<c128>{{1, 2}, {3, 4}})}});
  EXPECT_EQ(SafetensorsReader(folder / "x.safetensors").tensor("a::complex").shape(), (Shape{2, 2}));
  const WeightFiles files(folder / "x.safetensors");
  ASSERT_NE(files.find("a"), nullptr);
  EXPECT_EQ(to_host<c128>(files.find("a")->load()), (std::vector<c128>{{1, 2}, {3, 4}}));
}

TEST(Safetensors, NamesTypesItCannotHoldWhenTheyAreAskedFor) {
  const TemporaryFolder folder;
  write_bytes(folder / "x", file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2));
  const SafetensorsReader reader(folder / "x");
  EXPECT_EQ(reader.entries()[0].type, "U8");
  EXPECT_NE(message_of<CheckpointError>([&] { reader.tensor("a"); }).find("U8"), std::string::npos);
}

TEST(Safetensors, RefusesBooleansThatAreNeitherTrueNorFalse) {
  const TemporaryFolder folder;
  std::string file = file_of(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", 2);
  file.back() = 2;
  write_bytes(folder / "x", file);
  EXPECT_THROW(SafetensorsReader(folder / "x").tensor("a"), CheckpointError);
}

TEST(Safetensors, RejectsFilesThatAreNoFilesOrTooShort) {
  const TemporaryFolder folder;
  EXPECT_THROW(SafetensorsReader(folder / "missing"), CheckpointError);
  EXPECT_THROW(SafetensorsReader(folder.path()), CheckpointError);
  EXPECT_NE(read_error("").find("only 0 bytes"), std::string::npos);
  EXPECT_NE(read_error("1234567").find("only 7 bytes"), std::string::npos);
  EXPECT_NE(read_error(std::string(8, '\xff')).find("claims 18446744073709551615 bytes"), std::string::npos);
  EXPECT_NE(read_error(std::string("\x10\0\0\0\0\0\0\0{}", 10)).find("claims 16 bytes"), std::string::npos);
}

TEST(Safetensors, RejectsHeadersThatAreNoJsonOfTheFormat) {
  expect_rejected("", 0, "begin with {");
  expect_rejected(" {}", 0, "begin with {");
  expect_rejected("{\"\xff\":1}", 0, "UTF-8");
  expect_rejected("{} x", 0, "UTF-8 JSON");
  expect_rejected(R"({"a":[]})", 0, "a list where");
  expect_rejected(R"({"a":1})", 0, "a number where");
  expect_rejected(R"({"a":{}})", 0, "lacks dtype");
  expect_rejected(R"({"__metadata__":{"a":1}})", 0, "a number where");
  expect_rejected(R"({"__metadata__":{"a":"1","a":"2"}})", 0, "twice");
  expect_rejected(R"({"__metadata__":{},"__metadata__":{}})", 0, "twice");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "a list where");
  expect_rejected(R"({"a":{"dtype":"F32","shape":{"b":1},"data_offsets":[0,4]}})", 4, "an object where");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "two data_offsets");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "two numbers");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", 4, "twice");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":"y"}})", 4, "unknown key");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "fraction");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4, "8 dimensions");
  expect_rejected(R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4, "unknown dtype");
  expect_rejected(std::string(100'000, '[').replace(0, 5, "{\"a\":"), 0, "a list where");
}

TEST(Safetensors, RejectsTensorsThatOverlapLeaveHolesOrDoNotFillTheFile) {
  const auto two = [](int a0, int a1, int b0, int b1) {
    return concat(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[)", a0, ",", a1,
                  R"(]},"b":{"dtype":"F32","shape":[1],"data_offsets":[)", b0, ",", b1, "]}}");
  };
  EXPECT_EQ(read_error(file_of(two(0, 4, 4, 8), 8)), "");
  EXPECT_EQ(read_error(file_of(two(4, 8, 0, 4), 8)), "");
  expect_rejected(two(0, 4, 4, 8), 7, "end at byte 8");
  expect_rejected(two(0, 4, 4, 8), 9, "end at byte 8");
  expect_rejected(two(0, 4, 3, 7), 8, "overlap or hole");
  expect_rejected(two(0, 4, 5, 9), 9, "overlap or hole");
  expect_rejected(two(4, 0, 0, 4), 8, "overlap or hole");
  expect_rejected(two(0, 5, 5, 9), 9, "needs 4 bytes and has 5");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
                  "twice");
}

TEST(Safetensors, RejectsShapesWhoseSizeOverflows) {
  const auto header = [](const std::string& shape) {
    return concat(R"({"a":{"dtype":"F32","shape":)", shape, R"(,"data_offsets":[0,4]}})");
  };
  expect_rejected(header("[4611686018427387905]"), 4, "more than 2^63 bytes");  // times 4 is 4 in 64 bits
  expect_rejected(header("[4294967296,4294967297]"), 4, "more than 2^63 bytes");
  expect_rejected(header("[18446744073709551615]"), 4, "too large");
  expect_rejected(header("[18446744073709551616]"), 4, "fraction");  // JSON readers make a float of it
  expect_rejected(header("[0,4294967296,4294967296]"), 4, "more than 2^63 bytes");
  expect_rejected(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})", 4, "needs 4 bytes");
}

TEST(Safetensors, AcceptsAHeaderExactlyWhenItsArithmeticHolds) {
  std::mt19937_64 random(7);
  const std::array<std::pair<const char*, std::int64_t>, 4> types{{{"F32", 4}, {"F64", 8}, {"BF16", 2}, {"BOOL", 1}}};
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
  };
  for (int round = 0; round < 300; ++round) {
    std::string header = "{";
    std::int64_t offset = 0;
    bool valid = true;
    for (std::int64_t tensor = between(1, 4); tensor > 0; --tensor) {
      const auto& [type, size] = types[static_cast<std::size_t>(between(0, 3))];
      const std::int64_t rows = between(0, 3), columns = between(1, 3);
      const std::int64_t error = between(0, 9) == 0 ? between(-2, 2) : 0;
      const std::int64_t begin = offset, end = std::max(begin, begin + rows * columns * size + error);
      valid = valid && end - begin == rows * columns * size;
      header += concat(header.size() > 1 ? "," : "", "\"t", tensor, R"(":{"dtype":")", type, R"(","shape":[)", rows, ",", columns,
                       R"(],"data_offsets":[)", begin, ",", end, "]}");
      offset = end;
    }
    const std::int64_t trailing = between(0, 9) == 0 ? 1 : 0;
    valid = valid && trailing == 0;
    const std::string file = file_of(header + "}", static_cast<std::size_t>(offset + trailing));
    EXPECT_EQ(read_error(file).empty(), valid) << header;
  }
}

TEST(SafetensorsFuzz, MutatedFilesAreReadOrRejectedButNeverCrash) {
  const TemporaryFolder folder;
  write_safetensors(folder / "x", {{"flags", zeros({3}, DType::boolean)}, {"a", zeros({2, 3}, DType::f32)}, {"b", zeros({5}, DType::f64)}});
  const std::string valid = read_bytes(folder / "x");
  std::mt19937_64 random(1);
  int accepted = 0, rejected = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = valid;
    for (std::uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 8);
          break;
        case 2:
          bytes.insert(at, 1 + random() % 8, static_cast<char>(random()));
          break;
        default:
          bytes[at] = "0123456789[]{},:\""[random() % 17];
      }
      if (bytes.empty()) break;
    }
    write_bytes(folder / "y", bytes);
    try {
      const SafetensorsReader reader(folder / "y");
      for (const auto& entry : reader.entries()) {
        const Tensor tensor = reader.tensor(entry.name);
        volatile std::byte sum{};
        for (std::int64_t i = 0; i < tensor.num_bytes(); ++i) sum = sum ^ tensor.bytes()[i];
      }
      ++accepted;
    } catch (const CheckpointError&) {
      ++rejected;
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_GT(rejected, 0);
}

}  // namespace
}  // namespace trident
