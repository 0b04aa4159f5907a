// The directories are those of the reference (tests/golden/scot/hugging_face): one model in three forms.
#include "checkpoint/model_directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "checkpoint/safetensors_reader.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/weight_files.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_near.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::write_bytes;

namespace fs = std::filesystem;

const fs::path kHuggingFace = fs::path(TRIDENT_GOLDEN_FOLDER) / "scot/hugging_face";

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.bytes(), b.bytes(), static_cast<std::size_t>(a.num_bytes())) == 0;
}

/// The directory with its tensors changed.
fs::path changed(const TemporaryFolder& folder, const std::function<void(std::vector<NamedTensor>&)>& change) {
  std::vector<NamedTensor> tensors;
  const SafetensorsReader reader(kHuggingFace / "safetensors/model.safetensors");
  for (const auto& entry : reader.entries()) tensors.push_back({entry.name, reader.tensor(entry.name)});
  change(tensors);
  fs::copy_file(kHuggingFace / "safetensors/config.json", folder / "config.json");
  write_safetensors(folder / "model.safetensors", tensors);
  return folder.path();
}

Tensor& named(std::vector<NamedTensor>& tensors, const std::string& name) {
  return std::find_if(tensors.begin(), tensors.end(), [&](const auto& entry) { return entry.name == name; })->tensor;
}

TEST(ModelDirectory, ThreeFormsGiveTheSameWeights) {
  const LoadedModel expected = load_model(kHuggingFace / "safetensors", Mesh());
  for (const char* form : {"bin", "sharded"}) {
    const LoadedModel actual = load_model(kHuggingFace / form, Mesh());
    EXPECT_TRUE(same_bits(actual.parameters.values(), expected.parameters.values())) << form;
  }
}

TEST(ModelDirectory, EveryPieceHoldsTheTensorOfItsName) {
  const LoadedModel loaded = load_model(kHuggingFace / "bin", Mesh());
  const SafetensorsReader reader(kHuggingFace / "safetensors/model.safetensors");
  EXPECT_EQ(loaded.parameters.pieces().size(), reader.entries().size());
  for (const NamedPiece& piece : loaded.parameters.pieces()) {
    EXPECT_EQ(to_host<float>(piece.value), to_host<float>(reader.tensor(piece.name))) << piece.name;
  }
}

TEST(ModelDirectory, LoadedModelComputesWhatTheReferenceComputed) {
  const SafetensorsReader reader(kHuggingFace / "tensors.safetensors");
  const LoadedModel loaded = load_model(kHuggingFace / "sharded", Mesh(), {.dtype = DType::f64});
  const auto as_f64 = [&](const char* name) {
    const Tensor source = reader.tensor(name), target = empty(source.shape(), DType::f64);
    copy_into(target, source);
    return target;
  };
  const Fields fields{.input = as_f64("input"), .time = as_f64("time"), .pixel_mask = {}, .label = {}};
  const Tensor output = loaded.model(fields, loaded.model->prepare(), {.key = RandomKey(), .precision = DType::f64});
  EXPECT_TENSOR_NEAR(output, reader.tensor("output.f64"), 1e-9);
}

TEST(ModelDirectory, WhatIsSavedIsReadBackBitForBit) {
  const TemporaryFolder folder;
  const LoadedModel loaded = load_model(kHuggingFace / "bin", Mesh());
  const ConfigValue description = ConfigValue::map({{"problems", ConfigValue::list({"NS-Sines"})}});
  save_model(folder / "new/model", loaded.model, loaded.parameters, Mesh(), description);
  EXPECT_TRUE(is_model_directory(folder / "new/model"));
  const LoadedModel again = load_model(folder / "new/model", Mesh());
  EXPECT_TRUE(same_bits(again.parameters.values(), loaded.parameters.values()));
  EXPECT_EQ(to_json(*again.description), to_json(description));
  EXPECT_EQ(loaded.description, std::nullopt);
  const SafetensorsReader written(folder / "new/model/model.safetensors");
  EXPECT_EQ(written.metadata().at("format"), "pt");
}

TEST(ModelDirectory, SavedConfigurationHasEveryKeyOfTheOneThatWasRead) {
  const TemporaryFolder folder;
  const LoadedModel loaded = load_model(kHuggingFace / "safetensors", Mesh());
  save_model(folder / "model", loaded.model, loaded.parameters, Mesh());
  const ConfigValue original = read_model_config(kHuggingFace / "safetensors"), saved = read_model_config(folder / "model");
  ASSERT_EQ(saved.entries().size(), original.entries().size());
  for (const auto& [key, value] : original.entries()) {
    ASSERT_NE(saved.find(key), nullptr) << key;
    EXPECT_EQ(to_json(*saved.find(key)), to_json(value)) << key;
  }
}

TEST(ModelDirectory, NumberTypeOfTheWeightsIsSaved) {
  const TemporaryFolder folder;
  const LoadedModel loaded = load_model(kHuggingFace / "safetensors", Mesh(), {.dtype = DType::f64});
  save_model(folder / "model", loaded.model, loaded.parameters, Mesh());
  EXPECT_EQ(read_model_config(folder / "model").find("torch_dtype")->as_string(), "float64");
  EXPECT_EQ(SafetensorsReader(folder / "model/model.safetensors").entries()[0].type, "F64");
}

TEST(ModelDirectory, OneErrorListsAllTensorsThatDoNotFit) {
  const TemporaryFolder folder;
  changed(folder, [](auto& tensors) {
    named(tensors, "embeddings.norm.bias.bias") = zeros({17}, DType::f32);
    named(tensors, "patch_recovery.mixup.weight") = zeros({3, 3, 5, 5}, DType::f32);
    std::erase_if(tensors, [](const auto& entry) { return entry.name == "embeddings.norm.weight.bias"; });
    tensors.push_back({"classifier.weight", zeros({2, 2}, DType::f32)});
    named(tensors, "embeddings.norm.weight.weight") = zeros({16, 1}, DType::i64);
  });
  const std::string message = message_of<CheckpointError>([&] { load_model(folder.path(), Mesh()); });
  for (const char* line :
       {"\n  embeddings.norm.bias.bias: (17,) in the file, (16,) in the model", "\n  missing: embeddings.norm.weight.bias (16,)",
        "\n  patch_recovery.mixup.weight: (3, 3, 5, 5) in the file, (4, 4, 5, 5) in the model", "\n  surplus: classifier.weight (2, 2)",
        "\n  embeddings.norm.weight.weight: numbers of type I64 in the file"}) {
    EXPECT_NE(message.find(line), std::string::npos) << line << "\n" << message;
  }
}

TEST(ModelDirectory, FineTuningStartsOnlyEmbeddingAndRecoveryAnewAndSaysSo) {
  LoadOptions options{
      .fit = Fit::fine_tuning, .overrides = ConfigValue::map({{"num_channels", 5}, {"num_out_channels", 3}}), .key = RandomKey(3)};
  options.overrides.set("channel_slice_list_normalized_loss", ConfigValue::list({0, 3}));
  const LoadedModel tuned = load_model(kHuggingFace / "safetensors", Mesh(), options);
  EXPECT_EQ(tuned.model->num_channels(), 5);
  ASSERT_EQ(tuned.started_anew.size(), 4U);
  EXPECT_EQ(tuned.started_anew[0], "embeddings.patch_embeddings.projection.weight: (16, 4, 4, 4) in the file, (16, 5, 4, 4) in the model");
  const SafetensorsReader reader(kHuggingFace / "safetensors/model.safetensors");
  for (const NamedPiece& piece : tuned.parameters.pieces()) {
    const bool anew = std::any_of(tuned.started_anew.begin(), tuned.started_anew.end(),
                                  [&](const auto& line) { return line.starts_with(piece.name + ":"); });
    const auto values = to_host<float>(piece.value);
    if (!anew) {
      EXPECT_EQ(values, to_host<float>(reader.tensor(piece.name))) << piece.name;
    } else if (piece.piece.init.kind != Init::Kind::constant) {
      EXPECT_NE(values, std::vector<float>(values.size(), 0.0F)) << piece.name;
    }
  }
}

TEST(ModelDirectory, OtherChannelsAreAnErrorWithoutFineTuning) {
  const LoadOptions options{.overrides = ConfigValue::map({{"num_channels", 5}})};
  EXPECT_NE(message_of<CheckpointError>([&] { load_model(kHuggingFace / "safetensors", Mesh(), options); }).find("(16, 5, 4, 4)"),
            std::string::npos);
}

TEST(ModelDirectory, FineTuningDoesNotForgiveOtherDifferences) {
  const LoadOptions options{.fit = Fit::fine_tuning, .overrides = ConfigValue::map({{"embed_dim", 32}})};
  EXPECT_THROW(load_model(kHuggingFace / "safetensors", Mesh(), options), CheckpointError);
}

TEST(ModelDirectory, ConstantsOfOlderVersionsArePassedOver) {
  const TemporaryFolder folder;
  changed(folder, [](auto& tensors) {
    tensors.push_back({"encoder.layers.0.blocks.0.attention.self.relative_coords_table", zeros({1, 7, 7, 2}, DType::f32)});
    tensors.push_back({"encoder.layers.0.blocks.0.attention.self.relative_position_index", zeros({16, 16}, DType::i64)});
  });
  EXPECT_NO_THROW(load_model(folder.path(), Mesh()));
}

TEST(ModelDirectory, SaysWhatIsMissingInAFolderThatIsNone) {
  const TemporaryFolder folder;
  EXPECT_NE(message_of<CheckpointError>([&] { load_model(folder.path(), Mesh()); }).find("no config.json"), std::string::npos);
  fs::copy_file(kHuggingFace / "safetensors/config.json", folder / "config.json");
  EXPECT_NE(message_of<CheckpointError>([&] { load_model(folder.path(), Mesh()); }).find("pytorch_model.bin"), std::string::npos);
  EXPECT_FALSE(is_model_directory(folder.path()));
}

TEST(ModelDirectory, ShardsMustBeWhatTheIndexSays) {
  const TemporaryFolder folder;
  fs::copy(kHuggingFace / "sharded", folder / "sharded");
  const fs::path index = folder / "sharded/model.safetensors.index.json";
  const std::string text = read_bytes(index);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    write_bytes(index, changed);
    return message_of<CheckpointError>([&] { const WeightFiles files(folder / "sharded"); });
  };
  EXPECT_EQ(with("decoder", "decoder"), "");
  EXPECT_NE(with("model-00002-of-00003.safetensors", "../model-00002-of-00003.safetensors").find("no file beside the index"),
            std::string::npos);
  EXPECT_NE(with("model-00002-of-00003.safetensors", "model-00001-of-00003.safetensors").find("not in model-00001"), std::string::npos);
  EXPECT_NE(with("\"decoder.layers.0.blocks.0.attention.output.dense.bias\"", "\"other\"").find("other: not in"), std::string::npos);
  EXPECT_NE(with("weight_map", "weights").find("no \"weight_map\""), std::string::npos);
  write_bytes(index, text);
  fs::remove(folder / "sharded/model-00003-of-00003.safetensors");
  EXPECT_NE(message_of<CheckpointError>([&] { const WeightFiles files(folder / "sharded"); }).find("model-00003-of-00003"),
            std::string::npos);
}

}  // namespace
}  // namespace trident
