// The folders were written by neuraloperator 2.0.0 and 0.3.0 (tests/golden/neuralop/checkpoints). What the models compute from them is
// checked by golden_check.
#include "checkpoint/neuralop_folder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "checkpoint/checkpoint_conversion.h"
#include "checkpoint/model_directory.h"
#include "checkpoint/neuralop_config.h"
#include "checkpoint/pickled_values.h"
#include "checkpoint/torch_reader.h"
#include "checkpoint/torch_writer.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::TemporaryFolder;

namespace fs = std::filesystem;
const fs::path kCheckpoints = fs::path(TRIDENT_GOLDEN_FOLDER) / "neuralop/checkpoints";

std::string value_of(const ConfigValue& config, const char* key) {
  const ConfigValue* value = config.find(key);
  return value == nullptr ? "absent" : to_json(*value, 0);
}

std::map<std::string, StoredTensor> by_name(const std::vector<StoredTensor>& tensors) {
  std::map<std::string, StoredTensor> result;
  for (const StoredTensor& tensor : tensors) EXPECT_TRUE(result.emplace(tensor.name, tensor).second) << tensor.name;
  return result;
}

void expect_same_values(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape(), b.shape());
  ASSERT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(std::memcmp(packed(a).bytes(), packed(b).bytes(), static_cast<std::size_t>(a.num_bytes())), 0);
}

TEST(NeuralopFolder, OfTodayGivesTheModelsArgumentsAndItsTensorsAsTheyAre) {
  const NeuralopModel model = read_neuralop_model(kCheckpoints / "new/fno_dense");
  EXPECT_EQ(value_of(model.config, "type"), "\"fno\"");
  EXPECT_EQ(value_of(model.config, "n_modes"), "[6, 6]");
  EXPECT_EQ(value_of(model.config, "non_linearity"), "\"gelu\"");
  EXPECT_EQ(value_of(model.config, "norm"), "\"group_norm\"");
  EXPECT_EQ(value_of(model.config, "_version"), "absent");
  EXPECT_EQ(value_of(model.config, "block_variant"), "absent");
  TorchReader reader(kCheckpoints / "new/fno_dense/model_state_dict.pt");
  ASSERT_EQ(model.tensors.size(), reader.entries().size());
  for (const StoredTensor& tensor : model.tensors) expect_same_values(tensor.load(), reader.tensor(tensor.name));
  EXPECT_EQ(by_name(model.tensors).at("fno_blocks.convs.0.weight.tensor").dtype, DType::c64);
}

TEST(NeuralopFolder, KnowsReleases1ByAnArgumentThat2NoLongerHas) {
  ConfigValue arguments = ConfigValue::map({{"_name", "FNO"},
                                            {"n_modes", ConfigValue::list({3, 4})},
                                            {"in_channels", 1},
                                            {"out_channels", 1},
                                            {"hidden_channels", 2},
                                            {"domain_padding_mode", "one-sided"}});
  const ConfigValue config = config_from_neuralop(arguments, NeuralopLayout::current, {}, "here");
  EXPECT_EQ(value_of(config, "block_variant"), "\"v1\"");
  EXPECT_EQ(value_of(arguments_for_neuralop(config, "here"), "domain_padding_mode"), "\"one-sided\"");
}

TEST(NeuralopFolder, TakesArgumentsFromTheStateDictWhereTheirFileIsMissing) {
  const TemporaryFolder folder;
  fs::copy(kCheckpoints / "new/tfno_tucker/model_state_dict.pt", folder / "best_state_dict.pt");
  EXPECT_EQ(to_json(read_neuralop_model(folder.path()).config), to_json(read_neuralop_model(kCheckpoints / "new/tfno_tucker").config));
}

TEST(NeuralopFolder, ChoosesTheStateDictThatTheManifestNames) {
  const TemporaryFolder folder;
  fs::copy(kCheckpoints / "new/tfno_tucker/model_state_dict.pt", folder / "model_state_dict.pt");
  fs::copy(kCheckpoints / "new/fno_dense/model_state_dict.pt", folder / "best_state_dict.pt");
  EXPECT_NE(message_of<CheckpointError>([&] {
              read_neuralop_model(folder.path());
            }).find("2 state dicts (best_state_dict.pt, model_state_dict.pt)"),
            std::string::npos);
  fs::copy(kCheckpoints / "new/tfno_tucker/manifest.pt", folder / "manifest.pt");
  EXPECT_EQ(value_of(read_neuralop_model(folder.path()).config, "type"), "\"tfno\"");
}

TEST(NeuralopFolder, OfVersion03GivesTodaysNamesShapesAndComplexNumbers) {
  const NeuralopModel model = read_neuralop_model(kCheckpoints / "v0_3/fno_dense_mlp");
  EXPECT_EQ(value_of(model.config, "block_variant"), "\"v0_3\"");
  EXPECT_EQ(value_of(model.config, "use_channel_mlp"), "true");
  EXPECT_EQ(value_of(model.config, "positional_embedding"), "null");
  EXPECT_EQ(value_of(model.config, "lifting_channels"), "12");
  EXPECT_EQ(value_of(model.config, "domain_padding_mode"), "\"one-sided\"");
  EXPECT_EQ(value_of(model.config, "fft_norm"), "absent");
  const auto tensors = by_name(model.tensors);
  EXPECT_EQ(tensors.at("fno_blocks.convs.2.weight.tensor").shape, (Shape{6, 6, 8, 5}));
  EXPECT_EQ(tensors.at("fno_blocks.convs.2.bias").shape, (Shape{6, 1, 1}));
  EXPECT_EQ(tensors.at("fno_blocks.fno_skips.0.conv.weight").shape, (Shape{6, 6, 1}));
  EXPECT_EQ(tensors.at("fno_blocks.channel_mlp.1.fcs.0.weight").shape, (Shape{3, 6, 1}));
  EXPECT_EQ(tensors.at("fno_blocks.channel_mlp.1.fcs.0.bias").shape, (Shape{3}));
  EXPECT_EQ(tensors.at("fno_blocks.channel_mlp_skips.0.weight").shape, (Shape{1, 6, 1, 1}));
  EXPECT_EQ(tensors.at("lifting.fcs.0.weight").shape, (Shape{12, 3, 1}));
  TorchReader reader(kCheckpoints / "v0_3/fno_dense_mlp/model_state_dict.pt");
  const auto parts = to_host<float>(reader.tensor("fno_blocks.convs.weight.2.tensor"));
  const auto values = to_host<c64>(tensors.at("fno_blocks.convs.2.weight.tensor").load());
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], c64(parts[2 * i], parts[2 * i + 1]));
  const auto biases = to_host<float>(reader.tensor("fno_blocks.convs.bias"));
  const auto bias = to_host<float>(tensors.at("fno_blocks.convs.2.bias").load());
  for (std::size_t i = 0; i < bias.size(); ++i) EXPECT_EQ(bias[i], biases[12 + i]);
}

/// All entries of a Tucker tensor of two dimensions, from (R0, R1), (I0, R0), (I1, R1).
std::vector<c128> tucker(const Tensor& core, const Tensor& first, const Tensor& second) {
  const auto c = to_host<c128>(core), a = to_host<c128>(first), b = to_host<c128>(second);
  const std::size_t r0 = static_cast<std::size_t>(core.size(0)), r1 = static_cast<std::size_t>(core.size(1));
  std::vector<c128> result;
  for (std::size_t i = 0; i < a.size() / r0; ++i) {
    for (std::size_t j = 0; j < b.size() / r1; ++j) {
      c128 sum = 0.0;
      for (std::size_t k = 0; k < r0; ++k) {
        for (std::size_t l = 0; l < r1; ++l) sum += a[i * r0 + k] * b[j * r1 + l] * c[k * r1 + l];
      }
      result.push_back(sum);
    }
  }
  return result;
}

StoredTensor stored(const std::string& name, const Tensor& tensor) {
  return {name, "", tensor.dtype(), tensor.shape(), [tensor] { return tensor; }};
}

TEST(NeuralopNames, MultiplyAJointFactorisationIntoItsLayers) {
  // Two layers of a 1 x 2 matrix: core (2, 1, 2), layers' factor (2, 2), factors (1, 1), (2, 2).
  const Tensor core = from_values<c64>({2, 1, 2}, std::vector<c64>{{1, 1}, 2, 3, {0, 4}});
  const Tensor layers = from_values<c64>({2, 2}, std::vector<c64>{1, {0, 1}, 2, -1});
  const Tensor first = from_values<c64>({1, 1}, std::vector<c64>{{2, -1}});
  const Tensor second = from_values<c64>({2, 2}, std::vector<c64>{1, 2, {0, 3}, 4});
  const std::string prefix = "fno_blocks.convs.weight.";
  const auto result = by_name(from_neuralop({stored(prefix + "core", core), stored(prefix + "factors.factor_0", layers),
                                             stored(prefix + "factors.factor_1", first), stored(prefix + "factors.factor_2", second)},
                                            NeuralopLayout::v0_3, ConfigValue::map()));
  ASSERT_EQ(result.size(), 6U);
  const auto value = [&](const std::string& name) { return result.at("fno_blocks.convs." + name).load(); };
  // Layer 0: row (1, i) of core = (1+i, 2) + i (3, 4i) = (1+4i, -2); layer 1: 2 (1+i, 2) - (3, 4i) = (-1+2i, 4-4i).
  EXPECT_EQ(to_host<c128>(value("0.weight.core")), (std::vector<c128>{{1, 4}, -2}));
  EXPECT_EQ(to_host<c128>(value("1.weight.core")), (std::vector<c128>{{-1, 2}, {4, -4}}));
  const auto whole = tucker(value("1.weight.core"), value("1.weight.factors.factor_0"), value("1.weight.factors.factor_1"));
  EXPECT_EQ(whole[0], c128(2, -1) * (c128(-1, 2) + c128(2) * c128(4, -4)));
}

TEST(NeuralopNames, GiveTheRankOfAJointFactorisation) {
  const NeuralopModel model = read_neuralop_model(kCheckpoints / "v0_3/tfno_tucker_joint");
  EXPECT_EQ(value_of(model.config, "rank"), "[5, 5, 6, 4]");
  EXPECT_EQ(by_name(model.tensors).at("fno_blocks.convs.2.weight.core").shape, (Shape{5, 5, 6, 4}));
}

TEST(NeuralopFolder, IsWrittenAsItWasRead) {
  for (const char* name : {"new/fno_dense", "new/tfno_tucker", "v0_3/fno_dense_mlp", "v0_3/tfno_cp", "v0_3/tfno_tucker"}) {
    const TemporaryFolder folder;
    const NeuralopModel model = read_neuralop_model(kCheckpoints / name);
    std::vector<NamedTensor> tensors;
    for (const StoredTensor& tensor : model.tensors) tensors.push_back({tensor.name, tensor.load()});
    write_neuralop_model(folder.path(), model.config, late(tensors));
    TorchReader written(folder / "model_state_dict.pt"), original(kCheckpoints / name / "model_state_dict.pt");
    ASSERT_EQ(written.entries().size(), original.entries().size()) << name;
    for (const TorchEntry& entry : original.entries()) expect_same_values(written.tensor(entry.name), original.tensor(entry.name));
    ConfigValue expected = ConfigValue::map();  // without the two keys whose default stands for a Python object
    for (const auto& [key, value] : model.config.entries()) {
      if (key != "non_linearity" && key != "conv_module") expected.set(key, value);
    }
    EXPECT_EQ(to_json(read_neuralop_model(folder.path()).config), to_json(expected)) << name;
  }
}

TEST(NeuralopFolder, WrittenOverAModelDirectoryIsWhatTheFolderIsReadAs) {
  const TemporaryFolder folder;
  model_from_model(kCheckpoints / "new/fno_dense", folder.path(), Description::keep);
  EXPECT_FALSE(is_neuralop_model(folder.path()));
  neuralop_from_model(kCheckpoints / "new/tfno_tucker", folder.path());
  EXPECT_TRUE(is_neuralop_model(folder.path()));
  EXPECT_EQ(read_model_config(folder.path()).find("type")->as_string(), "tfno");
}

TEST(NeuralopFolder, OfTheWellHasAPrefixAndAConfigurationOfItsOwn) {
  const TemporaryFolder folder;
  const WeightFiles theirs(kCheckpoints / "v0_3/tfno_tucker/model_state_dict.pt");
  std::vector<NamedTensor> tensors;
  for (const StoredTensor& tensor : theirs.tensors()) tensors.push_back({"model." + tensor.name, tensor.load()});
  write_safetensors(folder / "model.safetensors", tensors);
  testing::write_bytes(folder / "config.json", R"({"dim_in": 3, "dim_out": 2, "n_spatial_dims": 2, "spatial_resolution": [16, 16],
    "modes1": 8, "modes2": 8, "modes3": 16, "hidden_channels": 6, "gradient_checkpointing": false})");
  const NeuralopModel model = read_neuralop_model(folder.path());
  EXPECT_EQ(value_of(model.config, "type"), "\"tfno\"");
  EXPECT_EQ(value_of(model.config, "n_modes"), "[8, 8]");
  EXPECT_EQ(value_of(model.config, "in_channels"), "3");
  EXPECT_EQ(value_of(model.config, "lifting_channels"), "256");
  EXPECT_EQ(value_of(model.config, "rank"), "1.0");
  EXPECT_EQ(by_name(model.tensors).count("fno_blocks.fno_skips.2.conv.weight"), 1U);
  EXPECT_EQ(by_name(model.tensors).at("fno_blocks.convs.1.weight.core").dtype, DType::c64);
}

TEST(NeuralopConfig, NamesPositionalArgumentsAndClassesForOneNumberOfDimensions) {
  const ConfigValue list = ConfigValue::list({ConfigValue::list({8, 8}), 1, 2, 16});
  const ConfigValue current = config_from_neuralop(ConfigValue::map({{"args", list}, {"_name", "FNO"}}), NeuralopLayout::current, {}, "x");
  EXPECT_EQ(value_of(current, "out_channels"), "2");
  const ConfigValue old = config_from_neuralop(ConfigValue::map({{"n_modes_height", 4}, {"n_modes_width", 6}, {"_name", "TFNO2d"}}),
                                               NeuralopLayout::v0_3, {}, "x");
  EXPECT_EQ(value_of(old, "n_modes"), "[4, 6]");
  EXPECT_EQ(value_of(old, "type"), "\"tfno\"");
}

TEST(NeuralopConfig, NamesWhatItDoesNotKnow) {
  const auto refusal = [](const ConfigValue& arguments) {
    return message_of<CheckpointError>([&] { config_from_neuralop(arguments, NeuralopLayout::v0_3, {}, "file"); });
  };
  EXPECT_NE(refusal(ConfigValue::map({{"_name", "UNO"}})).find("\"UNO\""), std::string::npos);
  EXPECT_NE(refusal(ConfigValue::map({{"_name", "FNO"}, {"fft_norm", "ortho"}})).find("\"ortho\""), std::string::npos);
  EXPECT_NE(refusal(ConfigValue()).find("no arguments"), std::string::npos);
  const ConfigValue relu = ConfigValue::map({{"type", "fno"}, {"non_linearity", "relu"}});
  EXPECT_NE(message_of<CheckpointError>([&] { arguments_for_neuralop(relu, "file"); }).find("non_linearity: \"relu\""), std::string::npos);
}

}  // namespace
}  // namespace trident
