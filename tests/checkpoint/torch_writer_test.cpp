// That PyTorch itself reads these files (torch.load(weights_only=True), load_state_dict) was tried with PyTorch 2.15 and
// neuraloperator 2.0.
#include "checkpoint/torch_writer.h"

#include <gtest/gtest.h>

#include <cstring>

#include "checkpoint/pickled_values.h"
#include "checkpoint/torch_reader.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "runtime/tensor/view.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;

const std::filesystem::path kCheckpoints = std::filesystem::path(TRIDENT_GOLDEN_FOLDER) / "neuralop/checkpoints";

TEST(TorchWriter, WritesTensorsOfEveryTypeAndOrder) {
  const TemporaryFolder folder;
  const Tensor matrix = from_values<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const std::vector<NamedTensor> tensors{{"z.weight", matrix},
                                         {"a.transposed", view::permute(matrix, {1, 0})},
                                         {"a.spectrum", from_values<c64>({2}, std::vector<c64>{{1, 2}, {3, -4}})},
                                         {"wide", from_values<double>({}, std::vector<double>{0.1})},
                                         {"none", empty({0, 3}, DType::i64)}};
  write_state_dict(folder / "x.pt", tensors);
  TorchReader reader(folder / "x.pt");
  ASSERT_EQ(reader.entries().size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(reader.entries()[i].name, tensors[i].name);
    const Tensor stored = reader.tensor(tensors[i].name), expected = packed(tensors[i].tensor);
    ASSERT_EQ(stored.shape(), expected.shape());
    ASSERT_EQ(stored.dtype(), expected.dtype());
    if (expected.numel() == 0) continue;  // it has no memory
    EXPECT_EQ(std::memcmp(stored.bytes(), expected.bytes(), static_cast<std::size_t>(expected.num_bytes())), 0);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(stored.bytes()) % 64, 0U);
  }
}

/// neuraloperator takes a domain_padding for each dimension from a list alone: of a tuple it makes none, without a word.
TEST(TorchWriter, WritesListsAsListsOfPython) {
  const TemporaryFolder folder;
  write_pickled_values(folder / "x.pkl", ConfigValue::list({true, false}));
  EXPECT_NE(read_bytes(folder / "x.pkl").find("](\x88\x89\x65"), std::string::npos);  // [ mark True False appends
}

TEST(TorchWriter, KeepsTheArgumentsOfTheModelBesideItsTensors) {
  const TemporaryFolder folder;
  const ConfigValue arguments = ConfigValue::map({{"n_modes", ConfigValue::list({8, 8})},
                                                  {"rank", 0.25},
                                                  {"norm", {}},
                                                  {"separable", false},
                                                  {"_name", "TFNO"},
                                                  {"big", ConfigValue(-(std::int64_t{1} << 40))}});
  write_state_dict(folder / "x.pt", {{"a", zeros({1}, DType::f32)}}, arguments);
  const TorchReader reader(folder / "x.pt");
  EXPECT_EQ(reader.entries().size(), 1U);
  EXPECT_EQ(to_json(*reader.values().find("_metadata")), to_json(arguments));
}

TEST(TorchWriter, WritesTheSameBytesTwice) {
  const TemporaryFolder folder;
  write_pickled_values(folder / "x.pkl", ConfigValue::map({{"epoch", 3}}));
  const std::string once = read_bytes(folder / "x.pkl");
  write_pickled_values(folder / "x.pkl", ConfigValue::map({{"epoch", 3}}));
  EXPECT_EQ(read_bytes(folder / "x.pkl"), once);
  EXPECT_EQ(read_pickled_values(folder / "x.pkl").find("epoch")->as_integer(), 3);
}

TEST(TorchWriter, RefusesNamesThatOccurTwice) {
  const TemporaryFolder folder;
  const Tensor x = zeros({1}, DType::f32);
  EXPECT_NE(message_of<CheckpointError>([&] { write_state_dict(folder / "x", {{"a", x}, {"a", x}}); }).find("\"a\""), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

TEST(PickledValues, AreThoseOfNeuralOperatorsFiles) {
  const ConfigValue metadata = read_pickled_values(kCheckpoints / "new/fno_dense/model_metadata.pkl");
  EXPECT_EQ(to_json(*metadata.find("n_modes"), 0), "[6, 6]");
  EXPECT_EQ(metadata.find("non_linearity")->as_string(), "gelu");
  EXPECT_EQ(metadata.find("conv_module")->as_string(), "SpectralConv");
  EXPECT_TRUE(metadata.find("stabilizer")->is_null());
  const ConfigValue schedule = read_pickled_values(kCheckpoints / "new/fno_dense/scheduler.pt");
  EXPECT_EQ(schedule.find("last_epoch")->as_integer(), 1);
  EXPECT_EQ(schedule.find("_last_lr")->elements()[0].as_number(), 0.0025);
  const ConfigValue optimizer = read_pickled_values(kCheckpoints / "new/fno_dense/optimizer.pt");
  EXPECT_EQ(find_path(optimizer, "state")->find("31")->find("step")->as_integer(), 2);
}

TEST(PickledValues, OfPlainPicklesAreReadWithoutRunningThem) {
  const TemporaryFolder folder;
  // {"norm": os.system("x")}, with attributes set on what that would return.
  testing::write_bytes(folder / "x.pkl", "\x80\x05}\x8c\x04norm\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R}bs.");
  EXPECT_EQ(read_pickled_values(folder / "x.pkl").find("norm")->as_string(), "system(...)");
}

TEST(PickledValues, APaddingThatNeuraloperatorPassesOverIsNone) {
  const TemporaryFolder folder;
  const auto padding_of = [&](const std::string& value) {
    testing::write_bytes(folder / "x.pkl", "\x80\x02}X" + std::string("\x0e\0\0\0", 4) + "domain_padding" + value + "s.");
    return to_json(*read_pickled_values(folder / "x.pkl").find("domain_padding"), 0);
  };
  EXPECT_EQ(padding_of("K\x01K\x02\x86"), "null");
  EXPECT_EQ(padding_of("](K\x01K\x02\x65"), "[1, 2]");
}

}  // namespace
}  // namespace trident
