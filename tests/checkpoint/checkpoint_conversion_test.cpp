// The same conversions by the program, also of runs: tests/launch/inspection_test.cpp, mesh_process_test.cpp.
#include "checkpoint/checkpoint_conversion.h"

#include <gtest/gtest.h>

#include <functional>

#include "checkpoint/model_directory.h"
#include "checkpoint/safetensors_reader.h"
#include "checkpoint/sharded_checkpoint.h"
#include "runtime/device/allocator.h"
#include "runtime/error.h"
#include "runtime/tensor/copy.h"
#include "runtime/tensor/create.h"
#include "tests/support/temporary_folder.h"

namespace trident {
namespace {

using testing::message_of;
using testing::read_bytes;
using testing::TemporaryFolder;

namespace fs = std::filesystem;

const fs::path kHuggingFace = fs::path(TRIDENT_GOLDEN_FOLDER) / "scot/hugging_face";
const fs::path kNeuralop = fs::path(TRIDENT_GOLDEN_FOLDER) / "neuralop/checkpoints/new/fno_dense";

/// The most memory that tensors took meanwhile.
std::int64_t peak_of(const std::function<void()>& work) {
  const std::int64_t before = memory_counters(Device{}).in_use_bytes;
  reset_peak(Device{});
  work();
  return memory_counters(Device{}).peak_bytes - before;
}

TEST(CheckpointConversion, OneTensorIsInMemoryAtATime) {
  const TemporaryFolder folder;
  std::int64_t most = 0;
  for (const StoredTensor& tensor : model_tensors(kHuggingFace / "sharded")) most = std::max(most, numel(tensor.shape));
  // f64, so that every tensor is copied.
  EXPECT_LE(peak_of([&] { model_from_model(kHuggingFace / "sharded", folder / "a", Description::keep, DType::f64); }), 2 * 8 * most);
  for (const StoredTensor& tensor : model_tensors(kNeuralop)) most = std::max(most, numel(tensor.shape));
  EXPECT_LE(peak_of([&] { neuralop_from_model(kNeuralop, folder / "b", DType::f64); }), 2 * 16 * most);
  EXPECT_LE(peak_of([&] { file_from_file(folder / "a/model.safetensors", folder / "c.pt"); }), 2 * 8 * most);
}

TEST(CheckpointConversion, WritesWhatSavingTheLoadedModelWrites) {
  const TemporaryFolder folder;
  for (const fs::path& source : {kHuggingFace / "bin", kNeuralop}) {
    const LoadedModel loaded = load_model(source, Mesh(), {.dtype = DType::f64});
    save_model(folder / "saved", loaded.model, loaded.parameters, Mesh());
    model_from_model(source, folder / "converted", Description::keep, DType::f64);
    for (const char* file : {"model.safetensors", "config.json"}) {
      EXPECT_EQ(read_bytes(folder / "saved" / file), read_bytes(folder / "converted" / file)) << source << file;
    }
  }
}

TEST(CheckpointConversion, MayReplaceItsSource) {
  const TemporaryFolder folder;
  model_from_model(kHuggingFace / "sharded", folder / "model", Description::keep);
  const std::string before = read_bytes(folder / "model/model.safetensors");
  model_from_model(folder / "model", folder / "model", Description::keep);
  EXPECT_EQ(read_bytes(folder / "model/model.safetensors"), before);
}

/// A model of bf16, as many are published.
void write_half(const fs::path& folder, const std::function<void(std::vector<NamedTensor>&)>& change = {}) {
  std::vector<NamedTensor> tensors;
  const SafetensorsReader reader(kHuggingFace / "safetensors/model.safetensors");
  for (const auto& entry : reader.entries()) {
    tensors.push_back({entry.name, empty(entry.shape, DType::bf16)});
    copy_into(tensors.back().tensor, reader.tensor(entry.name));
  }
  if (change) change(tensors);
  fs::create_directories(folder);
  fs::copy_file(kHuggingFace / "safetensors/config.json", folder / "config.json");
  write_safetensors(folder / "model.safetensors", tensors);
}

TEST(CheckpointConversion, HalfNumbersBecomeThoseThatAModelTrainsIn) {
  const TemporaryFolder folder;
  write_half(folder / "half");
  model_from_model(folder / "half", folder / "model", Description::keep);
  EXPECT_EQ(SafetensorsReader(folder / "model/model.safetensors").entries()[0].type, "F32");
  const CheckpointReader saved(checkpoint_from_model(folder / "half", folder / "checkpoints", ConfigValue::map()));
  EXPECT_EQ(saved.find("weights/embeddings.norm.bias.bias")->dtype, DType::f32);
}

TEST(CheckpointConversion, ListsAllThatDoesNotFitBeforeItWritesAnything) {
  const TemporaryFolder folder;
  write_half(folder / "source", [](auto& tensors) {
    tensors[0].name = "classifier.weight";
    tensors[1].tensor = zeros({17}, DType::bf16);
  });
  const std::vector<std::function<void()>> conversions{
      [&] { model_from_model(folder / "source", folder / "target", Description::keep); },
      [&] { checkpoint_from_model(folder / "source", folder / "target", ConfigValue::map()); }};
  for (const auto& conversion : conversions) {
    const std::string message = message_of<CheckpointError>(conversion);
    for (const char* words : {"\n  missing: ", "\n  surplus: classifier.weight", "(17,) in the file"}) {
      EXPECT_NE(message.find(words), std::string::npos) << words << '\n' << message;
    }
    EXPECT_FALSE(fs::exists(folder / "target"));
  }
}

}  // namespace
}  // namespace trident
