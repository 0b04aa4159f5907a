#include "launch/inspection.h"

#include <gtest/gtest.h>

#include "checkpoint/safetensors_writer.h"
#include "checkpoint/sharded_checkpoint.h"
#include "launch/conversion.h"
#include "launch/data/hdf5_file.h"
#include "runtime/error.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

namespace fs = std::filesystem;
using testing::message_of;
using testing::TemporaryFolder;
using testing::write_bytes;

const fs::path kHuggingFace = fs::path(TRIDENT_GOLDEN_FOLDER) / "scot/hugging_face";

const ConfigValue& at(const ConfigValue& document, const char* key) {
  const ConfigValue* value = document.find(key);
  if (value == nullptr) throw std::runtime_error(concat(key, " is missing in ", to_json(document)));
  return *value;
}

TEST(Inspection, DescribesPoseidonLFromItsConfigurationAlone) {
  const TemporaryFolder folder;
  write_bytes(folder / "config.json",
              R"({"model_type": "swinv2", "image_size": 128, "patch_size": 4, "num_channels": 4, "num_out_channels": 4,
    "embed_dim": 192, "depths": [8, 8, 8, 8], "num_heads": [3, 6, 12, 24], "skip_connections": [2, 2, 2, 0], "window_size": 16,
    "use_conditioning": true, "drop_path_rate": 0.0})");
  const std::int64_t before = memory_counters({}).reserved_bytes;
  const ConfigValue model = inspection_of(folder / "config.json", Detail::headers);
  EXPECT_EQ(memory_counters({}).reserved_bytes, before);
  EXPECT_EQ(at(model, "parameters").as_integer(), 628'575'524);
  EXPECT_EQ(at(model, "parameters_without_embedding_and_recovery").as_integer(), 628'549'584);
  EXPECT_EQ(at(model, "tensors").elements().size(), 1580U);
  EXPECT_EQ(to_json(inspection_of(folder.path(), Detail::headers).find("tensors")->elements()[3]),
            to_json(at(model, "tensors").elements()[3]));
}

TEST(Inspection, SaysWhatAModelDirectoryHolds) {
  const ConfigValue model = inspection_of(kHuggingFace / "sharded", Detail::with_statistics);
  EXPECT_EQ(at(model, "kind").as_string(), "model");
  EXPECT_EQ(at(model, "type").as_string(), "scot");
  EXPECT_EQ(at(model, "parameters").as_integer() * 4, 396'784);  // the bytes that the index of the shards states
  EXPECT_GT(at(model, "weight_bytes").as_integer(), 396'784);
  EXPECT_NE(at(model, "tensors").elements()[0].find("mean"), nullptr);
}

TEST(Inspection, MeasuresTheVariablesOfADataSet) {
  const TemporaryFolder folder;
  Hdf5File file = Hdf5File::create((folder / "data.nc").string());
  const Hdf5Dataset variable = file.create_dataset("velocity", {2, 3, 4}, DType::f32, {1, 1, 4});
  std::vector<float> values(24);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  variable.write<float>({0, 0, 0}, {2, 3, 4}, values.data());
  file.attach_dimensions(variable, {"sample", "time", "x"});
  file.close();
  const ConfigValue data = inspection_of(folder / "data.nc", Detail::with_statistics);
  EXPECT_EQ(at(data, "kind").as_string(), "data set");
  ASSERT_EQ(at(data, "variables").elements().size(), 1U) << "dimensions without values are no variables";
  const ConfigValue& row = at(data, "variables").elements()[0];
  EXPECT_EQ(to_json(at(row, "shape"), 0), to_json(ConfigValue::list({2, 3, 4}), 0));
  EXPECT_EQ(to_json(at(row, "chunks"), 0), to_json(ConfigValue::list({1, 1, 4}), 0));
  EXPECT_EQ(at(row, "max").as_number(), 23.0);
  EXPECT_EQ(at(row, "mean").as_number(), 11.5);
  fs::copy(folder / "data.nc", folder / ".other.nc.1.0.tmp");  // of a writer that was killed
  EXPECT_EQ(at(inspection_of(folder.path(), Detail::headers), "files").elements().size(), 1U);
}

TEST(Inspection, SaysWhetherACheckpointIsCommitted) {
  const TemporaryFolder folder;
  TrainingState state;
  add_tensor(state, "weights/a", from_values<float>({2}, std::vector<float>{1, 3}));
  state.values.set("step", 5);
  const fs::path saved = save_checkpoint(folder / "checkpoints", 5, state, Mesh());
  const ConfigValue checkpoint = inspection_of(saved, Detail::with_statistics);
  EXPECT_TRUE(at(checkpoint, "committed").as_bool());
  EXPECT_EQ(at(at(checkpoint, "state"), "step").as_integer(), 5);
  EXPECT_EQ(at(at(checkpoint, "tensors").elements()[0], "mean").as_number(), 2.0);
  fs::remove(saved / "COMMITTED");
  EXPECT_FALSE(at(inspection_of(saved, Detail::headers), "committed").as_bool());
  write_bytes(folder / "metrics.jsonl", "{\"step\": 0, \"loss\": 2.0, \"grad_norm\": 1.0}\n{\"step\": 1, \"validation_loss\": 0.5}\n");
  const ConfigValue run = inspection_of(folder.path(), Detail::headers);
  EXPECT_EQ(at(run, "kind").as_string(), "run");
  EXPECT_EQ(at(run, "steps").as_integer(), 1);
  EXPECT_EQ(at(at(run, "last_evaluation"), "validation_loss").as_number(), 0.5);
  EXPECT_FALSE(at(at(run, "checkpoints").elements()[0], "committed").as_bool());
}

TEST(Inspection, NamesWhatIsNothingItKnows) {
  const TemporaryFolder folder;
  EXPECT_NE(message_of<CheckpointError>([&] { inspection_of(folder.path(), Detail::headers); }).find("config.json"), std::string::npos);
  EXPECT_THROW(inspection_of(folder / "missing", Detail::headers), CheckpointError);
  write_bytes(folder / "x.bin", "something else");
  EXPECT_THROW(inspection_of(folder / "x.bin", Detail::headers), CheckpointError);
}

TEST(Conversion, OneFileOfWeightsComesOutOfEveryForm) {
  const TemporaryFolder folder;
  for (const char* form : {"bin", "sharded", "safetensors"}) convert({kHuggingFace / form, folder / form});
  const std::string expected = testing::read_bytes(folder / "bin/model.safetensors");
  EXPECT_EQ(testing::read_bytes(folder / "sharded/model.safetensors"), expected);
  EXPECT_EQ(testing::read_bytes(folder / "safetensors/model.safetensors"), expected);
}

TEST(Conversion, ReplacesNothingUnlessTold) {
  const TemporaryFolder folder;
  write_bytes(folder / "x.safetensors", "precious");
  const fs::path source = kHuggingFace / "bin/pytorch_model.bin";
  EXPECT_NE(message_of<ConfigError>([&] { convert({source, folder / "x.safetensors"}); }).find("--overwrite"), std::string::npos);
  EXPECT_EQ(testing::read_bytes(folder / "x.safetensors"), "precious");
  convert({source, folder / "x.safetensors", ModelFormat::trident, Existing::replace});
  EXPECT_EQ(at(inspection_of(folder / "x.safetensors", Detail::headers), "elements").as_integer(), 99'196);
  EXPECT_THROW(convert({source, folder / "folder"}), ConfigError);
  EXPECT_THROW(convert({kHuggingFace / "bin", folder / "y.safetensors"}), ConfigError);
}

TEST(Conversion, WritesNoHalfNumbers) {
  const TemporaryFolder folder;
  Conversion conversion{kHuggingFace / "bin", folder / "model"};
  conversion.dtype = DType::bf16;
  EXPECT_NE(message_of<ConfigError>([&] { convert(conversion); }).find("not in bf16"), std::string::npos);
}

TEST(Conversion, OnlyTridentsFormatKeepsItsDescription) {
  const TemporaryFolder folder;
  fs::copy(kHuggingFace / "safetensors", folder / "source");
  write_bytes(folder / "source/trident.json", "{\"problems\": []}");
  convert({folder / "source", folder / "a"});
  convert({folder / "source", folder / "b", ModelFormat::hugging_face});
  EXPECT_TRUE(fs::exists(folder / "a/trident.json"));
  EXPECT_FALSE(fs::exists(folder / "b/trident.json"));
  convert({kHuggingFace / "bin", folder / "a", ModelFormat::trident, Existing::replace});
  EXPECT_FALSE(fs::exists(folder / "a/trident.json")) << "what described the model before must not describe the new one";
}

}  // namespace
}  // namespace trident
