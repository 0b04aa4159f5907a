// The files are made by tests/golden/torch/make_files.py.
#include "checkpoint/torch_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::write_bytes;

const std::filesystem::path kGoldens = TRIDENT_GOLDEN_FOLDER;

std::vector<float> floats(TorchReader& reader, const char* name) { return to_host<float>(reader.tensor(name)); }

std::string refusal_of(const std::filesystem::path& path) {
  return message_of<CheckpointError>([&] { TorchReader reader(path); });
}

/// Reads every byte, so that a view of what it does not own is noticed.
void touch(const Tensor& tensor) {
  const Tensor values = packed(tensor);
  volatile std::byte sum{};
  for (std::int64_t i = 0; i < values.num_bytes(); ++i) sum = sum ^ values.bytes()[i];
}

class TorchFile : public ::testing::TestWithParam<const char*> {};

TEST_P(TorchFile, GivesEveryTensorItsValues) {
  TorchReader reader(kGoldens / "torch" / GetParam());
  EXPECT_EQ(reader.entries().size(), 18U);
  const Tensor transposed = reader.tensor("column_major");
  EXPECT_EQ(transposed.shape(), (Shape{6, 4}));
  EXPECT_EQ(transposed.strides(), (Shape{1, 6}));
  const auto values = to_host<float>(transposed);
  for (int row = 0; row < 6; ++row) {
    for (int column = 0; column < 4; ++column) EXPECT_EQ(values[static_cast<std::size_t>(row * 4 + column)], column * 6 + row);
  }
  EXPECT_EQ(floats(reader, "offset"), (std::vector<float>{10, 11, 12, 13}));
  EXPECT_EQ(floats(reader, "every_third"), (std::vector<float>{1, 4, 7, 10, 13, 16, 19, 22}));
  EXPECT_EQ(floats(reader, "repeated"), (std::vector<float>{7, 7, 7}));
  EXPECT_EQ(floats(reader, "parameter"), (std::vector<float>{1.5F, -2.5F}));
  EXPECT_EQ(to_number(reader.tensor("scalar")), 0.1);
  EXPECT_EQ(reader.tensor("none").shape(), (Shape{0, 3}));
  EXPECT_EQ(std::memcmp(reader.tensor("flags").bytes(), "\1\0\1", 3), 0);
  EXPECT_EQ(to_host<std::int64_t>(reader.tensor("long")), (std::vector<std::int64_t>{-(std::int64_t{1} << 40), 3}));
  EXPECT_EQ(to_host<std::int32_t>(reader.tensor("int")), (std::vector<std::int32_t>{-5, 6}));
  EXPECT_EQ(to_host<c64>(reader.tensor("complex")), (std::vector<c64>{{1, 2}, {3, -4}}));
  const Tensor half = empty({3}, DType::f32);
  copy_into(half, reader.tensor("half"));
  EXPECT_EQ(to_host<float>(half), (std::vector<float>{0.5F, -65504.0F, 0x1p-24F}));
  EXPECT_EQ(std::memcmp(reader.tensor("brain").bytes(), "\x80\x3f\x40\xc0", 4), 0);
  EXPECT_EQ(floats(reader, "nested.list.1"), (std::vector<float>{2}));
}

TEST_P(TorchFile, SharesTheMemoryOfTiedTensors) {
  TorchReader reader(kGoldens / "torch" / GetParam());
  EXPECT_EQ(reader.tensor("first_name").bytes(), reader.tensor("second_name").bytes());
  EXPECT_EQ(reader.tensor("offset").storage(), reader.tensor("column_major").storage());
}

INSTANTIATE_TEST_SUITE_P(EveryForm, TorchFile, ::testing::Values("views.pt", "protocol_4.pt", "deflated.pt", "zip64.pt"));

TEST(TorchReader, NamesTypesItCannotHoldWhenTheyAreAskedFor) {
  TorchReader reader(kGoldens / "torch/views.pt");
  EXPECT_NE(message_of<CheckpointError>([&] { reader.tensor("byte"); }).find("ByteStorage"), std::string::npos);
  EXPECT_NE(message_of<CheckpointError>([&] { reader.tensor("absent"); }).find("no tensor \"absent\""), std::string::npos);
}

TEST(TorchReader, NamesThePythonObjectItRefuses) {
  EXPECT_NE(refusal_of(kGoldens / "torch/command.pt").find("\"posix.system\""), std::string::npos);
}

TEST(TorchReader, RefusesOtherFormatsWithTheirNames) {
  EXPECT_NE(refusal_of(kGoldens / "torch/legacy.pt").find("before 1.6"), std::string::npos);
  EXPECT_NE(refusal_of(kGoldens / "torch/script.pt").find("TorchScript"), std::string::npos);
  EXPECT_NE(refusal_of(kGoldens / "torch/conjugate.pt").find("resolve_conj"), std::string::npos);
  EXPECT_NE(refusal_of(kGoldens / "torch/make_files.py").find("no file of torch.save"), std::string::npos);
}

TEST(TorchReader, RefusesArchivesThatAreCutOffOrDamaged) {
  const TemporaryFolder folder;
  const std::string bytes = read_bytes(kGoldens / "torch/views.pt");
  write_bytes(folder / "cut", bytes.substr(0, bytes.size() - 1));
  EXPECT_NE(refusal_of(folder / "cut").find("no end record"), std::string::npos);
  std::string flipped = bytes;
  flipped[bytes.find("column_major")] = 'C';
  write_bytes(folder / "flipped", flipped);
  EXPECT_NE(refusal_of(folder / "flipped").find("checksum"), std::string::npos);
}

/// A stored archive with one storage of `elements` floats, whose pickle describes a view of it.
class HandMadeArchive {
 public:
  static std::string of(const std::string& pickle, std::size_t elements) {
    HandMadeArchive archive;
    archive.add("a/data.pkl", pickle);
    archive.add("a/data/0", std::string(elements * sizeof(float), '\0'));
    return archive.finish();
  }

 private:
  template <class T>
  static void put(std::string& target, T value) {
    target.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  void add(const std::string& name, const std::string& data) {
    std::string common;
    put<std::uint16_t>(common, 20), put<std::uint16_t>(common, 0), put<std::uint16_t>(common, 0), put<std::uint32_t>(common, 0);
    put<std::uint32_t>(common, crc(data)), put(common, static_cast<std::uint32_t>(data.size())),
        put(common, static_cast<std::uint32_t>(data.size()));
    put(common, static_cast<std::uint16_t>(name.size())), put<std::uint16_t>(common, 0);
    directory_ += concat("PK\1\2", std::string(2, '\0'), common, std::string(10, '\0'));
    put(directory_, static_cast<std::uint32_t>(file_.size()));
    directory_ += name;
    file_ += concat("PK\3\4", common, name, data);
    ++entries_;
  }
  std::string finish() {
    std::string end = concat("PK\5\6", std::string(4, '\0'));
    put(end, entries_), put(end, entries_), put(end, static_cast<std::uint32_t>(directory_.size())),
        put(end, static_cast<std::uint32_t>(file_.size()));
    return concat(file_, directory_, end, std::string(2, '\0'));
  }
  static std::uint32_t crc(const std::string& data) {
    std::uint32_t value = ~0U;
    for (const char c : data) {
      value ^= static_cast<std::uint8_t>(c);
      for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xEDB88320U : 0U);
    }
    return ~value;
  }
  std::string file_, directory_;
  std::uint16_t entries_ = 0;
};

std::string integer(std::int64_t value) { return concat("\x8a\x08", std::string(reinterpret_cast<const char*>(&value), 8)); }
std::string text(const std::string& value) { return concat("\x8c", static_cast<char>(value.size()), value); }
std::string tuple(const std::vector<std::int64_t>& values) {
  std::string result = "(";
  for (const auto value : values) result += integer(value);
  return result + "t";
}

/// {"x": tensor}, as torch.save writes it.
std::string pickle_of(std::int64_t elements, std::int64_t offset, const std::vector<std::int64_t>& shape,
                      const std::vector<std::int64_t>& strides) {
  return concat("\x80\x02}", text("x"), "ctorch._utils\n_rebuild_tensor_v2\n((", text("storage"), "ctorch\nFloatStorage\n", text("0"),
                text("cpu"), integer(elements), "tQ", integer(offset), tuple(shape), tuple(strides), "\x89)tRs.");
}

TEST(TorchReader, AcceptsViewsExactlyWhenTheyStayInTheirStorage) {
  const TemporaryFolder folder;
  const auto accepts = [&](std::int64_t elements, std::int64_t offset, const std::vector<std::int64_t>& shape,
                           const std::vector<std::int64_t>& strides) {
    write_bytes(folder / "x", HandMadeArchive::of(pickle_of(elements, offset, shape, strides), 12));
    return refusal_of(folder / "x").empty();
  };
  constexpr std::int64_t kLarge = std::int64_t{1} << 62;
  EXPECT_TRUE(accepts(12, 0, {3, 4}, {4, 1}));
  EXPECT_TRUE(accepts(12, 11, {}, {}));
  EXPECT_TRUE(accepts(12, 12, {0, 7}, {7, 1}));
  EXPECT_TRUE(accepts(12, 0, {12, 5}, {1, 0}));
  EXPECT_FALSE(accepts(12, 1, {3, 4}, {4, 1}));
  EXPECT_FALSE(accepts(12, 12, {}, {}));
  EXPECT_FALSE(accepts(12, 13, {0}, {1}));
  EXPECT_FALSE(accepts(13, 0, {12}, {1}));
  EXPECT_FALSE(accepts(12, -1, {3}, {1}));
  EXPECT_FALSE(accepts(12, 0, {3}, {-1}));
  EXPECT_FALSE(accepts(12, 0, {3}, {1, 1}));
  EXPECT_FALSE(accepts(12, 0, {-3}, {1}));
  EXPECT_FALSE(accepts(12, 0, {5}, {kLarge}));
  EXPECT_FALSE(accepts(12, 0, {kLarge, 4}, {0, 0}));
  EXPECT_FALSE(accepts(12, kLarge, {2, 2}, {kLarge, kLarge}));
  EXPECT_FALSE(accepts(12, 0, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1}));
}

TEST(TorchReader, RefusesPicklesThatMakeNoSense) {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::string& pickle, const std::string& reason) {
    write_bytes(folder / "x", HandMadeArchive::of(pickle, 1));
    const std::string refusal = refusal_of(folder / "x");
    EXPECT_NE(refusal.find(reason), std::string::npos) << refusal;
  };
  refuses("", "truncated");
  refuses("}.", "protocol of 2");
  refuses("\x80\x06}.", "protocol 6");
  refuses("\x80\x02.", "more values than it has");
  refuses("\x80\x02}", "truncated");
  refuses("\x80\x02t.", "no mark");
  refuses("\x80\x02}h\x01.", "has not remembered");
  refuses("\x80\x02}(K\x01u.", "what is no dict");
  refuses(
      "\x80\x02}K\x01"
      "a.",
      "no list");
  refuses("\x80\x02}\x8d\xff\xff\xff\xff\xff\xff\xff\xffx.", "truncated");
  refuses(
      "\x80\x02"
      "cos\nsystem\n.",
      "\"os.system\"");
  refuses(
      "\x80\x02"
      "i.",
      "opcode 105");
  refuses(concat("\x80\x02}q\x01", text("self"), "h\x01s."), "without end");
  refuses(
      "\x80\x02"
      "ctorch._utils\n_rebuild_tensor_v2\n)R.",
      "not described");
}

TEST(TorchReader, RefusesPicklesOfFewBytesThatNeedMuchMemory) {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::string& pickle, const std::string& reason) {
    write_bytes(folder / "x", HandMadeArchive::of(pickle, 12));
    const std::string refusal = refusal_of(folder / "x");
    EXPECT_NE(refusal.find(reason), std::string::npos) << refusal;
  };
  const auto times = [](int count, const std::string& part) {
    std::string all;
    for (int i = 0; i < count; ++i) all += part;
    return all;
  };
  const auto long_text = [](std::uint32_t size) {
    return concat("X", std::string(reinterpret_cast<const char*>(&size), sizeof size), std::string(size, 'x'));
  };
  // One long tuple as the arguments of many calls, one long name as that of many globals.
  refuses(concat("\x80\x02(", times(100'000, "N"), "tq\x01", times(100, "ctorch\nSize\nh\x01R0"), "}."), "repeated");
  refuses(concat("\x80\x02", long_text(1'000'000), "q\x01", times(50, "h\x01h\x01\x93"), "}."), "repeated");
  // One long key before many tensors, one long text in many places.
  const std::string tensor = pickle_of(12, 0, {3, 4}, {4, 1});
  const std::string value = tensor.substr(6, tensor.size() - 8);  // without the dict around it
  std::string many = concat("\x80\x02", value, "q\x01", "}", long_text(50'000), "}");
  for (int key = 0; key < 1000; ++key) many += concat(integer(key), "h\x01s");
  refuses(many + "s.", "without end");
  refuses(concat("\x80\x02}", text("a"), "(", long_text(50'000), "q\x01", times(1000, "h\x01"), "ts."), "without end");
}

TEST(TorchReader, KeepsObjectsUnderMetadataAsNamesAndRefusesThemElsewhere) {
  const TemporaryFolder folder;
  const std::string tensor = pickle_of(12, 0, {3, 4}, {4, 1});
  const std::string state = tensor.substr(0, tensor.size() - 1);  // without the end
  const std::string command = concat("cos\nsystem\n", text("echo"), "\x85R}b");
  write_bytes(folder / "beside", HandMadeArchive::of(concat(state, text("_metadata"), "}", text("norm"), command, "ss."), 12));
  TorchReader reader(folder / "beside");
  ASSERT_EQ(reader.entries().size(), 1U);
  EXPECT_EQ(find_path(reader.values(), "_metadata.norm")->as_string(), "system(...)");
  for (const std::string& hidden : {text("y") + command + "s", command + "0"}) {
    write_bytes(folder / "hidden", HandMadeArchive::of(concat(state, hidden, "."), 12));
    EXPECT_NE(refusal_of(folder / "hidden").find("\"os.system\""), std::string::npos);
  }
  const std::string both = concat(state, text("_metadata"), "}s", text("y"), command, "s.");
  write_bytes(folder / "both", HandMadeArchive::of(both, 12));
  EXPECT_NE(refusal_of(folder / "both").find("\"os.system\""), std::string::npos);
}

TEST(TorchReaderFuzz, MutatedFilesAreReadOrRefusedButNeverCrash) {
  const TemporaryFolder folder;
  std::mt19937_64 random(3);
  int accepted = 0, refused = 0;
  const std::vector<std::string> seeds{read_bytes(kGoldens / "torch/views.pt"), read_bytes(kGoldens / "torch/deflated.pt"),
                                       read_bytes(kGoldens / "torch/zip64.pt"),
                                       read_bytes(kGoldens / "neuralop/checkpoints/new/tfno_tucker/model_state_dict.pt")};
  const std::string pickle = pickle_of(12, 0, {3, 4}, {4, 1});
  for (int round = 0; round < 2000; ++round) {
    // Every second file has a valid checksum over its mutated pickle: otherwise the checksum would stand before all other checks.
    std::string bytes = round % 2 == 0 ? pickle : seeds[static_cast<std::size_t>(round / 2) % seeds.size()];
    for (std::uint64_t edits = 1 + random() % 3; edits > 0; --edits) bytes[random() % bytes.size()] = static_cast<char>(random());
    write_bytes(folder / "y", round % 2 == 0 ? HandMadeArchive::of(bytes, 12) : bytes);
    try {
      TorchReader reader(folder / "y");
      for (const auto& entry : reader.entries()) {
        if (entry.dtype && numel(entry.shape) < 1000) touch(reader.tensor(entry.name));
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
